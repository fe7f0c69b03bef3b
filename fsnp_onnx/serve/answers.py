"""Errors as answers: a status and one line of JSON."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from fsnp_onnx.errors import ArgumentError, AudioError, one_line
from fsnp_onnx.serve.logs import logger
from fsnp_onnx.serve.observer import CLIENT_LEFT, call_of


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer what a handler raised, and note it for the log line."""
    status, message, headers = _found(error)
    call = call_of(request.scope)
    call.fields["error"] = message
    if status == 500:
        call_id = {"request_id": call.id}
        logger.error("failed", exc_info=error, extra={"fields": call_id})
    return JSONResponse({"error": message, "request_id": call.id}, status, headers)


def _found(error: Exception) -> tuple[int, str, Mapping[str, str] | None]:
    """Return status, message and headers of an error."""
    if isinstance(error, HTTPException):
        remedy = "; see /v1/docs" if error.status_code in (404, 405) else ""
        return error.status_code, error.detail + remedy, error.headers
    if isinstance(error, ClientDisconnect):
        return CLIENT_LEFT, "the client has left", None
    if isinstance(error, ArgumentError):
        return 400, f"{error.argument.removesuffix('_db')} {error.problem}", None
    if isinstance(error, AudioError):
        return 422, one_line(error), None
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return 507, "the disk of the service is full; try again later", None
    return 500, "the enhancement failed; the log of the service says why", None
