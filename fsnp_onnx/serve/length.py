"""How long a recording is, found before all of it is decoded into memory.

A few megabytes of a lossy or lossless codec can hold days of silence.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

import numpy as np
import soundfile as sf
from starlette.exceptions import HTTPException

from fsnp_onnx.runtime.audio import ending_of, has_av
from fsnp_onnx.serve.settings import Settings

_UNKNOWN_FRAMES: Final = 1 << 62  # and more: what libsndfile says where a header does not tell
_BLOCK_VALUES: Final = 1 << 16
_DEMUXERS: Final = "aac,ac3,amr,asf,avi,caf,flac,flv,matroska,mov,mp3,mpegts,ogg,wav"
_NOT_DECODED: Final = (sf.LibsndfileError, TypeError, ValueError, OSError)


def require_length(file: IO[bytes], model_rate: int, settings: Settings) -> str:
    """Check the length of a recording, and return the ending of its kind of file.

    A header that tells the length is believed, as no more than that will be decoded. Otherwise the
    recording is decoded block by block, as far as the limit. Bytes that cannot be decoded pass: the
    one who decodes them says what is wrong. Samples count at the model's rate where that is higher,
    because the work does: 20 MB can hold 100 s of 1024 channels at 100 Hz, 28 hours of sound.

    Raises:
        HTTPException: 413, the recording is too long.
    """
    ending = ".wav"
    try:
        file.seek(0)
        with sf.SoundFile(file) as sound:
            ending = ending_of(sound.format)
            known = sound.frames < _UNKNOWN_FRAMES
            lengths = [sound.frames] if known else _decoded(sound)
            _require(lengths, sound.samplerate, sound.channels, model_rate, settings)
    except _NOT_DECODED:
        if has_av():
            _require_with_av(file, model_rate, settings)
    file.seek(0)
    return ending


def _require(
    n_frames: Iterable[int], rate: int, channels: int, model_rate: int, settings: Settings
) -> None:
    """Add the lengths of blocks up and raise where they pass a limit."""
    total = 0
    for n in n_frames:
        total += n
        if total > settings.max_seconds * rate:
            found = f"the recording is {total / rate:.0f} s long or longer"
            raise HTTPException(413, f"{found}; the limit is {settings.max_seconds:g} s")
        at_hz = max(rate, model_rate)
        if (n_samples := total * channels * at_hz // rate) > settings.max_samples:
            found = f"the recording holds {n_samples} samples or more in {channels} channels"
            raise HTTPException(413, f"{found} at {at_hz} Hz; the limit is {settings.max_samples}")


def _decoded(sound: sf.SoundFile) -> Iterator[int]:
    """Yield the lengths of the blocks of a file, which may end in an error."""
    block = np.empty((max(1, _BLOCK_VALUES // sound.channels), sound.channels), np.float32)
    while n := len(sound.read(out=block)):
        yield n


def _require_with_av(file: IO[bytes], model_rate: int, settings: Settings) -> None:
    import av  # noqa: PLC0415 - an extra

    file.seek(0)
    nameless = types.SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
    options = {"format_whitelist": _DEMUXERS}  # a playlist would open other files or the network
    try:
        with av.open(  # the mode is told for its type
            nameless, "r", container_options=options, metadata_errors="replace", io_open=_refuse
        ) as container:
            stream = container.streams.audio[0]
            lengths = _decoded_with_av(container.demux(stream), av.FFmpegError)
            rate = stream.rate or model_rate  # damaged headers have none, but their frames do
            _require(lengths, rate, stream.channels, model_rate, settings)
    except (av.FFmpegError, *_NOT_DECODED, IndexError, AttributeError):
        return


def _decoded_with_av(packets: Iterator[Any], damaged: type[Exception]) -> Iterator[int]:
    """Yield the lengths of the frames in all packets that can be decoded."""
    while True:
        try:
            if (packet := next(packets, None)) is None:
                return
            lengths = [frame.samples for frame in packet.decode()]
        except damaged:
            continue
        yield from lengths


def _refuse(*_: object) -> None:
    raise PermissionError("it refers to other files")
