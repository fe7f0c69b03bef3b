"""Ogg and FLAC: where a file ends, and whether another one follows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from fsnp_onnx.runtime.containers.container import JOINED, Container
from fsnp_onnx.runtime.containers.spliced import patched

_BLOCK_BYTES = 1 << 20
_FLAC_START_BYTES = 8  # name, and header of the first block of metadata
_FLAC_COUNT = range(21, 26)  # where the number of samples has the last 36 bits
_PAGE_BYTES, _BEGINS, _ENDS = 27, 2, 4  # header of a page of Ogg, and its flags


def read_ogg(file: BinaryIO) -> Container:
    """Return how to read an Ogg file, whose pages say where streams begin and end."""
    streams: set[bytes] = set()
    is_begun, note, missing = False, None, None
    end = file.seek(0, os.SEEK_END)
    for position, page, n_bytes in _pages(file):
        flags, stream = page[5:6], page[14:18]
        end, missing = position + len(page), None
        if len(page) < n_bytes:
            missing = f"{len(page)} of {n_bytes} bytes of its last page"
        elif flags[0] & _BEGINS:
            if is_begun:
                note, end = JOINED, position
                break
            streams.add(stream)
        else:
            is_begun = True
            if flags[0] & _ENDS:
                streams.discard(stream)
    if streams and not missing:
        missing = "its last page is missing"
    # libsndfile loses sound where many other bytes follow
    return Container(patched(file, end), missing=missing, note=note)


def _pages(file: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """Yield the position of each page, the page as far as it is there, and its size."""
    file.seek(0)
    data = file.read()
    position = data.find(b"OggS")
    while position >= 0:
        n_bytes = _PAGE_BYTES
        if position + n_bytes <= len(data):
            sizes = data[position + n_bytes : position + n_bytes + data[position + 26]]
            n_bytes += data[position + 26] + sum(sizes)
        yield position, data[position : position + n_bytes], n_bytes
        # a page that is not there to its end may be a damaged one
        position = data.find(
            b"OggS", position + (n_bytes if position + n_bytes <= len(data) else 4)
        )


def read_flac(file: BinaryIO) -> Container:
    """Return how to read a FLAC without a tag or another FLAC behind it.

    libsndfile reads no further than the number of samples in the header, so it gets none.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 128))
    end = size - 128 if file.read(3) == b"TAG" else size
    another = _second_flac(file)
    file.seek(0)
    count = file.read(_FLAC_COUNT.stop)[_FLAC_COUNT.start :]
    n_samples = int.from_bytes(count, "big") & 0xF_FFFF_FFFF
    unknown = {_FLAC_COUNT.start: bytes([count[0] & 0xF0, 0, 0, 0, 0])} if n_samples else {}
    content = patched(file, another or end, unknown)
    note = JOINED if another else None
    return Container(content, n_samples or None, note=note)


def _second_flac(file: BinaryIO) -> int | None:
    """Return where a second FLAC begins."""
    file.seek(0)
    position, overlap, n_found = 0, b"", 0
    while read := file.read(_BLOCK_BYTES):
        block = overlap + read
        at = block.find(b"fLaC")
        while 0 <= at <= len(block) - _FLAC_START_BYTES:
            n_found += block[at + 4] & 0x7F == 0 and block[at + 5 : at + 8] == b"\0\0\x22"
            if n_found == 2:
                return position + at
            at = block.find(b"fLaC", at + 1)
        overlap = block[1 - _FLAC_START_BYTES :]
        position += len(block) - len(overlap)
    return None
