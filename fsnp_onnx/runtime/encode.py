"""Samples to sound files."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError, OutputError
from fsnp_onnx.runtime.audio import CONTAINER_OF, AudioFormat, reason
from fsnp_onnx.runtime.outputs import replacing

_FLOAT_CODECS = ("FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG")  # keep samples beyond +-1
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_24": 24, "PCM_32": 32}
_BITS |= {"ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 32, "DWVW_24": 24}
_BLOCK_FRAMES = 1 << 16  # the Vorbis encoder overflows its stack on a few million frames at once


def write(
    target: Path | BinaryIO,
    samples: NDArray[np.float32],
    audio_format: AudioFormat,
    **how: Any,
) -> int:
    """Write float32 [N, channels] to a whole file or none, or to a stream that need not seek.

    Return how many samples were clipped: integer formats clip what lies beyond +-1, float formats
    and the lossy codecs keep it. Errors of a stream are not caught. `how` is for `replacing`.
    """
    if isinstance(target, Path):
        with replacing(target, **how) as temporary, _Checked(temporary) as file:
            return _write_blocks(file, samples, audio_format)
    whole = io.BytesIO()  # headers are completed at the end, which needs a seek
    clipped = _write_blocks(whole, samples, audio_format)
    rest = whole.getbuffer()
    while rest:  # a stream without a buffer may take a part
        rest = rest[target.write(rest) :]
    target.flush()
    return clipped


def output_format(
    source: Path | BinaryIO, target: Path | BinaryIO, source_format: AudioFormat
) -> AudioFormat:
    """Return how to store an output: as its source, changed only where its ending needs another.

    A stream gets a WAV. A format that libsndfile cannot write is refused here, before the work.
    """
    path = target if isinstance(target, Path) else Path("stream.wav")
    if isinstance(source, Path) and source.suffix.lower() == path.suffix.lower():
        return _tried(source_format)
    extension = path.suffix.lower().removeprefix(".")
    container = CONTAINER_OF.get(extension)
    if container is None:
        raise AudioError(f"cannot write {path}; use .wav, .flac, .ogg or .mp3")
    endian = source_format.endian if container == source_format.container else "FILE"
    kept = replace(source_format, container=container, endian=endian)
    if extension == "opus":
        return _tried(replace(kept, subtype="OPUS"))
    with suppress(AudioError):
        return _tried(kept)
    return _tried(replace(kept, subtype=sf.default_subtype(container)))


def _tried(audio_format: AudioFormat) -> AudioFormat:
    """Return a format after one sample was written in it."""
    silence = np.zeros((1, audio_format.channels), np.float32)
    _write_blocks(io.BytesIO(), silence, audio_format)
    return audio_format


class _Checked(io.FileIO):
    """A file for libsndfile to write, which does not report a disk that is full at the end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of it, or keep the error for the end, as none gets through libsndfile."""
        rest = memoryview(data)
        try:
            while rest and not self._error:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return len(data)

    def __exit__(self, *exception: object) -> None:
        """Close the file and raise what went wrong."""
        self.close()
        if self._error:
            raise self._error


def _write_blocks(
    target: BinaryIO | io.RawIOBase, samples: NDArray[np.float32], audio_format: AudioFormat
) -> int:
    clipped = 0
    try:
        with _open_to_write(target, audio_format) as file:
            for start in range(0, len(samples), _BLOCK_FRAMES):
                block = samples[start : start + _BLOCK_FRAMES]
                if audio_format.subtype.startswith(_FLOAT_CODECS):
                    file.write(block)
                else:
                    integers, n_clipped = _to_int32(block, audio_format)
                    file.write(integers)
                    clipped += n_clipped
    except sf.LibsndfileError as error:
        raise OutputError(f"writing audio failed ({error}); is the disk full?") from error
    return clipped


def _open_to_write(target: BinaryIO | io.RawIOBase, audio_format: AudioFormat) -> sf.SoundFile:
    rate, channels = audio_format.sample_rate, audio_format.channels
    container, subtype = audio_format.container, audio_format.subtype
    try:
        return sf.SoundFile(target, "w", rate, channels, subtype, audio_format.endian, container)
    except (sf.LibsndfileError, ValueError) as error:
        raise AudioError(
            f"cannot write {container}/{subtype} at {rate} Hz with {channels} channels "
            f"({reason(error)}); give an output such as NAME.wav"
        ) from error


def _to_int32(
    samples: NDArray[np.float32], audio_format: AudioFormat
) -> tuple[NDArray[np.int32], int]:
    """Round to the nearest integer of the format's bits, kept in the upper bits of int32.

    libsndfile's own conversion from float scales by 2^31 - 1 and truncates, which loses up to one
    step; rounding here gives back the very integers that were read.
    """
    bits = _BITS.get(audio_format.subtype, 16)  # codecs such as A-law and ADPCM take 16
    full_scale = 1 << (bits - 1)
    # the other codecs negate their input, which the lowest integer does not survive
    lowest = -full_scale if audio_format.subtype.startswith(("PCM", "ALAC")) else 1 - full_scale
    rounded = np.rint(samples.astype(np.float64) * full_scale)
    clipped = np.clip(rounded, lowest, full_scale - 1)
    return clipped.astype(np.int32) << (32 - bits), int(np.count_nonzero(clipped != rounded))
