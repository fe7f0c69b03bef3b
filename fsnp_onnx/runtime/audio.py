"""How a sound file stores its samples, and which endings stand for which container."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import soundfile as sf

CONTAINER_OF = {name.lower(): name for name in sf.available_formats() if name != "RAW"} | {
    "aif": "AIFF",
    "aifc": "AIFF",
    "oga": "OGG",
    "opus": "OGG",
    "snd": "AU",
}
AUDIO_EXTENSIONS = frozenset(f".{extension}" for extension in CONTAINER_OF)


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a file stores its samples, in libsndfile's words."""

    container: str  # "WAV", "FLAC", "OGG", "MP3", ...
    subtype: str  # "PCM_16", "FLOAT", "VORBIS", ...
    endian: str  # "FILE" for the container's own byte order, else "LITTLE" or "BIG"
    sample_rate: int
    channels: int


def reason(error: Exception) -> str:
    """Return libsndfile's own words about an error."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")


def has_av() -> bool:
    """Whether PyAV is installed, which reads what libsndfile does not."""
    return find_spec("av") is not None
