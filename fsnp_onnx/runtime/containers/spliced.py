"""A file as libsndfile should see it: pieces of a file on disk with other bytes between them."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, BinaryIO, cast

Piece = bytes | range  # bytes of its own, or a range of positions in the file
_NONE: Mapping[int, bytes] = {}


class _Spliced(io.RawIOBase):
    """Pieces in a row; it may be told to seek to before the beginning, as by a damaged header."""

    def __init__(self, file: BinaryIO, pieces: Iterable[Piece]) -> None:
        super().__init__()
        self._file = file
        self._pieces = [piece for piece in pieces if len(piece)]
        self._starts = [0, *accumulate(map(len, self._pieces))]
        self._position = 0

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}
        self._position = max(0, base[whence] + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as the pieces go."""
        target = memoryview(buffer)
        n_read = 0
        while n_read < len(target) and self._position < self._starts[-1]:
            index = bisect_right(self._starts, self._position) - 1
            piece, at = self._pieces[index], self._position - self._starts[index]
            part = self._part(piece, at, len(target) - n_read)
            if not part:
                break
            target[n_read : n_read + len(part)] = part
            n_read += len(part)
            self._position += len(part)
        return n_read

    def _part(self, piece: Piece, at: int, most: int) -> bytes:
        n_bytes = min(most, len(piece) - at)
        if isinstance(piece, bytes):
            return piece[at : at + n_bytes]
        self._file.seek(piece.start + at)
        return self._file.read(n_bytes)


def spliced(file: BinaryIO, pieces: Iterable[Piece]) -> BinaryIO:
    """Return pieces in a row as a file without a name, to be read; nothing is copied."""
    return cast("BinaryIO", _Spliced(file, pieces))


def patched(file: BinaryIO, size: int, patches: Mapping[int, bytes] = _NONE) -> BinaryIO:
    """Return the first ``size`` bytes of a file, with other bytes at some positions."""
    pieces: list[Piece] = []
    position = 0
    for start, content in sorted(patches.items()):
        if start >= size:
            break
        pieces += [range(position, start), content]
        position = start + len(content)
    return spliced(file, [*pieces, range(position, size)])
