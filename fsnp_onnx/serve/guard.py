"""Who may ask for work and numbers: with a token its owner, and no page of another site."""

from __future__ import annotations

import os
import secrets
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from fsnp_onnx.serve.settings import TOKEN_VARIABLE

_NO_TOKEN: Final = f"no valid bearer token; give the header Authorization: Bearer with the value of {TOKEN_VARIABLE}"
_OTHER_SITE: Final = (
    "a page of another site asks; only pages of the service's own host and port may"
)


class Guard:
    """Middleware of the routes that do work or tell numbers.

    It belongs to a route, not to a path: more than one spelling of a path may lead to a route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._token = os.fsencode(os.environ.get(TOKEN_VARIABLE, ""))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise HTTPException with 401 or 403."""
        headers = Headers(scope=scope)
        if self._token and not self._is_owner(headers):
            raise HTTPException(401, _NO_TOKEN, {"WWW-Authenticate": "Bearer"})
        if _is_of_another_site(headers):
            raise HTTPException(403, _OTHER_SITE)
        await self._app(scope, receive, send)

    def _is_owner(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        is_equal = secrets.compare_digest(given.strip().encode("latin-1"), self._token)
        return is_equal and scheme.lower() == "bearer"


def _is_of_another_site(headers: Headers) -> bool:
    """Whether a browser sends this for a page that does not come from here.

    Browsers let every page open a WebSocket and post a body, also to loopback, and tell its origin.
    """
    _, _, host = headers.get("Origin", "").partition("://")
    return "Origin" in headers and host.lower() != headers.get("Host", "").lower()
