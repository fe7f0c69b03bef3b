"""Which sound file an answer is: what the Accept header wants, or the kind of the input."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException

_ENDINGS: Final = {
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/mpeg": ".mp3",
    "audio/opus": ".opus",
    "audio/aiff": ".aiff",
    "audio/basic": ".au",
    "audio/x-caf": ".caf",
}
_OTHER_NAMES: Final = {
    "audio/wave": ".wav",
    "audio/x-wav": ".wav",
    "audio/vnd.wave": ".wav",
    "audio/x-flac": ".flac",
    "application/ogg": ".ogg",
    "audio/mp3": ".mp3",
    "audio/x-aiff": ".aiff",
}
_ANY: Final = ("*/*", "audio/*", "application/octet-stream")


def wanted_ending(accept: str) -> str | None:
    """Return the ending of the file that an Accept header wants most, None for the input's.

    Raises:
        HTTPException: 406, it wants nothing that can be written.

    Example:
        >>> wanted_ending("audio/flac;q=0.5, audio/mpeg")
        '.mp3'
    """
    endings = _ENDINGS | _OTHER_NAMES
    for media_type in _by_preference(accept):
        if media_type in _ANY:
            return None
        if media_type in endings:
            return endings[media_type]
    known = ", ".join(_ENDINGS)
    raise HTTPException(406, f"Accept names no format that can be written; give one of {known}")


def media_type_of(ending: str) -> str:
    """Return the media type of an answer."""
    types = {ending: media_type for media_type, ending in _ENDINGS.items()}
    return types.get(ending, "application/octet-stream")


def _by_preference(accept: str) -> list[str]:
    """Return the media types of a header, the most wanted first, without those of quality 0."""
    weighed = []
    for item in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        quality = next((_number(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        if media_type and quality > 0:
            weighed.append((quality, media_type))
    weighed.sort(key=lambda pair: -pair[0])
    return [media_type for _, media_type in weighed] or ([] if accept.strip() else ["*/*"])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
