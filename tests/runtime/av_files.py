"""Sound files that libsndfile does not read, encoded by PyAV."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_NOTHING: Mapping[str, str] = {}


def encoded(
    samples: NDArray[np.float32],
    container: str,
    codec: str,
    rate: int = 48000,
    *,
    stored: str | None = None,
    tags: Mapping[str, str] = _NOTHING,
    options: Mapping[str, str] = _NOTHING,
) -> bytes:
    """Return the bytes of a file with float32 [N, channels] in it."""
    whole = io.BytesIO()
    with av.open(whole, "w", format=container, options=dict(options)) as file:
        file.metadata.update(tags)
        stream = file.add_stream(codec, rate=rate)
        _prepare(stream, _LAYOUTS[samples.shape[1]], stored)
        _encode(file, stream, samples, rate)
    return whole.getvalue()


def with_pictures(samples: NDArray[np.float32] | None, container: str, codec: str) -> bytes:
    """Return the bytes of a video of two seconds, with mono sound at 48 kHz or without."""
    whole = io.BytesIO()
    with av.open(whole, "w", format=container) as file:
        video: Any = file.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = None if samples is None else file.add_stream(codec, rate=48000)
        if audio:
            _prepare(audio, "mono", None)
        for _ in range(20):
            file.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        file.mux(video.encode(None))
        if audio and samples is not None:
            _encode(file, audio, samples, 48000)
    return whole.getvalue()


def _prepare(stream: Any, layout: str, stored: str | None) -> None:
    encoder = stream.codec_context
    encoder.layout = layout
    encoder.bit_rate = 12200 if "amr" in encoder.name else 128_000
    if stored:
        encoder.format = stored


def _encode(file: Any, stream: Any, samples: NDArray[np.float32], rate: int) -> None:
    encoder = stream.codec_context
    resampler = av.AudioResampler(encoder.format, encoder.layout, rate)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", encoder.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for piece in (*resampler.resample(frame), None):
        file.mux(stream.encode(piece))
