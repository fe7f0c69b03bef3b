"""MP3 files: how many frames there are, whatever lies between them and whatever a header says.

A file need not say how long it is. libsndfile then guesses from the rate of its first frame, and reads
no further. Here the frames are counted, and libsndfile gets them with a first frame that says so.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fsnp_onnx.runtime.containers.container import Container
from fsnp_onnx.runtime.containers.spliced import spliced
from fsnp_onnx.runtime.kinds import behind_id3

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_SAME = 0xFFFE0C00  # version, layer and sample rate
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_STEPS = {  # of the bit rate in kbit/s, by version 1 or not and layer
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_DELAY = 529  # samples, of every decoder
_MAX_JUNK = 1 << 16  # before the first frame
_N_CHAINED = 3  # frames in a row are no accident


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the four bytes at the beginning of a frame say."""

    word: int
    version: int
    layer: int
    n_bytes: int
    n_samples: int

    @property
    def info_position(self) -> int:
        """Where a frame of layer III that is a header has its name."""
        is_mono = self.word >> 6 & 3 == 3
        return 4 + {(True, False): 32, (False, True): 9}.get((self.version == 3, is_mono), 17)


def _frame_at(data: bytes, position: int) -> _Frame | None:
    if position + 4 > len(data):
        return None
    (word,) = struct.unpack_from(">I", data, position)
    version, layer = word >> 19 & 3, 4 - (word >> 17 & 3)
    step, rate = word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version == 1 or layer == 4 or step in (0, 15) or rate == 3:
        return None
    bits = 1000 * _STEPS[version == 3, layer][step - 1]
    hz, padding = _RATES[version][rate], word >> 9 & 1
    if layer == 1:
        return _Frame(word, version, layer, 4 * (12 * bits // hz + padding), 384)
    n_samples = 576 if layer == 3 and version != 3 else 1152
    return _Frame(word, version, layer, n_samples // 8 * bits // hz + padding, n_samples)


def _chain(data: bytes, position: int, like: _Frame | None = None) -> Iterator[tuple[int, _Frame]]:
    """Yield the whole frames of one kind that follow each other from a position on."""
    while frame := _frame_at(data, position):
        like = like or frame
        if (frame.word ^ like.word) & _SAME or position + frame.n_bytes > len(data):
            return
        yield position, frame
        position += frame.n_bytes


def _first_chain(data: bytes, start: int, stop: int, like: _Frame | None = None) -> int | None:
    """Return where frames in a row begin, of which the last may be the last of the file."""
    for match in _SYNC.finditer(data, start, stop):
        end, n_frames = match.start(), 0
        for position, frame in _chain(data, match.start(), like):
            end, n_frames = position + frame.n_bytes, n_frames + 1
            if n_frames == _N_CHAINED:
                return match.start()
        if n_frames and (end == len(data) or data.startswith((b"TAG", b"APETAGEX"), end)):
            return match.start()
    return None


def _runs(data: bytes, start: int, first: _Frame) -> tuple[list[range], int]:
    """Return where frames follow each other, without what lies between, and their number."""
    runs: list[range] = []
    n_frames, position = 0, start
    while True:
        end = position
        for at, frame in _chain(data, position, first):
            end, n_frames = at + frame.n_bytes, n_frames + 1
        runs.append(range(position, end))
        following = _first_chain(data, end, len(data), first)
        if following is None:
            return runs, n_frames
        position = following


def read_mpeg(file: BinaryIO) -> Container | None:
    """Return how to read an MP3, None if this is not one."""
    file.seek(0)
    data = file.read()
    begin = behind_id3(data)
    start = _first_chain(data, begin, begin + _MAX_JUNK)
    first = None if start is None else _frame_at(data, start)
    if start is None or first is None:
        return None
    runs, n_frames = _runs(data, start, first)
    end = runs[-1].stop
    head = _head(data, start, first, n_frames, sum(map(len, runs)))
    runs[0] = range(start + head.n_replaced, runs[0].stop)
    n_frames -= head.n_replaced > 0
    last = _frame_at(data, end)
    missing = note = None
    if last and not (last.word ^ first.word) & _SAME:
        missing = f"{len(data) - end} of {last.n_bytes} bytes of its last frame"
    if 0 < head.n_announced < n_frames - 1:
        note = f"its header announces {head.n_announced} MPEG frames, but {n_frames} are there"
    tag = range(len(data) - 128, len(data) if data[-128:].startswith(b"TAG") else 0)
    content = spliced(file, [range(begin), head.content, *runs, tag])
    n_samples = None if head.is_exact else first.n_samples * max(n_frames, head.n_announced)
    return Container(content, n_samples, missing=missing, note=note)


@dataclass(frozen=True, slots=True)
class _Head:
    """A first frame that holds no sound and announces the number of all others.

    Attributes:
        content: The frame.
        n_replaced: Bytes of the file in whose place it stands.
        n_announced: Number of frames that the file announces, 0 if it does not.
        is_exact: Whether the frame knows the number of samples better than the number of frames.
    """

    content: bytes
    n_replaced: int = 0
    n_announced: int = 0
    is_exact: bool = False


def _head(data: bytes, start: int, first: _Frame, n_frames: int, n_bytes: int) -> _Head:
    if first.layer != 3:
        return _Head(b"")
    at = first.info_position
    frame = bytearray(data[start : start + first.n_bytes]).ljust(64, b"\0")
    if frame[36:40] == b"VBRI":
        (n_announced,) = struct.unpack_from(">I", frame, 50)
        return _Head(_counting_frame(first, n_frames - 1), first.n_bytes, n_announced)
    if bytes(frame[at : at + 4]) not in (b"Xing", b"Info"):
        return _Head(_counting_frame(first, n_frames))
    flags, n_announced = struct.unpack_from(">II", frame, at + 4)
    if not (flags & 1 and n_announced):
        return _Head(_counting_frame(first, n_frames - 1), first.n_bytes)
    if n_announced < n_frames - 2:
        struct.pack_into(">I", frame, at + 8, n_frames - 1)
    if flags & 2:  # of a wrong size mpg123 complains on standard error
        struct.pack_into(">I", frame, at + 12, n_bytes)
    return _Head(bytes(frame[: first.n_bytes]), first.n_bytes, n_announced, is_exact=True)


def _counting_frame(like: _Frame, n_frames: int) -> bytes:
    """Return a frame that announces how many follow, and a silent one.

    mpg123 drops as many samples as are said to be no sound, and 529 more: that is the silent frame.
    """
    header = like.word & ~(0xF << 12 | 1 << 9) | 1 << 16
    content = struct.pack(">I", header | 8 << 12).ljust(like.info_position, b"\0")
    dropped = (like.n_samples - _DELAY) << 12 | _DELAY
    content += b"Xing" + struct.pack(">II", 1, n_frames + 1)
    content += b"LAME3.100".ljust(21, b"\0") + dropped.to_bytes(3)
    return _filled(content) + _filled(struct.pack(">I", header | 1 << 12))


def _filled(content: bytes) -> bytes:
    frame = _frame_at(content.ljust(64, b"\0"), 0)
    return content.ljust(frame.n_bytes if frame else 0, b"\0")
