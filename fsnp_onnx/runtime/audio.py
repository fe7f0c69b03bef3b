"""How a sound file stores its samples, and which endings stand for which container."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

import soundfile as sf

# RAW has no header. libsndfile writes that of an SD2 under a wrong name, and loses the end of an SDS.
_NOT_WRITTEN = ("RAW", "SD2", "SDS")
CONTAINER_OF = {name.lower(): name for name in sf.available_formats() if name not in _NOT_WRITTEN}
CONTAINER_OF |= {"aif": "AIFF", "aifc": "AIFF", "oga": "OGG", "opus": "OGG", "snd": "AU"}
AUDIO_EXTENSIONS = frozenset(f".{extension}" for extension in CONTAINER_OF)
_BY_AV = """
    3g2 3gp aac ac3 amr ape asf avi awb eac3 f4v flv m2ts m4a m4b m4v mka mkv mov mp4 mpeg mpg mts mxf ogv spx tta
    vob weba webm wma wmv wv
"""
AV_EXTENSIONS = frozenset(f".{extension}" for extension in _BY_AV.split())  # need the extra [av]
_SAME_ENDING: Final = {"WAVEX": "WAV", "RF64": "WAV"}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a file stores its samples, in libsndfile's words where it has them."""

    container: str  # "WAV", "FLAC", "OGG", "MP3", ...; "MOV", "MATROSKA", ... where PyAV reads
    subtype: str  # "PCM_16", "FLOAT", "VORBIS", ...
    endian: str  # "FILE" for the container's own byte order, else "LITTLE" or "BIG"
    sample_rate: int
    channels: int


def has_av() -> bool:
    """Whether PyAV is installed, which reads what libsndfile does not."""
    return find_spec("av") is not None


def ending_of(container: str) -> str:
    """Return the usual ending of a container, ".wav" for one that is only read.

    Example:
        >>> ending_of("FLAC"), ending_of("RF64"), ending_of("MATROSKA")
        ('.flac', '.wav', '.wav')
    """
    ending = f".{_SAME_ENDING.get(container, container).lower()}"
    return ending if ending in AUDIO_EXTENSIONS else ".wav"


def fits(container: str, ending: str) -> bool:
    """Whether files of a container have an ending such as ".wav", in any case of letters."""
    usual = CONTAINER_OF.get(ending.lower().removeprefix("."))
    return usual is not None and usual in (container, _SAME_ENDING.get(container))


def reason(error: BaseException) -> str:
    """Return libsndfile's own words about an error."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
