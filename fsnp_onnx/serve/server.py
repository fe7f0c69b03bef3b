"""uvicorn around the application: one process, or workers that share a port."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack
from typing import Any, Final

import h11
import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from fsnp_onnx.serve.app import create_app
from fsnp_onnx.serve.logs import CONFIG
from fsnp_onnx.serve.metrics import FOLDER_VARIABLE
from fsnp_onnx.serve.settings import Settings

_MESSAGE_BYTES: Final = 1 << 20  # of a WebSocket message at most


class _Cutting(asyncio.Protocol):
    """Cuts a client that takes nothing of what is sent to it.

    Else the rest of an answer would wait for ever, and the end of the service with it.
    """

    config: uvicorn.Config
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _cut: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Begin to wait."""
        super().pause_writing()
        self._cut = self.loop.call_later(self.config.timeout_keep_alive, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting."""
        super().resume_writing()
        if self._cut is not None:
            self._cut.cancel()


class Stream(_Cutting, WebSocketsSansIOProtocol):
    """A WebSocket with a limit of time."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send, and remember a refusal as an answer, which uvicorn would log as a fault."""
        await super().send(message)
        self.handshake_complete |= self.close_sent


class Http(_Cutting, H11Protocol):
    """HTTP with limits of time, also for the head of a request.

    The same time limits the rest of a body that nobody reads, such as that of a refused upload: it is
    thrown away, so that its client reads the answer instead of a broken connection.
    """

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # any rest that waits is told to `pause_writing`
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Go on or stop waiting."""
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand a head over, and refuse one that cannot be read there: it would wait for ever."""
        super().handle_websocket_upgrade(event)
        other: Any = self.transport.get_protocol()
        if not other.handshake_initiated:
            self._refuse("The head of the WebSocket is too long, or has a body.")
        elif other.close_sent:  # it has told the client why
            self.logger.warning("The head of a WebSocket is wrong.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        is_upgraded = self not in self.connections
        cycle: RequestResponseCycle | None = self.cycle
        if is_upgraded or (cycle is not None and not cycle.response_complete):
            self._stop()
        elif self._patience is None:
            self._patience = self.loop.call_later(self.config.timeout_keep_alive, self._give_up)

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            limit_s = self.config.timeout_keep_alive
            self._refuse(f"The head of the request is not complete after {limit_s} s.")
        self.transport.close()

    def _refuse(self, problem: str) -> None:
        self.logger.warning(problem)
        self.send_400_response(problem)

    def _stop(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def run_service(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve until a signal ends the process; what has begun is finished first.

    Raises:
        MissingFileError, ModelFileError, ProviderError, InstallError: As `Enhancer` says.
        SystemExit: The address cannot be used, or a signal has ended the service.
    """
    app = create_app(settings)
    with ExitStack() as stack:
        if workers > 1:
            del app  # it has shown that the models open
            settings.publish()
            folder = tempfile.TemporaryDirectory(prefix="fsnp-serve-")
            os.environ[FOLDER_VARIABLE] = stack.enter_context(folder)
        uvicorn.run(
            "fsnp_onnx.serve.app:create_app" if workers > 1 else app,
            factory=workers > 1,
            host=host,
            port=port,
            workers=workers,
            http=Http,
            ws=Stream,
            timeout_keep_alive=max(1, round(settings.idle_s)),
            ws_max_size=_MESSAGE_BYTES,
            ws_ping_timeout=None,  # an answer waits behind samples; silence has limits of its own
            ws_per_message_deflate=False,  # sound hardly shrinks
            log_config=CONFIG,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the address of a client is used nowhere
        )
