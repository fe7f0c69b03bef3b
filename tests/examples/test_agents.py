"""The filters for voice agents: frames of any format, at once, and as long as they came in."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from livekit import rtc
from numpy.typing import NDArray
from pipecat.frames.frames import FilterEnableFrame

from examples import livekit_filter, pipecat_filter
from tests.runtime.models import DELAY
from tests.runtime.signals import tone

Integers = NDArray[np.int16]
Samples = NDArray[np.float32]


def integers(n_samples: int, rate: int) -> Integers:
    return np.rint(tone(n_samples, rate) * 16384).astype(np.int16)


def through_livekit(
    noise_filter: livekit_filter.NoiseFilter, noisy: Integers, rate: int, channels: int = 1
) -> Integers:
    """Return what frames of 10 ms become, [N, channels]."""
    step, parts = rate // 100, []
    for frame in noisy.reshape(-1, step, channels):
        given = rtc.AudioFrame(frame.tobytes(), rate, channels, step)
        taken = noise_filter._process(given)
        assert (taken.sample_rate, taken.num_channels) == (rate, channels)
        assert taken.samples_per_channel == step
        parts.append(np.frombuffer(taken.data, np.int16).reshape(-1, channels))
    return np.concatenate(parts)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_livekit_frames_keep_their_length_and_are_late_by_the_latency(rate: int) -> None:
    noise_filter = livekit_filter.NoiseFilter(str(DELAY))
    noisy = integers(rate, rate)
    enhanced = through_livekit(noise_filter, noisy, rate)[:, 0]
    late = int(np.ceil(noise_filter._stream.latency_s * rate))
    assert not enhanced[:late].any()
    inner = slice(rate // 10, -rate // 10 - late)
    np.testing.assert_allclose(enhanced[late:][inner], noisy[:-late][inner] / 2, atol=6)


def test_livekit_takes_stereo_and_a_change_of_format() -> None:
    noise_filter = livekit_filter.NoiseFilter(str(DELAY))
    stereo = np.stack([integers(16000, 16000), -integers(16000, 16000)], 1)
    enhanced = through_livekit(noise_filter, stereo, 16000, 2)
    assert np.abs(enhanced[:, 0] + enhanced[:, 1]).max() <= 1
    assert through_livekit(noise_filter, integers(4800, 48000), 48000).shape == (4800, 1)


def test_a_livekit_filter_can_be_switched_off() -> None:
    noise_filter = livekit_filter.NoiseFilter(str(DELAY))
    assert noise_filter.enabled
    noise_filter.enabled = False
    noisy = integers(1600, 16000)
    assert np.array_equal(through_livekit(noise_filter, noisy, 16000)[:, 0], noisy)
    noise_filter._close()


@pytest.mark.parametrize("rate", [16000, 48000])
def test_pipecat_audio_comes_back_enhanced(rate: int) -> None:
    async def talk() -> bytes:
        noise_filter = pipecat_filter.NoiseFilter(str(DELAY))
        await noise_filter.start(rate)
        step = 2 * rate // 100
        parts = [await noise_filter.filter(data[i : i + step]) for i in range(0, len(data), step)]
        await noise_filter.stop()
        return b"".join(parts)

    noisy = integers(rate, rate)
    data = noisy.tobytes()
    enhanced = np.frombuffer(asyncio.run(talk()), np.int16)
    assert 0.9 * rate < enhanced.size <= rate
    inner = slice(rate // 10, enhanced.size - rate // 10)
    np.testing.assert_allclose(enhanced[inner], noisy[inner] / 2, atol=6)


def test_a_pipecat_filter_can_be_switched_off_and_on() -> None:
    async def talk() -> tuple[bytes, bytes]:
        noise_filter = pipecat_filter.NoiseFilter(str(DELAY))
        await noise_filter.start(16000)
        await noise_filter.process_frame(FilterEnableFrame(enable=False))
        passed = await noise_filter.filter(data)
        await noise_filter.process_frame(FilterEnableFrame(enable=True))
        return passed, await noise_filter.filter(data)

    data = integers(2560, 16000).tobytes()
    passed, enhanced = asyncio.run(talk())
    assert passed == data
    halves = np.rint(np.frombuffer(data, np.int16)[:2048] / 2)
    assert np.array_equal(np.frombuffer(enhanced, np.int16), halves)


def test_a_pipecat_filter_may_be_switched_while_a_thread_enhances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def talk() -> bytes:
        noise_filter = pipecat_filter.NoiseFilter(str(DELAY))
        await noise_filter.start(16000)
        stream, runs, goes_on = noise_filter._stream, asyncio.Event(), threading.Event()
        assert stream
        run, loop = stream._run, asyncio.get_running_loop()

        def slow(noisy: Samples, state: Samples) -> tuple[Samples, Samples]:
            loop.call_soon_threadsafe(runs.set)
            assert goes_on.wait(60)
            return run(noisy, state)

        monkeypatch.setattr(stream, "_run", slow)
        first = asyncio.create_task(noise_filter.filter(data))
        await runs.wait()
        await noise_filter.process_frame(FilterEnableFrame(enable=True))
        goes_on.set()
        await first
        return await noise_filter.filter(data)

    data = integers(2560, 16000).tobytes()
    halves = np.rint(np.frombuffer(data, np.int16)[:2048] / 2)
    assert np.array_equal(np.frombuffer(asyncio.run(talk()), np.int16), halves)
