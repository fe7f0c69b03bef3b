"""What every request passes: its id, the bearer token, its log line and its count."""

from __future__ import annotations

import os
import re
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fsnp_onnx.serve.logs import log
from fsnp_onnx.serve.metrics import Metrics
from fsnp_onnx.serve.settings import TOKEN_VARIABLE

ID_HEADER: Final = "X-Request-Id"
PATHS: Final = (  # all others count as "other", as people choose their names
    "/",
    "/metrics",
    "/v1/docs",
    "/v1/enhance",
    "/v1/health/live",
    "/v1/health/ready",
    "/v1/openapi.json",
    "/v1/stream",
    "/v1/version",
)
PROTECTED: Final = frozenset(("/metrics", "/v1/enhance", "/v1/stream", "/v1/version"))
_QUIET: Final = ("/v1/health/live", "/v1/health/ready", "/metrics")  # asked all the time
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Call:
    """A request on its way.

    Attributes:
        id: From the header X-Request-Id, or new.
        fields: What its log line says beyond id, path, status and time.
    """

    id: str
    fields: dict[str, Any] = field(default_factory=dict)


def call_of(scope: Scope) -> Call:
    """Return the call that a scope belongs to."""
    call: Call = scope["fsnp_call"]
    return call


class Observer:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._token = os.fsencode(os.environ.get(TOKEN_VARIABLE, ""))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and write its line."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(ID_HEADER, "")
        call = Call(given if _ID.fullmatch(given) else uuid.uuid4().hex)
        scope["fsnp_call"] = call
        path = scope["path"] if scope["path"] in PATHS else "other"
        outcome, started = 0, time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal outcome
            if message["type"] == "websocket.close" and not outcome:
                outcome = 403  # so the server says it, as the stream was not accepted
            elif message["type"] == "websocket.accept":
                outcome = 101
            else:
                outcome = message.get("status") or message.get("code") or outcome
            if message["type"] in ("http.response.start", "websocket.accept"):
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[ID_HEADER] = call.id
            await send(message)

        try:
            if self._is_allowed(path, headers):
                await self._app(scope, receive, observed)
            else:
                call.fields["error"] = "no valid bearer token"
                await _refuse(scope, receive, observed, call.id)
        except ClientDisconnect:  # while the answer was sent
            outcome = 499
        finally:
            self._conclude(scope, path, call, outcome, time.perf_counter() - started)

    def _is_allowed(self, path: str, headers: Headers) -> bool:
        if not self._token or path not in PROTECTED:
            return True
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        return secrets.compare_digest(given.strip().encode("latin-1"), self._token) and (
            scheme.lower() == "bearer"
        )

    def _conclude(self, scope: Scope, path: str, call: Call, outcome: int, seconds: float) -> None:
        if scope["type"] == "websocket":
            outcome = call.fields.pop("code", outcome)
            self._metrics.streams.labels(outcome).inc()
        else:
            self._metrics.requests.labels(path, outcome).inc()
        if path not in _QUIET or outcome >= 400:
            line = {"request_id": call.id, "path": path, "outcome": outcome}
            log(scope["type"], line | {"seconds": round(seconds, 3)} | call.fields)


async def _refuse(scope: Scope, receive: Receive, send: Send, call_id: str) -> None:
    problem = f"give the header Authorization: Bearer with the value of {TOKEN_VARIABLE}"
    answer = JSONResponse(
        {"error": problem, "request_id": call_id}, 401, {"WWW-Authenticate": "Bearer"}
    )
    await answer(scope, receive, send)
