"""The body of a request as a file without a name, within limits of size and time."""

from __future__ import annotations

import asyncio
import time
from tempfile import SpooledTemporaryFile
from typing import IO, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from fsnp_onnx.serve.settings import Settings

# Bytes; a longer body goes to an unlinked file, which no crash leaves behind.
_IN_MEMORY: Final = 1 << 20
_REMEDY: Final = "send one sound file, as the body or as a form with one file"


async def receive_file(request: Request, settings: Settings) -> IO[bytes]:
    """Return the sound file that a request brings, raw or as the one file of a form.

    Raises:
        HTTPException: 400, it brings no file or several; 408, it takes too long; 413, it is too
            large; 415, its bytes are compressed.
        ClientDisconnect: The client has left.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Content-Encoding is not supported; send the file as it is")
    limited = Request(request.scope, _Limited(request, settings).receive)
    if request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        form = await _form(limited)
        try:
            return _only_file(form)
        except BaseException:
            await form.close()
            raise
    file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - whoever gets it closes it
    try:
        await _copy(limited, file)
    except BaseException:
        file.close()
        raise
    return file


async def _form(request: Request) -> FormData:
    try:
        return await request.form(max_files=1, max_fields=0)
    except HTTPException as error:
        if error.status_code != 400:  # one of ours
            raise
        problem = f"the form cannot be taken: {error.detail.rstrip('.')}"
        raise HTTPException(400, f"{problem}; {_REMEDY}, and parameters in the query") from error


async def _copy(request: Request, file: IO[bytes]) -> None:
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= _IN_MEMORY:  # else a thread would be asked for every packet
            await run_in_threadpool(file.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(file.write, bytes(waiting))
    if file.tell() == 0:
        raise HTTPException(400, f"the body is empty; {_REMEDY}")
    file.seek(0)


def _only_file(form: FormData) -> IO[bytes]:
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if len(files) != 1 or not files[0].size:
        raise HTTPException(400, f"the form has no file, or an empty one; {_REMEDY}")
    return files[0].file


class _Limited:
    """The messages of a request, until one is too much or too late."""

    def __init__(self, request: Request, settings: Settings) -> None:
        self._receive, self._settings = request.receive, settings
        self._n_bytes = 0
        self._until = time.monotonic() + settings.transfer_s
        self._require_size(int(request.headers.get("Content-Length", 0)))

    async def receive(self) -> Message:
        left_s = self._until - time.monotonic()
        try:
            async with asyncio.timeout(min(self._settings.idle_s, max(0.0, left_s))):
                message = await self._receive()
        except TimeoutError as error:
            late, limit_s = "it is not complete", self._settings.transfer_s
            if left_s > self._settings.idle_s:
                late, limit_s = "nothing has come", self._settings.idle_s
            problem = f"the upload is too slow: {late} for {limit_s:g} s"
            raise HTTPException(408, problem, {"Connection": "close"}) from error
        self._n_bytes += len(message.get("body", b""))
        self._require_size(self._n_bytes)
        return message

    def _require_size(self, n_bytes: int) -> None:
        if n_bytes > self._settings.max_bytes:
            limit = f"the limit is {self._settings.max_mb:g} MB (10^6 bytes)"
            raise HTTPException(413, f"the upload has {n_bytes} bytes or more; {limit}")
