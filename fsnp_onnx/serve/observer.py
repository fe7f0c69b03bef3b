"""What every request passes: its id, its log line and its count."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fsnp_onnx.serve.logs import log
from fsnp_onnx.serve.metrics import Metrics

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
CLIENT_LEFT: Final = 499  # not registered, but what proxies log for it
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and write its line."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(ID_HEADER, "")
        call = Call(given if _ID.fullmatch(given) else uuid.uuid4().hex)
        scope["fsnp_call"] = call
        outcome, is_whole, started = 500, True, time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal outcome, is_whole
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start"):
                outcome, is_whole = message["status"], False
            elif kind == "websocket.close":  # without a code of `stream`: nothing was there
                outcome = 403
            is_whole |= kind.endswith("body") and not message.get("more_body", False)
            if kind.endswith(("response.start", "accept")):
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[ID_HEADER] = call.id
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            outcome, is_whole = 500, True
            raise
        finally:
            seconds = time.perf_counter() - started
            self._conclude(scope, call, outcome if is_whole else CLIENT_LEFT, seconds)

    def _conclude(self, scope: Scope, call: Call, outcome: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in PATHS else "other"
        code = call.fields.pop("code", None)
        if code is None:
            self._metrics.requests.labels(path, outcome).inc()
        else:
            outcome = code
            self._metrics.streams.labels(code).inc()
        if path not in _QUIET or outcome >= 400:
            line = {"request_id": call.id, "path": path, "outcome": outcome}
            log(scope["type"], line | {"seconds": round(seconds, 3)} | call.fields)
