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
from functools import partial
from typing import BinaryIO, Literal, cast

from fsnp_onnx.runtime.containers.chunks import Header, aiff, caf, known_size, riff, svx, w64
from fsnp_onnx.runtime.containers.container import JOINED, Container
from fsnp_onnx.runtime.containers.spliced import patched

_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 1024
_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # bytes, by the encoding's number
_SOUND_FILE = rb"RIFF....WAVE|RIFX....WAVE|RF64|FORM....AIF|caff\0|fLaC\0|OggS\0|\.snd\0|riff\x2e"
_TAG = rb"TAG|ID3|APETAGEX|LYRICS"


def read_header(file: BinaryIO) -> Container:
    """Return how to read a file that has a header with its samples behind it."""
    size = file.seek(0, os.SEEK_END)
    header = _parse(file, size)
    if header is None:
        return Container(file)
    there, note = max(0, size - header.start) // header.n_unit * header.n_unit, None
    if header.n_bytes is not None and there > header.n_bytes:
        behind = follows(file, header, size)
        note = JOINED if behind == "a sound file" else None
        there = there if behind == "samples" else header.n_bytes
    patches = header.with_size(there) if there != header.n_bytes else {}
    end = size if header.has_tail and not note else header.start + there
    is_changed = patches or end < size
    content = cast("BinaryIO", patched(file, end, patches)) if is_changed else file
    block = header.block_samples
    return Container(content, header.n_samples, header.n_bytes, there, block, note=note)


def follows(file: BinaryIO, header: Header, size: int) -> Literal["a sound file", "samples"] | None:
    """Return what lies behind the announced samples, None for chunks, tags and zeros."""
    end = header.start + (header.n_bytes or 0)
    for position in {end, end + end % 2}:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8 or re.match(_TAG, head):
            return None
        if re.match(_SOUND_FILE, head, re.DOTALL):
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
    head = file.read(_HEAD_BYTES)
    parse = next((p for magic, p in _PARSERS.items() if re.match(magic, head, re.DOTALL)), None)
    try:
        return parse(file, head, size) if parse else None
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
    n_bytes = max(block + 1, size - start - 4)  # libsndfile requires a byte behind the block

    def with_size(n: int) -> dict[int, bytes]:  # a block that ends before the file does
        return {start + 1: min(max(n, 1) - 1, 0xFFFFFF).to_bytes(3, "little")}

    return Header(start + 4, n_bytes, None, with_size, has_tail=True)


def _htk(_file: BinaryIO, head: bytes, _size: int) -> Header:
    (n_samples,) = struct.unpack_from(">I", head)
    return Header(12, 2 * n_samples, n_samples, lambda n: {0: struct.pack(">I", n // 2)}, n_unit=2)


def _sds(_file: BinaryIO, head: bytes, _size: int) -> Header:
    """Parse a dump of a synthesizer, in packets of 127 bytes and numbers of 7 bits a byte."""
    in_packet = 120 // -(-head[6] // 7)
    n_samples = head[10] | head[11] << 7 | head[12] << 14

    def with_size(n: int) -> dict[int, bytes]:
        n_there = min(n_samples, n // 127 * in_packet)
        return {10: bytes([n_there & 0x7F, n_there >> 7 & 0x7F, n_there >> 14])}

    return Header(21, -(-n_samples // in_packet) * 127, n_samples, with_size, n_unit=127)


def _nist(_file: BinaryIO, head: bytes, _size: int) -> Header:
    count = re.search(rb"sample_count -i (\d{1,18})", head)
    return Header(1024, None, int(count[1]) if count else None)


def _counted(_file: BinaryIO, head: bytes, _size: int, position: int, fields: str) -> Header:
    """Parse a header that has the number of samples at a fixed place."""
    return Header(0, None, struct.unpack_from(fields, head, position)[0])


_PARSERS: dict[bytes, Callable[[BinaryIO, bytes, int], Header]] = {
    rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE": riff,
    rb"riff\x2e\x91\xcf\x11": w64,
    rb"FORM....AIF[FC]": aiff,
    rb"FORM....(?:8SVX|16SV)": svx,
    rb"caff": caf,
    rb"\.snd|dns\.": _au,
    rb"Creative Voice File": _voc,
    rb".{8}\x00\x02\x00\x00": _htk,
    rb"\xf0\x7e.\x01": _sds,
    rb"NIST_1A": _nist,
    rb"2BIT": partial(_counted, position=26, fields=">I"),
    rb"\x01[\x04\x03].{16}": partial(_counted, position=26, fields="<I"),
    rb"ALawSoundFile": partial(_counted, position=18, fields=">I"),
    rb"\x00{4}(?:\x01\x00{3}){2}.{8}samplerate\x00": partial(_counted, position=47, fields="<I"),
    rb"\x00\x00\x03\xe8(?:\x00{3}\x01){2}.{8}samplerate\x00": partial(
        _counted, position=47, fields=">I"
    ),
    rb"MATLAB 5\.0 MAT-file.{107}IM": partial(_counted, position=236, fields="<I"),
    rb"MATLAB 5\.0 MAT-file.{107}MI": partial(_counted, position=236, fields=">I"),
}
