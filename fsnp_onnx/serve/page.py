"""What browsers get: the web page, the bundled files that it runs, and a page of the interface."""

from __future__ import annotations

import html
import json
import lzma
import mimetypes
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from fsnp_onnx.runtime.bundled import MODELS

_HERE: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # this and the next: threads of WebAssembly
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # browsers ask whether a file has changed: all are of one version
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


def page_routes() -> list[Route]:
    """Return the routes for browsers; the last one takes every path that is left."""
    routes = [
        Route("/v1/openapi.json", _openapi),
        Route("/v1/docs", _docs),
        Route("/models/{path}", _static(MODELS)),
    ]
    folder = page_folder()
    if folder is None:
        return [*routes, Route("/", _no_page)]
    unpacked = [_unpacked(packed, folder) for packed in folder.rglob("*.xz")]
    return [*routes, *unpacked, Route("/{path:path}", _static(folder))]


def _static(folder: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers with the files of a folder, each kept to the page's own origin."""
    files = StaticFiles(directory=folder, html=True)

    async def answer(request: Request) -> Response:
        response = await files.get_response(request.path_params["path"], request.scope)
        response.headers.update(_HEADERS)
        return response

    return answer


def _unpacked(packed: Path, folder: Path) -> Route:
    """Return the route of a file that the wheel holds compressed; it is unpacked once."""
    name = packed.relative_to(folder).with_suffix("").as_posix()
    content = cache(lambda: lzma.decompress(packed.read_bytes()))

    def answer(_: Request) -> Response:  # in a thread, as it is no coroutine
        return Response(content(), media_type=mimetypes.guess_type(name)[0], headers=_HEADERS)

    return Route(f"/{name}", answer)


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
