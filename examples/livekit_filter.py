"""Noise suppression for LiveKit agents: the causal model as a frame processor.

    pip install 'fsnp-onnx[cpu,live]' livekit

    from livekit import rtc
    stream = rtc.AudioStream(track, noise_cancellation=NoiseFilter("live"))

Frames go out as long as they came in. What they hold is late by `Stream.latency_s`.
"""

from __future__ import annotations

import math

import numpy as np
from livekit import rtc

from fsnp_onnx import Enhancer


class NoiseFilter(rtc.FrameProcessor[rtc.AudioFrame]):
    """Enhances the audio of one track, frames of any length, rate and number of channels."""

    def __init__(self, model: str, strength: float = 1.0) -> None:
        """Open "live" or a stream file; one thread is enough for one track."""
        self._enhancer = Enhancer(model, threads=1)
        self._strength = strength
        self._enabled = True
        self._format: tuple[int, int] | None = None

    @property
    def enabled(self) -> bool:
        """Whether frames are enhanced."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = value
        self._format = None  # the next frame begins a new stream

    def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        if not self._enabled:
            return frame
        rate, channels = frame.sample_rate, frame.num_channels
        if self._format != (rate, channels):
            self._format = (rate, channels)
            self._stream = self._enhancer.stream(rate, channels, strength=self._strength)
            n_late = math.ceil(self._stream.latency_s * rate)
            self._ready = np.zeros((n_late, channels), np.float32)
        shape = (-1, channels) if channels > 1 else (-1,)
        noisy = np.frombuffer(frame.data, np.int16).reshape(shape).astype(np.float32) / 32768
        enhanced = self._stream.process(noisy).reshape(-1, channels)
        ready = np.concatenate([self._ready, enhanced])
        now, self._ready = np.split(ready, [frame.samples_per_channel])
        samples = np.clip(np.rint(now * 32768), -32768, 32767).astype(np.int16)
        return rtc.AudioFrame(samples.tobytes(), rate, channels, frame.samples_per_channel)

    def _close(self) -> None:
        self._format = None
