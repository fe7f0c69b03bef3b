"""Sound files to samples."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError, MissingFileError
from fsnp_onnx.runtime.audio import AUDIO_EXTENSIONS, AudioFormat, reason
from fsnp_onnx.runtime.truncation import require_whole

_UNKNOWN_FRAMES = 1 << 62  # and more
_NOT_RECOGNISED = 1  # libsndfile's error code for bytes of no format that it reads
_BLOCK_FRAMES = 1 << 16


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


def read(source: Path | BinaryIO, name: str | None = None, *, strict: bool = False) -> Recording:  # noqa: ARG001 - truncated files are always refused
    """Read a whole file.

    A stream need not seek. Messages call the file by its name, default the path. A truncated file is
    refused; that is found in WAV, AIFF, AU, W64, RF64, CAF, FLAC and MP3, and in Ogg within a page.
    """
    name = name or (str(source) if isinstance(source, Path) else "the stream")
    try:
        with _opened(source) as file:
            samples, audio_format = _read_blocks(file)
    except OSError as error:
        raise MissingFileError(f"cannot read {name} ({error.strerror})") from error
    except EOFError as error:
        raise AudioError(f"{name} is truncated: {error}; copy it again") from error
    except (sf.LibsndfileError, TypeError, ValueError) as error:
        raise AudioError(f"{name} cannot be decoded: {_cause(Path(name), error)}") from error
    if samples.size == 0:
        raise AudioError(f"{name} contains no samples; give a recording of one sample or more")
    if not np.isfinite(samples).all():
        raise AudioError(f"{name} contains NaN or infinite samples; repair the recording first")
    return Recording(samples, audio_format)


class _Forward(sf.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from its beginning to its end.

    soundfile would seek to where it is after every block, which files of unknown length refuse.
    """

    def seekable(self) -> bool:
        """Return False."""
        return False


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Yield a file that can seek: of a stream, or a path that leads to one, it is a copy."""
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        if isinstance(source, Path) and source.is_file():
            yield file
            return
        with tempfile.TemporaryFile(prefix="fsnp-") as copy:
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            yield copy


def _read_blocks(stream: BinaryIO) -> tuple[NDArray[np.float32], AudioFormat]:
    with _Forward(stream) as file:
        audio_format = AudioFormat(
            file.format, file.subtype, file.endian, file.samplerate, file.channels
        )
        blocks = [np.empty((0, file.channels), np.float32)]
        while len(block := file.read(_BLOCK_FRAMES, "float32", always_2d=True)):
            blocks.append(block)
        knows_its_length = sf.SoundFile.seekable(file) and file.frames < _UNKNOWN_FRAMES
        n_frames = sum(map(len, blocks))
        n_expected = file.frames if knows_its_length else n_frames
        log = file.extra_info
    if n_frames != n_expected:
        raise EOFError(f"{n_frames} of {n_expected} samples")
    require_whole(stream, log)
    return np.concatenate(blocks), audio_format


def _cause(path: Path, error: Exception) -> str:
    """Return why a file cannot be decoded, and what to do."""
    ending = path.suffix.lower()
    if getattr(error, "code", 0) == _NOT_RECOGNISED and ending and ending not in AUDIO_EXTENSIONS:
        names = f"{shlex.quote(path.name)} {shlex.quote(path.stem + '.wav')}"
        return f"this format is not supported; convert it to WAV first (ffmpeg -i {names})"
    return f"{reason(error)}; give a whole sound file such as WAV, FLAC, OGG or MP3"
