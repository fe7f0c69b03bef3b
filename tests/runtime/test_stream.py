"""Live streams: any chunks, any rate, any number of channels, and what they cost."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from fsnp_onnx.errors import ArgumentError, ArgumentTypeError, AudioError, ModelFileError, RunError
from tests.runtime.models import DELAY, UNITY
from tests.runtime.signals import noise
from tests.runtime.streams import constant, streamed

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return Enhancer(DELAY, provider="cpu", threads=1)


def signal(n_samples: int, channels: int) -> Samples:
    samples = noise(n_samples, channels)
    return samples[:, 0] if channels == 1 else samples


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 8000, 44100, 48000])
def test_the_output_does_not_depend_on_the_chunks(
    enhancer: Enhancer, rate: int, channels: int
) -> None:
    noisy, rng = signal(rate, channels), np.random.default_rng(0)
    whole = streamed(enhancer.stream(rate, channels), noisy, constant(len(noisy)))
    assert whole.shape == noisy.shape
    splits = [constant(rate // 100), constant(256)]
    splits += [(int(rng.integers(0, 5000)) for _ in constant(1)) for _ in range(4)]
    for sizes in splits:
        assert np.array_equal(streamed(enhancer.stream(rate, channels), noisy, sizes), whole)


@pytest.mark.parametrize("n_samples", [1, 2, 255, 256, 257, 513, 3000])
def test_the_output_is_aligned_with_the_input_and_as_long(
    enhancer: Enhancer, n_samples: int
) -> None:
    noisy = signal(n_samples, 1)
    enhanced = streamed(enhancer.stream(16000), noisy, constant(1))
    assert np.array_equal(enhanced, noisy / 2)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates_stay_aligned_and_keep_the_length(enhancer: Enhancer, rate: int) -> None:
    time_s = np.arange(35 * rate) / rate  # at 44.1 kHz a sample was lost after 30 s
    tone = np.sin(2 * np.pi * 440 * time_s).astype(np.float32)
    enhanced = streamed(enhancer.stream(rate), tone, constant(rate // 100))
    assert enhanced.shape == tone.shape
    inner = slice(rate // 10, -rate // 10)
    np.testing.assert_allclose(enhanced[inner], tone[inner] / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [100, 500, 16000, 8000, 44100, 48000])
def test_no_sample_is_later_than_the_latency(enhancer: Enhancer, rate: int) -> None:
    stream, n_in, n_out = enhancer.stream(rate), 0, 0
    for size in (1, 7, rate // 100, 480, 3000) * 3:
        n_in += size
        n_out += len(stream.process(np.zeros(size, np.float32)))
        assert n_in - n_out <= stream.latency_s * rate + 1
    # three hops; resampling takes less than 14 ms, or 100 samples of a slow rate
    assert 0.048 <= stream.latency_s < 0.048 + max(0.014, 100 / rate)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_strength_mixes_the_aligned_input(enhancer: Enhancer, rate: int) -> None:
    noisy = signal(rate // 2, 1)
    full = streamed(enhancer.stream(rate), noisy, constant(100))
    for strength in (0.0, 0.25):
        mixed = streamed(enhancer.stream(rate, strength=strength), noisy, constant(777))
        expected = noisy + np.float32(strength) * (full - noisy)
        np.testing.assert_allclose(mixed, expected, atol=1e-7)
    assert np.array_equal(streamed(enhancer.stream(rate, strength=0), noisy, constant(9)), noisy)


def test_flush_and_reset_begin_anew(enhancer: Enhancer) -> None:
    stream, noisy = enhancer.stream(16000), signal(2000, 1)
    first = streamed(stream, noisy, constant(300))
    assert np.array_equal(streamed(stream, noisy, constant(301)), first)
    stream.process(signal(777, 1))
    stream.reset()
    assert np.array_equal(streamed(stream, noisy, constant(99)), first)
    assert stream.flush().size == 0


def test_streams_of_many_threads_do_not_disturb_each_other(enhancer: Enhancer) -> None:
    inputs = [noise(20000, 1)[:, 0] * np.float32(k + 1) for k in range(8)]
    outputs: dict[int, Samples] = {}

    def work(k: int) -> None:
        outputs[k] = streamed(enhancer.stream(16000), inputs[k], constant(160 + k))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, noisy in enumerate(inputs):
        assert np.array_equal(outputs[k], noisy / 2)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_memory_does_not_grow(enhancer: Enhancer, strength: float) -> None:
    stream, chunk = enhancer.stream(48000, strength=strength), np.zeros(480, np.float32)
    for _ in range(200):
        stream.process(chunk)
    tracemalloc.start()
    for _ in range(2000):
        stream.process(chunk)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current < 100_000


def test_a_whole_recording_in_a_stream_file_is_enhanced_as_by_the_stream(
    enhancer: Enhancer,
) -> None:
    for n_samples in (1, 256, 16383, 16384, 16385, 50000):
        noisy = signal(n_samples, 1)
        assert np.array_equal(enhancer.enhance(noisy, 16000), noisy / 2)


def test_wrong_shapes_are_reported_and_not_taken(enhancer: Enhancer) -> None:
    stream = enhancer.stream(16000, 2)
    for bad in (np.zeros(5), np.zeros((5, 3)), np.zeros((1, 5, 2))):
        with pytest.raises(ArgumentError, match=r"has shape .*; this stream takes \[N, 2\]"):
            stream.process(bad)
    noisy = signal(1000, 2)
    assert np.array_equal(streamed(stream, noisy, constant(10)), noisy / 2)


@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (-np.inf, "-inf"), (2e9, r"2e\+09")])
def test_a_bad_sample_is_named_and_its_chunk_not_taken(
    enhancer: Enhancer, bad: float, shown: str
) -> None:
    stream, noisy = enhancer.stream(16000, 2), signal(1000, 2)
    early, broken = stream.process(noisy[:700]), noisy[700:].astype(np.float64)
    broken[5, 1] = bad
    with pytest.raises(AudioError, match=rf"sample 705 is {shown}; .* up to 1e\+09; repair it, or"):
        stream.process(broken)
    rest = streamed(stream, noisy[700:], constant(10))
    assert np.array_equal(np.concatenate([early, rest]), noisy / 2)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("call", ["process", "flush"])
def test_a_stream_whose_run_failed_begins_anew(
    enhancer: Enhancer, rate: int, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RunError("no memory")

    stream, noisy = enhancer.stream(rate), signal(rate, 1)
    expected = streamed(enhancer.stream(rate), noisy, constant(300))
    stream.process(noisy[: rate // 3])
    calls: dict[str, Callable[[], Samples]] = {
        "process": partial(stream.process, noisy),
        "flush": stream.flush,
    }
    with monkeypatch.context() as patch:
        patch.setattr(stream, "_run", fail)
        with pytest.raises(RunError):
            calls[call]()
    assert np.array_equal(streamed(stream, noisy, constant(300)), expected)


@pytest.mark.parametrize("bad", [np.float32(1), None, "talk", [[1.0], []], np.zeros(5, np.int16)])
def test_what_is_no_array_of_samples_is_reported(enhancer: Enhancer, bad: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"samples .*; give .*float32 or float64"):
        enhancer.stream(16000).process(bad)


def test_a_file_that_cannot_run_live_says_which_one_can() -> None:
    with pytest.raises(ModelFileError, match="causal checkpoint with --interface stream"):
        Enhancer(UNITY, provider="cpu").stream(16000)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0,), "sample_rate"),
        ((4096001,), "sample_rate is 4096001; a stream takes 100 to 4096000 Hz"),
        ((16000, 0), "channels"),
        ((16000, 2000), "channels"),
        ((16000, 2.0), "channels is 2.0; give a whole number of 1 to 1024"),
    ],
)
def test_arguments_out_of_range_are_named(
    enhancer: Enhancer, arguments: tuple[Any, ...], name: str
) -> None:
    with pytest.raises(ArgumentError, match=name):
        enhancer.stream(*arguments)


def test_a_strength_out_of_range_is_named(enhancer: Enhancer) -> None:
    with pytest.raises(ArgumentError, match="strength"):
        enhancer.stream(16000, strength=1.5)


def test_channels_may_be_any_whole_number(enhancer: Enhancer) -> None:
    channels: Any = np.int64(2)
    assert enhancer.stream(48000, channels).process(np.zeros((9, 2))).shape == (0, 2)


def test_the_latency_is_a_plain_float_whatever_number_the_rate_is(enhancer: Enhancer) -> None:
    rate: Any = np.float32(22050)
    assert type(enhancer.stream(rate).latency_s) is float
