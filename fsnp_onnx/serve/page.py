"""What browsers get: the web page, the bundled files that it runs, and a page of the interface."""

from __future__ import annotations

import html
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fsnp_onnx.runtime.bundled import MODELS

BROWSER_FILES: Final = ("default-waveform.onnx", "live.onnx")

_HERE: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "connect-src 'self' blob:; media-src 'self' blob:; img-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # this and the next: threads of WebAssembly
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_HTML: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
{content}
</html>
"""
_NO_PAGE: Final = """<p>The service runs. Its interface: <a href="/v1/docs">/v1/docs</a>. Try it:</p>
<pre>curl --data-binary @noisy.wav {url}v1/enhance -o clean.wav</pre>
<p>The web page is not built here. In a clone, run <code>make page</code>.</p>"""


def page_folder() -> Path | None:
    """Return the folder of the built page: of the package, else of a clone; None without one."""
    folders = (_HERE / "page", _HERE.parents[1] / "web" / "dist")
    return next((folder for folder in folders if (folder / "index.html").is_file()), None)


def page_routes() -> list[BaseRoute]:
    """Return the routes for browsers; the last one takes every path that is left."""
    folder = page_folder()
    page = _Page("/", _Guarded(StaticFiles(directory=folder, html=True))) if folder else None
    models = {f"/models/{name}": _Guarded(_File(MODELS / name)) for name in BROWSER_FILES}
    return [
        *(Route(path, file, methods=["GET"]) for path, file in models.items()),
        Route("/v1/openapi.json", _openapi),
        Route("/v1/docs", _docs),
        page or Route("/", _no_page),
    ]


class _Page(Mount):
    """Every path but those of the interface, which tells by itself what is wrong with a request."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["path"].startswith("/v1/"):
            return Match.NONE, {}
        return super().matches(scope)


class _Guarded:
    """Adds the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                pairs = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *pairs]
            await send(message)

        await self._app(scope, receive, guarded)


class _File:
    """Serves one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await FileResponse(self._path)(scope, receive, send)


@cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI document."""
    document: dict[str, Any] = json.loads((_HERE / "openapi.json").read_text("utf-8"))
    document["info"]["version"] = version("fsnp-onnx")
    return document


async def _openapi(_: Request) -> Response:
    return JSONResponse(openapi())


async def _no_page(request: Request) -> Response:
    content = _NO_PAGE.format(url=html.escape(str(request.base_url)))
    return HTMLResponse(_HTML.format(title="fsnp-serve", content=content), headers=_HEADERS)


async def _docs(_: Request) -> Response:
    sections = []
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            rows = [("parameter", p["name"], p["description"]) for p in _parameters(operation)]
            rows += [
                ("answer", code, a["description"]) for code, a in operation["responses"].items()
            ]
            lines = "".join(_row(row) for row in rows)
            title = html.escape(f"{method.upper()} {path}")
            text = html.escape(operation["description"])
            sections.append(f"<h2>{title}</h2><p>{text}</p><table>{lines}</table>")
    note = '<p>As JSON: <a href="/v1/openapi.json">/v1/openapi.json</a></p>'
    page = _HTML.format(title="fsnp-serve", content=note + "\n".join(sections))
    return HTMLResponse(page, headers=_HEADERS)


def _parameters(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return list(operation.get("parameters", ()))


def _row(cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
