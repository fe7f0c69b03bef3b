"""Noise suppression for Pipecat: the causal model as the filter of an input transport.

pip install 'fsnp-onnx[cpu,live]' pipecat-ai

TransportParams(audio_in_enabled=True, audio_in_filter=NoiseFilter("live"))
"""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np
from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import FilterControlFrame, FilterEnableFrame

from fsnp_onnx import Enhancer, Stream


class NoiseFilter(BaseAudioFilter):
    """Enhances 16-bit mono audio as it comes; the first output is late by `Stream.latency_s`."""

    def __init__(self, model: str, strength: float = 1.0) -> None:
        """Open "live" or a stream file; one thread is enough for one speaker."""
        self._enhancer = Enhancer(model, threads=1)
        self._strength = strength
        self._enabled = True
        self._stream: Stream | None = None

    async def start(self, sample_rate: int) -> None:
        """Begin a stream at the transport's rate in Hz."""
        self._begin = partial(self._enhancer.stream, sample_rate, strength=self._strength)
        self._stream = self._begin()

    async def stop(self) -> None:
        """End the stream."""
        self._stream = None

    async def process_frame(self, frame: FilterControlFrame) -> None:
        """Switch the filter on or off."""
        if isinstance(frame, FilterEnableFrame):
            self._enabled = frame.enable
            if self._stream:
                self._stream = self._begin()  # a thread may still be in the one before

    async def filter(self, audio: bytes) -> bytes:
        """Return enhanced samples, as many as are ready."""
        if not (self._enabled and self._stream):
            return audio
        noisy = np.frombuffer(audio, np.int16).astype(np.float32) / 32768
        enhanced = await asyncio.to_thread(self._stream.process, noisy)
        integers = np.clip(np.rint(enhanced * 32768), -32768, 32767).astype(np.int16)
        return bytes(integers)
