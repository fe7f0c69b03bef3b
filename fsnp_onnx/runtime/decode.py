"""Sound files to samples."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError, MissingFileError
from fsnp_onnx.runtime import kinds
from fsnp_onnx.runtime.audio import AudioFormat, has_av, reason
from fsnp_onnx.runtime.containers.container import Container
from fsnp_onnx.runtime.containers.framed import read_flac, read_ogg
from fsnp_onnx.runtime.containers.headers import read_header
from fsnp_onnx.runtime.containers.mpeg import read_mpeg
from fsnp_onnx.runtime.containers.spliced import spliced
from fsnp_onnx.runtime.tags import read_tags

_UNKNOWN_FRAMES = 1 << 62  # and more
_NOT_READ = (1, 4)  # libsndfile's error codes for formats and for codecs that it does not read
_BLOCK_VALUES = 1 << 16
_FIRST_BYTES = 1 << 20  # of a stream, which tell whether it is a recording
# Silence takes next to no bytes in these codecs; PCM is among them as the subtype of FLAC.
_MODELLED = ("PCM_S8", "PCM_16", "PCM_24", "ALAC", "MPEG", "VORBIS", "OPUS")
_MAX_SAMPLES = 8  # in a byte, of all other codecs
_REMEDY = "give a sound file such as WAV, FLAC, OGG or MP3"

Watch = Callable[[int, int, int], None]  # of the samples so far, the rate in Hz and the channels


@dataclass(frozen=True, slots=True)
class Recording:
    """What a sound file contains.

    Attributes:
        samples: float32 [N, channels], integers scaled to +-1.
        format: How the file stores them.
        tags: Title, artist, album, date and comment, as far as the file has them.
        truncated: Whether samples are missing that the file announces.
        warning: One line about what is odd about the file, with both numbers; None if nothing is.
    """

    samples: NDArray[np.float32]
    format: AudioFormat
    tags: Mapping[str, str] = field(default_factory=dict)
    truncated: bool = False
    warning: str | None = None


def read(source: Path | BinaryIO, name: str | None = None, *, strict: bool = False) -> Recording:
    """Read a whole file, or what is there of a truncated one.

    Args:
        source: A path, or a stream that need not seek.
        name: What messages call the file, default the path.
        strict: Whether to refuse a truncated recording.

    Raises:
        MissingFileError: The file cannot be opened or read.
        AudioError: It is not a recording that can be decoded, has no samples, or has samples that are
            not finite; with ``strict``, it is truncated.
    """
    name = name or (str(source) if isinstance(source, Path) else "the stream")
    try:
        with _opened(source, name) as file:
            return read_seekable(file, name, strict=strict)
    except OSError as error:
        raise MissingFileError(f"cannot read {name} ({error.strerror or error})") from error


def watch_nothing(_n_samples: int, _rate: int, _channels: int) -> None:
    """Let a recording be as long as it is."""


def read_seekable(
    file: BinaryIO, name: str, *, strict: bool = False, watch: Watch = watch_nothing
) -> Recording:
    """Read an open file that can seek, as `read` does, without a copy of it.

    Args:
        file: Where to read; it stays open.
        name: What messages call the file.
        strict: Whether to refuse a truncated recording.
        watch: Is called after every block; an error that it raises, and that is no ValueError,
            ends the reading. A few megabytes can hold days of silence, whatever their header says.

    Raises:
        AudioError: As `read` says.
    """
    file.seek(0)
    recording = _decode(file, name, watch)
    if strict and recording.truncated:
        remedy = "leave out --strict (strict=True) to enhance what is there"
        raise AudioError(f"{name} is {recording.warning}; {remedy}")
    if recording.samples.size == 0:
        why = recording.warning or "give a recording of one sample or more"
        raise AudioError(f"{name} contains no samples; {why}")
    if not np.isfinite(recording.samples).all():
        raise AudioError(f"{name} contains NaN or infinite samples; repair the recording first")
    return recording


class _Forward(sf.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from its beginning to its end.

    soundfile would seek to where it is after every block, which files of unknown length refuse.
    """

    def seekable(self) -> bool:
        """Return False."""
        return False


@contextmanager
def _opened(source: Path | BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Yield a file that can seek: of a stream, or a path that leads to one, it is a copy."""
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        if isinstance(source, Path) and source.is_file():
            yield file
            return
        with tempfile.TemporaryFile(prefix="fsnp-") as copy:
            first = file.read(_FIRST_BYTES)
            if len(first) == _FIRST_BYTES and not _may_be_sound(first):  # it may never end
                raise AudioError(f"{name} is not a recording; {_REMEDY}")
            copy.write(first)
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            yield copy


def _decode(file: BinaryIO, name: str, watch: Watch) -> Recording:
    head = file.read(kinds.HEAD_BYTES)
    if kind := kinds.no_sound(head):
        raise AudioError(f"{name} cannot be decoded: it is {kind}; {_REMEDY}")
    file, head = _without_id3(file, head)
    container = _container(file, head)
    try:
        return _decode_container(container, watch)
    except (sf.LibsndfileError, TypeError, ValueError) as error:
        kind = kinds.for_pyav(head)
        if not container.missing:
            return _decode_otherwise(file, name, kind, error, watch)
        with suppress(AudioError):
            if kind:
                otherwise = _decode_otherwise(file, name, kind, error, watch)
                return _marked(otherwise, container.missing)
        text = f"{name} is truncated ({container.missing}) and has nothing before to decode"
        raise AudioError(f"{text}; copy it again") from error


def _without_id3(file: BinaryIO, head: bytes) -> tuple[BinaryIO, bytes]:
    """Return a file that is no MP3 from behind its ID3 tag on, and its first bytes.

    libsndfile takes the tag for the header of the others, and loses samples at the end.
    """
    start = kinds.behind_id3(head)
    size = file.seek(0, os.SEEK_END)
    if 0 < start < size:
        file.seek(start)
        first = file.read(kinds.HEAD_BYTES)
        if kinds.container(first):
            return spliced(file, [range(start, size)]), first
    return file, head


def _container(file: BinaryIO, head: bytes) -> Container:
    kind = kinds.container(head)
    if kind == "FLAC":
        return read_flac(file)
    if kind == "OGG":
        return read_ogg(file)
    mpeg = None if kind or kinds.for_pyav(head) else read_mpeg(file)
    return mpeg or read_header(file)


def _may_be_sound(first: bytes) -> bool:
    """Whether these are the first bytes of a recording."""
    if kinds.container(first) or kinds.for_pyav(first) or read_mpeg(io.BytesIO(first)):
        return True
    try:
        return bool(sf.info(io.BytesIO(first)).frames)
    except (sf.LibsndfileError, TypeError, ValueError):
        return False


def _decode_container(container: Container, watch: Watch) -> Recording:
    n_bytes = container.file.seek(0, os.SEEK_END)
    container.file.seek(0)
    with _Forward(container.file) as file:
        audio_format = AudioFormat(
            file.format, file.subtype, file.endian, file.samplerate, file.channels
        )
        n_announced = file.frames
        n_samples = container.without_padding(n_announced)
        if not file.subtype.startswith(_MODELLED):  # a damaged header may announce anything
            n_samples = min(n_samples, _MAX_SAMPLES * n_bytes)
        tags = read_tags(file)
        samples, error = _read_samples(file, n_samples, watch)
    if n_announced >= _UNKNOWN_FRAMES:
        if error and container.n_samples is None and not container.missing:
            container = replace(container, missing="what follows cannot be decoded")
        n_announced = 0
    truncated, warning = container.judge(len(samples), n_announced)
    return Recording(samples, audio_format, tags, truncated, warning)


def _read_samples(
    file: sf.SoundFile, n_samples: int, watch: Watch
) -> tuple[NDArray[np.float32], bool]:
    """Return what can be decoded, and whether an error was its end.

    It asks for no more than there is: libsndfile goes on beyond the end of some codecs.
    """
    blocks = [np.empty((0, file.channels), np.float32)]
    n_block = max(1, _BLOCK_VALUES // file.channels)
    n_there = 0
    while n_there < n_samples:
        n_asked = min(n_samples - n_there, n_block)
        block = np.full((n_asked, file.channels), np.nan, np.float32)
        try:
            n_read = len(file.read(out=block))
        except sf.LibsndfileError:
            is_decoded = ~np.isnan(block[:, -1])
            blocks.append(block[is_decoded])
            return np.concatenate(blocks), True
        if n_read == 0:
            break
        blocks.append(block[:n_read])
        n_there += n_read
        watch(n_there, file.samplerate, file.channels)
    return np.concatenate(blocks), False


def _marked(recording: Recording, missing: str) -> Recording:
    """Return a recording as a truncated one."""
    warning = f"truncated: {missing}; {len(recording.samples)} samples are there"
    return replace(recording, truncated=True, warning=warning)


def _decode_otherwise(
    file: BinaryIO, name: str, kind: str | None, error: Exception, watch: Watch
) -> Recording:
    """Decode what libsndfile does not read, or say what it is."""
    problem, remedy = reason(error), _REMEDY
    if kind or getattr(error, "code", 0) in _NOT_READ:
        if has_av():
            from fsnp_onnx.runtime.av_decoder import decode_with_av  # noqa: PLC0415 - an extra

            return decode_with_av(file, name, watch)
        remedy = f"{_REMEDY}; for rarer ones run pip install 'fsnp-onnx[av]'"
        if kind:
            problem, remedy = f"it is {kind}", "run pip install 'fsnp-onnx[av]' to read it"
    raise AudioError(f"{name} cannot be decoded: {problem}; {remedy}") from error
