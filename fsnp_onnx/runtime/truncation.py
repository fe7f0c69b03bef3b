"""Find out whether a sound file is truncated.

libsndfile plays a file as far as it goes. Its log says of some containers that they are shorter than
their header says. The log of a WAV can end before that line, and the log of an Ogg file says too little.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

_TRUNCATED = re.compile(
    r"^\s*(?:SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
_UNKNOWN_BYTES = 0x7E000000  # and more is in the header where a program wrote into a pipe
_OGG_PAGE_BYTES, _OGG_HEADER_BYTES = 65307, 27  # the first at most
_HEADER_BYTES = 100  # are counted in by some writers


def require_whole(file: BinaryIO, log: str) -> None:
    """Raise EOFError if a file ends before its header, its last page or libsndfile's log says."""
    logged = [(int(announced), int(there)) for announced, there in _TRUNCATED.findall(log)]
    for announced, there in (*logged, *_riff_data(file)):
        if there + _HEADER_BYTES < announced < _UNKNOWN_BYTES:
            raise EOFError(f"{there} of {announced} bytes")
    if _ends_within_ogg_page(file):
        raise EOFError("it ends within a page of Ogg")


def _riff_data(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield how long a WAV says that its samples are, and how long they are, in bytes.

    libsndfile's log may end before that line, as it holds 2047 characters.
    """
    end, position = file.seek(0, os.SEEK_END), 12
    file.seek(0)
    chunk = {b"RIFF": "<4sI", b"RIFX": ">4sI"}.get(file.read(4))
    if chunk is None:
        return
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack(chunk, file.read(8))
        position += 8
        if name == b"data":
            yield size, end - position
            return
        position += size + size % 2


def _ends_within_ogg_page(file: BinaryIO) -> bool:
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    file.seek(max(0, file.seek(0, os.SEEK_END) - _OGG_PAGE_BYTES))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < _OGG_HEADER_BYTES:
        return True
    content = _OGG_HEADER_BYTES + page[_OGG_HEADER_BYTES - 1]  # behind a table of its lengths
    return len(page) < content + sum(page[_OGG_HEADER_BYTES:content])
