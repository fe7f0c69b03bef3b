"""Samples to sound files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError, OutputError
from fsnp_onnx.runtime.audio import CONTAINER_OF, AudioFormat, fits, reason
from fsnp_onnx.runtime.outputs import replacing
from fsnp_onnx.runtime.tags import id3, write_tags

_FLOAT_CODECS = ("FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG")  # keep samples beyond +-1
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_24": 24, "PCM_32": 32, "DWVW_24": 24}
_STORED_BITS = _BITS | {"FLOAT": 32, "DOUBLE": 64, "ULAW": 8, "ALAW": 8}
_STORED_BITS |= {"ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 32}
_BEYOND_4_GIB = ("CAF", "FLAC", "MP3", "OGG", "RF64", "W64")
_MOST_CHANNELS = {"MP3": 2, "FLAC": 8}
_LOUDEST_MP3 = 100.0  # full scale is 1; from some thousands on, LAME ends the whole process
_HEADER_BYTES = 1 << 20  # and more than it
_NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})
_BLOCK_FRAMES = 1 << 16  # the Vorbis encoder overflows its stack on a few million frames at once


def write(
    target: Path | BinaryIO,
    samples: NDArray[np.float32],
    audio_format: AudioFormat,
    tags: Mapping[str, str] = _NO_TAGS,
    **how: Any,
) -> int:
    """Write float32 [N, channels] to a whole file or none, or to a stream that need not seek.

    Args:
        target: A path, or a stream, whose errors are not caught.
        samples: What to write.
        audio_format: How to store it, as `output_format` returns it.
        tags: Title, artist, album, date and comment.
        how: Arguments of `replacing`.

    Returns:
        How many samples were clipped: integer formats clip what lies beyond +-1, float formats and
        the lossy codecs keep it.

    Raises:
        AudioError: libsndfile does not write the format.
        OutputError: The file cannot be written; nothing is left of it.
    """
    if isinstance(target, Path):
        with replacing(target, **how) as temporary, _Checked(temporary) as file:
            return _write_tagged(file, samples, audio_format, tags)
    whole = io.BytesIO()  # headers are completed at the end, which needs a seek
    clipped = _write_tagged(whole, samples, audio_format, tags)
    rest = whole.getbuffer()
    while rest:  # a stream without a buffer may take a part
        rest = rest[target.write(rest) :]
    target.flush()
    return clipped


def output_format(
    target: Path | BinaryIO, source_format: AudioFormat, n_samples: int
) -> AudioFormat:
    """Return how to store an output: as its source, changed only where its ending needs another.

    A stream gets a WAV. More than 16 bits become 24 where the container has no place for them, and
    a WAV beyond 4 GiB is an RF64. What cannot be written is refused here, before the work.
    """
    path = target if isinstance(target, Path) else Path("stream.wav")
    container = CONTAINER_OF.get(path.suffix.lower().removeprefix("."))
    if container is None:
        raise AudioError(f"cannot write {path}; use .wav, .flac, .ogg or .mp3")
    kept = source_format
    if not fits(source_format.container, path.suffix):
        kept = replace(source_format, container=container, endian="FILE")
    subtypes = [kept.subtype, sf.default_subtype(container)]
    if _STORED_BITS.get(kept.subtype, 16) > 16:
        subtypes.insert(1, "PCM_24")
    if path.suffix.lower() == ".opus":
        subtypes = ["OPUS"]
    formats = [_with_room(replace(kept, subtype=subtype), n_samples) for subtype in subtypes]
    for audio_format in formats[:-1]:
        with suppress(AudioError):
            return _tried(audio_format)
    return _tried(formats[-1])


def _with_room(audio_format: AudioFormat, n_samples: int) -> AudioFormat:
    """Return a format that counts as many bytes: the sizes of most containers have 32 bits."""
    n_bits = n_samples * audio_format.channels * _STORED_BITS.get(audio_format.subtype, 16)
    if audio_format.container in _BEYOND_4_GIB or n_bits // 8 + _HEADER_BYTES < 1 << 32:
        return audio_format
    if audio_format.container in ("WAV", "WAVEX"):
        return replace(audio_format, container="RF64", endian="FILE")
    raise AudioError(
        f"cannot write {n_bits // 8} bytes into {audio_format.container}, whose sizes end at 4 GiB; "
        "give an output such as NAME.wav or NAME.flac"
    )


def _tried(audio_format: AudioFormat) -> AudioFormat:
    """Return a format after one sample was written in it, and read back where that can fail."""
    if problem := _known_problem(audio_format):
        raise _unwritable(audio_format, problem)
    probe = io.BytesIO()
    try:
        _write_blocks(probe, np.zeros((1, audio_format.channels), np.float32), audio_format)
        probe.seek(0)
        found = audio_format.sample_rate
        if audio_format.container != "MP3":  # of which libsndfile does not read one so short
            with sf.SoundFile(probe) as file:
                found = file.samplerate
    except (OutputError, sf.LibsndfileError) as error:
        problem = f"libsndfile cannot do it: {reason(error.__cause__ or error)}"
        raise _unwritable(audio_format, problem) from error
    if found != audio_format.sample_rate:
        raise _unwritable(audio_format, f"its header can only say {found} Hz")
    return audio_format


def _known_problem(audio_format: AudioFormat) -> str | None:
    """Return why libsndfile crashes on a format, loses samples or says no reason, else None."""
    if audio_format.subtype == "VORBIS" and (
        audio_format.sample_rate > 200_000 or audio_format.channels > 255
    ):
        return "Vorbis takes up to 200000 Hz and 255 channels"
    most = _MOST_CHANNELS.get(audio_format.container, audio_format.channels)
    if audio_format.channels > most:
        return f"{audio_format.container} takes up to {most} channels"
    if audio_format.subtype.startswith("ALAC"):
        return "libsndfile encodes it in a temporary file, and crashes when the disk is full"
    if (audio_format.container, audio_format.subtype) == ("PAF", "PCM_24"):
        return "libsndfile loses its last samples"
    return None


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


def _write_tagged(
    target: BinaryIO | io.RawIOBase,
    samples: NDArray[np.float32],
    audio_format: AudioFormat,
    tags: Mapping[str, str],
) -> int:
    """Write samples with tags; those of an MP3 stand in front, where libsndfile writes no others."""
    if audio_format.container != "MP3" or not tags:
        return _write_blocks(target, samples, audio_format, tags)
    whole = io.BytesIO()
    clipped = _write_blocks(whole, samples, audio_format)
    target.write(id3(tags))
    target.write(whole.getbuffer())
    return clipped


def _write_blocks(
    target: BinaryIO | io.RawIOBase,
    samples: NDArray[np.float32],
    audio_format: AudioFormat,
    tags: Mapping[str, str] = _NO_TAGS,
) -> int:
    clipped = 0
    if audio_format.container == "MP3":
        _require_quiet(samples)
    try:
        with _open_to_write(target, audio_format) as file:
            write_tags(file, tags)
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


def _require_quiet(samples: NDArray[np.float32]) -> None:
    loudest = max(samples.max(initial=0), -samples.min(initial=0))
    if loudest > _LOUDEST_MP3:
        problem = f"samples up to {loudest:.3g} are too loud for MP3"
        raise AudioError(f"{problem}; scale them to +-1, or give an output such as NAME.wav")


def _open_to_write(target: BinaryIO | io.RawIOBase, audio_format: AudioFormat) -> sf.SoundFile:
    rate, channels = audio_format.sample_rate, audio_format.channels
    container, subtype = audio_format.container, audio_format.subtype
    try:
        return sf.SoundFile(target, "w", rate, channels, subtype, audio_format.endian, container)
    except (sf.LibsndfileError, ValueError) as error:
        raise _unwritable(audio_format, reason(error)) from error


def _unwritable(audio_format: AudioFormat, problem: str) -> AudioError:
    return AudioError(
        f"cannot write {audio_format.container}/{audio_format.subtype} at {audio_format.sample_rate} Hz "
        f"with {audio_format.channels} channels ({problem}); give an output such as NAME.wav"
    )


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
    lowest = -full_scale if audio_format.subtype.startswith("PCM") else 1 - full_scale
    rounded = np.rint(samples.astype(np.float64) * full_scale)
    clipped = np.clip(rounded, lowest, full_scale - 1)
    return clipped.astype(np.int32) << (32 - bits), int(np.count_nonzero(clipped != rounded))
