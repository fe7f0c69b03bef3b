"""Headers of sound files that consist of chunks: WAV, RF64, W64, AIFF, AIFC, 8SVX, CAF."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

_SIZES_OF_PIPES = (0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # and a bit less
_HEADER_BYTES = 100  # are counted in, or not, by some writers
_LARGEST = 1 << 62  # of 64 bits; more stands for unknown
_MAX_CHUNKS = 10_000
_LINEAR = (1, 3, 6, 7, 0xFFFE)  # PCM, float, A-law, u-law, extensible: frames of one size
_BLOCK_TAGS = (0x02, 0x11, 0x31)  # MS ADPCM, IMA ADPCM, GSM 6.10


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says about the samples.

    Attributes:
        start: Position of the samples in the file.
        n_bytes: Their size as announced, None if the writer did not know it.
        n_samples: Their number as announced, None if the header does not tell.
        with_size: Maps a size to the bytes, by position, of a header that announces this size.
        chunks: How the chunks behind the samples are laid out, None if there are none.
        block_samples: Samples of a block of the codec, the last of which may be padding, else 0.
        n_unit: Bytes that have to be there together.
        has_tail: Whether libsndfile is to see what lies behind the samples.
        repairs: Bytes that libsndfile needs in other places, by position.
    """

    start: int
    n_bytes: int | None
    n_samples: int | None = None
    with_size: Callable[[int], Mapping[int, bytes]] = lambda _: {}
    chunks: Chunks | None = None
    block_samples: int = 0
    n_unit: int = 1
    has_tail: bool = False
    repairs: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunks:
    """How chunks are laid out: name and size, the header's share of the size, the padding."""

    fields: struct.Struct
    n_counted: int = 0
    align: int = 2

    def walk(self, file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the name, the position of the content and its size, up to the end of the file."""
        for _ in range(_MAX_CHUNKS):
            if position + self.fields.size > end:
                return
            file.seek(position)
            name, size = self.fields.unpack(file.read(self.fields.size))
            size -= self.n_counted
            position += self.fields.size
            yield name, position, size
            position += max(0, size) + -max(0, size) % self.align

    def find(
        self, file: BinaryIO, position: int, end: int, last: bytes
    ) -> dict[bytes, tuple[int, int]]:
        """Return position and size of all chunks up to the last one, by their first four letters."""
        found: dict[bytes, tuple[int, int]] = {}
        for name, start, size in self.walk(file, position, end):
            found.setdefault(name[:4], (start, size))
            if name[:4] == last:
                return found
        raise KeyError(last)

    def are_at(self, file: BinaryIO, position: int, end: int) -> bool:
        """Whether there are chunks from a position to the end of the file."""
        for name, start, size in self.walk(file, position, end):
            is_name = re.fullmatch(rb"[\x20-\x7e]{4}(?:.{12})?", name, re.DOTALL)
            if not is_name or start + size > end:
                return False
            if end - start - size <= self.align:
                return True
        return False


def known_size(n_bytes: int) -> int | None:
    """Return a size of 32 bits, None for those of writers into a pipe that did not know it."""
    is_unknown = any(top - _HEADER_BYTES <= n_bytes <= top for top in _SIZES_OF_PIPES)
    return None if is_unknown else n_bytes


def riff(file: BinaryIO, head: bytes, size: int) -> Header:
    """Parse a WAV, RF64 or BW64."""
    order = ">" if head.startswith(b"RIFX") else "<"
    chunks = Chunks(struct.Struct(f"{order}4sI"))
    found = chunks.find(file, 12, size, b"data")
    start, announced = found[b"data"]
    n_bytes = known_size(announced)
    is_whole = struct.unpack(f"{order}I", head[4:8])[0] + 8 <= size
    if is_whole and size - start < announced <= size - start + _HEADER_BYTES:
        n_bytes = size - start

    has_ds64 = b"ds64" in found and announced == 0xFFFFFFFF
    at = found[b"ds64"][0] if has_ds64 else 0
    if has_ds64:
        (n_bytes,) = _read(file, at + 8, "<Q")
        n_bytes = None if n_bytes > _LARGEST else n_bytes

    def with_size(n: int) -> dict[int, bytes]:
        if has_ds64:
            return {at: struct.pack("<QQQ", size - 8, n, 0)}
        # which libsndfile takes for the header of a program that crashed, and reads to the end
        return {4: struct.pack(f"{order}I", 8), start - 4: bytes(4)}

    n_samples, block = _wave_samples(file, found, order, n_bytes)
    repairs = {0: b"RF64"} if head.startswith(b"BW64") else {}  # two names of one container
    return Header(
        start, n_bytes, n_samples, with_size, chunks, block, has_tail=True, repairs=repairs
    )


def w64(file: BinaryIO, _head: bytes, size: int) -> Header:
    """Parse a W64, whose sizes have 64 bits and count the header of the chunk."""
    chunks = Chunks(struct.Struct("<16sQ"), n_counted=24, align=8)
    found = chunks.find(file, 40, size, b"data")
    start, announced = found[b"data"]
    n_bytes = None if announced > _LARGEST else max(0, announced)
    n_samples, block = _wave_samples(file, found, "<", n_bytes)

    def with_size(n: int) -> dict[int, bytes]:
        return {start - 8: struct.pack("<Q", n + 24)}

    return Header(start, n_bytes, n_samples, with_size, chunks, block)


def _wave_samples(
    file: BinaryIO, found: Mapping[bytes, tuple[int, int]], order: str, n_bytes: int | None
) -> tuple[int | None, int]:
    """Return how many samples the chunks fmt and fact announce, and those of a block, 0 without."""
    at, n_format = found[b"fmt "]
    tag, _, _, _, n_block = _read(file, at, f"{order}HHIIH")
    if n_bytes is None or n_block == 0:
        return None, 0
    if tag in _LINEAR:
        return n_bytes // n_block, 0
    if b"fact" not in found or tag not in _BLOCK_TAGS or n_format < 20:
        return None, 0
    (block,) = _read(file, at + 18, f"{order}H")
    (n_samples,) = _read(file, found[b"fact"][0], f"{order}I")
    n_padding = -(-n_bytes // n_block) * block - n_samples
    # a byte of padding may look like a block; more is another meaning of fact
    return (n_samples, 2 * block) if 0 <= n_padding < 2 * block else (None, 0)


def aiff(file: BinaryIO, head: bytes, size: int) -> Header:
    """Parse an AIFF or AIFC."""
    chunks = Chunks(struct.Struct(">4sI"))
    found = chunks.find(file, 12, size, b"SSND")
    start, announced = found[b"SSND"]
    at = found[b"COMM"][0]
    _, n_frames = _read(file, at, ">HI")
    codec = _read(file, at + 18, ">4s")[0] if head[8:12] == b"AIFC" else b"NONE"
    n_bytes = known_size(announced)

    def with_size(n: int) -> dict[int, bytes]:
        # libsndfile takes 0 for as many as there are, but of these codecs
        frames = n_frames if codec in (b"GSM ", b"DWVW") else 0
        return {
            at + 2: struct.pack(">I", frames),
            start - 4: struct.pack(">I", min(n + 8, 0xFFFFFFFF)),
        }

    return Header(
        start + 8,
        None if n_bytes is None else max(0, n_bytes - 8),
        None if n_bytes is None else n_frames * (64 if codec == b"ima4" else 1),
        with_size,
        chunks,
        has_tail=True,
    )


def svx(file: BinaryIO, _head: bytes, size: int) -> Header:
    """Parse an 8SVX or 16SV."""
    chunks = Chunks(struct.Struct(">4sI"))
    found = chunks.find(file, 12, size, b"BODY")
    start, n_bytes = found[b"BODY"]
    (n_samples,) = _read(file, found[b"VHDR"][0], ">I")
    return Header(start, n_bytes, n_samples, lambda n: {start - 4: struct.pack(">I", n)}, chunks)


def caf(file: BinaryIO, _head: bytes, size: int) -> Header:
    """Parse a CAF, whose samples begin behind a count of edits."""
    chunks = Chunks(struct.Struct(">4sq"), align=1)
    found = chunks.find(file, 8, size, b"data")
    start, announced = found[b"data"]
    n_bytes = None if announced < 0 else max(0, announced - 4)
    packet, n_frames = _read(file, found[b"desc"][0] + 16, ">II")
    n_samples = None
    if b"pakt" in found:
        (n_samples,) = _read(file, found[b"pakt"][0] + 8, ">q")
    elif packet and n_frames == 1 and n_bytes is not None:
        n_samples = n_bytes // packet

    def with_size(n: int) -> dict[int, bytes]:
        return {start - 8: struct.pack(">q", n + 4)}

    return Header(start + 4, n_bytes, n_samples, with_size, chunks, has_tail=True)


def _read(file: BinaryIO, position: int, fields: str) -> tuple[int, ...]:
    file.seek(position)
    return struct.unpack(fields, file.read(struct.calcsize(fields)))
