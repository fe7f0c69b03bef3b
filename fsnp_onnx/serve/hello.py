"""The first message of a stream: what will come, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from fsnp_onnx.runtime.pcm import SampleFormat

MAX_CHANNELS: Final = 8  # each costs as much as a stream

_KEYS: Final = ("sample_rate_hz", "channels", "format", "strength")


class MessageError(Exception):
    """A message of a client that is wrong."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client wants to stream.

    Attributes:
        sample_rate_hz: Of the samples both ways.
        channels: 1 to 8, interleaved.
        format: "s16le" or "f32le".
        strength: 0 to 1, as for `Enhancer.stream`, which checks it and the rate.
    """

    sample_rate_hz: float
    channels: int = 1
    format: SampleFormat = "s16le"
    strength: float = 1.0


def read_hello(text: str) -> Hello:
    """Read the first message.

    Raises:
        MessageError: It is not a hello; the error says what is wrong.

    Example:
        >>> read_hello('{"sample_rate_hz": 48000}')
        Hello(sample_rate_hz=48000, channels=1, format='s16le', strength=1.0)
    """
    document = read_object(text)
    for key in document:
        if key not in _KEYS:
            raise MessageError(
                f"hello has the unknown key {key[:40]!r}; known are {', '.join(_KEYS)}"
            )
    if "sample_rate_hz" not in document:
        raise MessageError('hello lacks "sample_rate_hz"; send it first, such as 48000')
    hello = Hello(**document)
    for key in ("sample_rate_hz", "strength"):
        if type(getattr(hello, key)) not in (int, float):
            raise MessageError(f"{key} is {_short(document[key])}; give a number")
    if type(hello.channels) is not int or not 1 <= hello.channels <= MAX_CHANNELS:
        raise MessageError(f"channels is {_short(hello.channels)}; give 1 to {MAX_CHANNELS}")
    if hello.format not in get_args(SampleFormat):
        raise MessageError(f'format is {_short(hello.format)}; give "s16le" or "f32le"')
    return hello


def read_object(text: str) -> dict[str, Any]:
    """Return a message that is a JSON object, else raise MessageError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageError("a text message is not JSON; send an object") from error
    if not isinstance(document, dict):
        raise MessageError("a text message is JSON but not an object")
    return cast("dict[str, Any]", document)


def _short(value: object) -> str:
    return json.dumps(value)[:40]
