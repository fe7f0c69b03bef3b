"""What the header of a sound file announces, beside what is there.

Programs that write into a pipe, that crash, or that write more than 4 GiB leave wrong sizes in a header,
and libsndfile believes most of them. So what the header announces is read here as well, and where it
is wrong, libsndfile is given a header that is right.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from typing import BinaryIO, Literal

from fsnp_onnx.runtime import kinds
from fsnp_onnx.runtime.containers.chunks import Header, aiff, caf, known_size, riff, svx, w64
from fsnp_onnx.runtime.containers.container import JOINED, Container
from fsnp_onnx.runtime.containers.spliced import patched

_BLOCK_BYTES = 1 << 20
_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # bytes, by the encoding's number
_TAG = rb"TAG|ID3|APETAGEX|LYRICS"


def read_header(file: BinaryIO) -> Container:
    """Return how to read a file that has a header with its samples behind it."""
    size = file.seek(0, os.SEEK_END)
    header = _parse(file, size)
    if header is None:
        return Container(patched(file, size))
    there, note = max(0, size - header.start) // header.n_unit * header.n_unit, None
    if header.n_bytes is not None and there > header.n_bytes:
        behind = _behind(file, header, size)
        note = JOINED if behind == "a sound file" else None
        there = there if behind == "samples" else header.n_bytes
    patches = {**header.repairs, **(header.with_size(there) if there != header.n_bytes else {})}
    end = size if header.has_tail and not note else header.start + there
    content, block = patched(file, end, patches), header.block_samples
    return Container(content, header.n_samples, header.n_bytes, there, block, note=note)


def _behind(file: BinaryIO, header: Header, size: int) -> Literal["a sound file", "samples"] | None:
    """Return what lies behind the announced samples, None for chunks, tags and zeros."""
    end = header.start + (header.n_bytes or 0)
    for position in {end, end + end % 2}:
        file.seek(position)
        head = file.read(kinds.HEAD_BYTES)
        if len(head) < 8 or re.match(_TAG, head):
            return None
        if kinds.container(head):
            return "a sound file"
        if header.chunks and header.chunks.are_at(file, position, size):
            return None
    file.seek(end)
    while block := file.read(_BLOCK_BYTES):
        if block.strip(b"\0"):
            return "samples"
    return None


def _parse(file: BinaryIO, size: int) -> Header | None:
    file.seek(0)
    head = file.read(kinds.HEAD_BYTES)
    kind = kinds.container_or_guess(head)
    try:
        if kind in _COUNTS:
            position, fields = _COUNTS[kind]
            return Header(0, None, struct.unpack_from(fields, head, position)[0])
        return _PARSERS[kind](file, head, size) if kind in _PARSERS else None
    except (struct.error, KeyError, ValueError):  # damaged, or it ends within
        return None


def _au(_file: BinaryIO, head: bytes, _size: int) -> Header:
    order = ">" if head.startswith(b".snd") else "<"
    start, n_bytes, code, _, channels = struct.unpack_from(f"{order}5I", head, 4)
    frame = _AU_WIDTHS.get(code, 0) * channels

    def with_size(n: int) -> dict[int, bytes]:
        return {8: struct.pack(f"{order}I", min(n, 0xFFFFFFFF))}

    known = known_size(n_bytes)
    return Header(
        start, known, n_bytes // frame if frame and known is not None else None, with_size
    )


def _voc(_file: BinaryIO, head: bytes, size: int) -> Header:
    (start,) = struct.unpack_from("<H", head, 20)
    block = int.from_bytes(head[start + 1 : start + 4], "little")
    is_law = re.match(rb"\x09.{9}[\x06\x07]", head[start:], re.DOTALL)
    # libsndfile requires a byte behind the block, and counts it in where it writes A-law or u-law
    block -= bool(is_law and start + 4 + block == size)
    n_bytes = max(block + 1, size - start - 4)

    def with_size(n: int) -> dict[int, bytes]:  # a block that ends before the file does
        return {start + 1: min(max(n, 1) - 1, 0xFFFFFF).to_bytes(3, "little")}

    repairs = with_size(block + 1)
    return Header(start + 4, n_bytes, None, with_size, has_tail=True, repairs=repairs)


def _htk(_file: BinaryIO, head: bytes, _size: int) -> Header:
    (n_samples,) = struct.unpack_from(">I", head)
    return Header(12, 2 * n_samples, n_samples, lambda n: {0: struct.pack(">I", n // 2)}, n_unit=2)


def _sds(file: BinaryIO, head: bytes, size: int) -> Header:
    """Parse a dump of a synthesizer, in packets of 127 bytes and numbers of 7 bits a byte.

    libsndfile prints a line on standard output about a packet that does not begin as it should.
    """
    in_packet = 120 // -(-head[6] // 7)
    n_samples = head[10] | head[11] << 7 | head[12] << 14

    def with_size(n: int) -> dict[int, bytes]:
        n_there = min(n_samples, n // 127 * in_packet)
        return {10: bytes([n_there & 0x7F, n_there >> 7 & 0x7F, n_there >> 14])}

    file.seek(0)
    content = file.read()
    begins = {at: b"\xf0\x7e" for at in range(21, size, 127) if content[at : at + 2] != b"\xf0\x7e"}
    n_bytes = -(-n_samples // in_packet) * 127
    return Header(21, n_bytes, n_samples, with_size, n_unit=127, repairs=begins)


def _nist(_file: BinaryIO, head: bytes, _size: int) -> Header:
    count = re.search(rb"sample_count -i (\d{1,18})", head)
    return Header(1024, None, int(count[1]) if count else None)


_PARSERS: dict[str, Callable[[BinaryIO, bytes, int], Header]] = {
    "WAV": riff,
    "W64": w64,
    "AIFF": aiff,
    "SVX": svx,
    "CAF": caf,
    "AU": _au,
    "VOC": _voc,
    "HTK": _htk,
    "SDS": _sds,
    "NIST": _nist,
}
_COUNTS = {  # where the number of samples stands, and how
    "AVR": (26, ">I"),
    "MPC2K": (26, "<I"),
    "WVE": (18, ">I"),
    "MAT4_LE": (47, "<I"),
    "MAT4_BE": (47, ">I"),
    "MAT5_LE": (236, "<I"),
    "MAT5_BE": (236, ">I"),
}
