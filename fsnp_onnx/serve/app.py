"""The application: routes, and the state that they share."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.serve.answers import answer_error
from fsnp_onnx.serve.enhance import Enhance
from fsnp_onnx.serve.guard import Guard
from fsnp_onnx.serve.logs import log
from fsnp_onnx.serve.observer import Observer
from fsnp_onnx.serve.page import page_routes
from fsnp_onnx.serve.service import Service
from fsnp_onnx.serve.settings import Settings
from fsnp_onnx.serve.stream import stream

_STREAMS_END_S: Final = 5.0  # that streams get to send their rest


def create_app(settings: Settings | None = None) -> Starlette:
    """Open the models and return the ASGI application.

    Args:
        settings: Default: those that `fsnp-serve` has put into the environment.

    Raises:
        MissingFileError, ModelFileError, ProviderError, InstallError: As `Enhancer` says.
    """
    service = Service(settings or Settings.published())
    guarded = [Middleware(Guard)]
    app = Starlette(
        routes=[
            Route("/v1/enhance", Enhance(service), middleware=guarded),
            WebSocketRoute("/v1/stream", stream, middleware=guarded),
            Route("/v1/stream", _no_websocket),
            Route("/v1/health/live", _live),
            Route("/v1/health/ready", _ready),
            Route("/v1/version", _version, middleware=guarded),
            Route("/metrics", _metrics, middleware=guarded),
            *page_routes(),
        ],
        middleware=[Middleware(Observer, metrics=service.metrics)],
        exception_handlers={HTTPException: answer_error},
        lifespan=_lifespan,
    )
    app.state.service = service
    return app


async def _no_websocket(_: Request) -> Response:
    raise HTTPException(426, "open /v1/stream as a WebSocket", {"Upgrade": "websocket"})


async def _live(_: Request) -> Response:
    return JSONResponse({"status": "live"})


async def _ready(request: Request) -> Response:
    if request.app.state.service.ending.is_set():
        return JSONResponse({"status": "shutting down"}, 503)
    return JSONResponse({"status": "ready"})


async def _version(request: Request) -> Response:
    service: Service = request.app.state.service
    settings = service.settings
    limits = {
        "max_mb": settings.max_mb,
        "max_seconds": settings.max_seconds,
        "max_samples": settings.max_samples,
    }
    models = {name: _described(enhancer) for name, enhancer in service.enhancers.items()}
    return JSONResponse({"version": version("fsnp-onnx"), "models": models, "limits": limits})


def _described(enhancer: Enhancer) -> dict[str, Any]:
    spec = enhancer.spec
    described = {
        "interface": spec.interface,
        "sample_rate_hz": spec.stft.sample_rate_hz,
        "provider": enhancer.provider,
        "checkpoint_sha256": spec.provenance.get("checkpoint_sha256"),
    }
    return described | ({"latency_s": spec.latency_s} if spec.interface == "stream" else {})


async def _metrics(request: Request) -> Response:
    text = request.app.state.service.metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    service: Service = app.state.service
    if threading.current_thread() is threading.main_thread():  # no other may hear signals
        _end_streams_first(service)
    log("ready", {"version": version("fsnp-onnx")})
    yield
    service.close()
    log("ended", {})


def _end_streams_first(service: Service) -> None:
    """Let a signal reach the server only when the streams have sent their rest.

    The server would cut them. It finishes requests that have begun by itself; a further Ctrl-C then
    ends it at once.
    """
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loop = asyncio.get_running_loop()
    tasks = []  # a loop keeps no task alive

    async def end(number: int) -> None:
        until = loop.time() + _STREAMS_END_S
        while service.n_streams and loop.time() < until:
            await asyncio.sleep(0.02)
        for other, handler in heard.items():
            signal.signal(other, handler)
        signal.raise_signal(number)

    def begin(number: int, _: object) -> None:
        loop.call_soon_threadsafe(begin_once, number)

    def begin_once(number: int) -> None:
        if not service.ending.is_set():
            service.ending.set()
            tasks.append(loop.create_task(end(number)))

    for number in heard:
        signal.signal(number, begin)
