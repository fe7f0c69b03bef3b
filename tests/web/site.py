"""The built page on a web server of its own, and the browser that opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

FOLDER = "/some/folder/"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
]
_TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm"}
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self' data:"
)


@dataclass
class Site:
    """A server of the page, in a folder; `isolated` sends what threads of WebAssembly need."""

    root: Path
    isolated: bool = True

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve the page while the block runs; the value is its address."""
        site = self

        class Handler(SimpleHTTPRequestHandler):
            extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **_TYPES}  # noqa: RUF012 - as the base has it

            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(site.root))

            def translate_path(self, path: str) -> str:
                inside = path.startswith(FOLDER)
                return super().translate_path(path.removeprefix(FOLDER) if inside else "/outside")

            def end_headers(self) -> None:
                self.send_header("Content-Security-Policy", _POLICY)
                if site.isolated:
                    self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                    self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
                super().end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}{FOLDER}"
            finally:
                server.shutdown()
                thread.join()
