"""The live tab: what is played is what Python's stream makes of what the microphone heard."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from tests.runtime.models import DELAY
from tests.web.browser import Page, expect
from tests.web.conftest import SAMPLE, OpenPage

TOLERANCE = 1e-4  # of full scale: two programs that sum in float32 in different orders
RATE = 16000
QUANTUM = 128  # samples that a browser plays at a time

Samples = NDArray[np.float32]

pytestmark = pytest.mark.slow


def recorded(page: Page, seconds: float, folder: Path) -> tuple[Samples, Samples]:
    """Run the live tab; return what the microphone heard and what was played, in step."""
    page.check("#live-record")
    page.click("#live-start")
    expect(page.locator("#live-status")).to_contain_text("with less noise")
    page.wait_for_timeout(1000 * seconds)
    page.click("#live-start")
    found = []
    for name in ("noisy", "enhanced"):
        with page.expect_download() as waiting:
            page.click(f"#live-{name}")
        waiting.value.save_as(folder / f"{name}.wav")
        samples, rate = soundfile.read(folder / f"{name}.wav", dtype="float32")
        assert rate == RATE
        found.append(samples)
    heard, played = found
    assert heard.shape == played.shape
    return heard, played


def lags(expected: Samples, played: Samples) -> list[int | None]:
    """Return how late each second that was played is, in samples; None where it has a gap."""
    found: list[int | None] = []
    for start in range(0, played.size - RATE + 1, RATE):
        second = played[start : start + RATE]
        late = range(0, min(start, 2 * RATE) + 1, QUANTUM)
        errors = [np.abs(second - expected[start - n : start - n + RATE]).max() for n in late]
        best = int(np.argmin(errors))
        heard = np.abs(second).max() > 10 * TOLERANCE  # else anything quiet would match
        found.append(late[best] if heard and errors[best] < TOLERANCE else None)
    return found


def test_what_is_played_is_the_stream_of_python(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("#live")
    heard, played = recorded(page, 12, tmp_path)
    stream = Enhancer("live", provider="cpu").stream(RATE)
    expected = np.concatenate([stream.process(heard), stream.flush()])
    matching = [late for late in lags(expected, played) if late is not None]
    assert len(matching) >= 3  # the rest has gaps, where the machine was too busy
    assert min(matching) >= stream.latency_s * RATE
    assert max(matching) < 1.5 * RATE


def test_the_microphone_reaches_the_stream_unprocessed(open_page: OpenPage, tmp_path: Path) -> None:
    heard, _ = recorded(open_page("#live"), 7, tmp_path)
    sample, _ = soundfile.read(SAMPLE, dtype="float32")
    second = sample[2 * RATE : 3 * RATE]
    size = 1 << (heard.size + RATE).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(second, size)))
    at = int(np.argmax(products[: heard.size - RATE]))
    assert np.corrcoef(heard[at : at + RATE], second)[0, 1] > 0.99


def with_delay_model(page: Page) -> None:
    """Put the small test model in the place of the live one: half as loud, and two hops late."""
    page.route("**/models/live.onnx", lambda route: route.fulfill(path=DELAY))


def test_the_latency_that_is_shown_is_the_latency_that_is_played(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("#live")
    with_delay_model(page)
    shown: list[tuple[int, str]] = []

    def look() -> None:
        parts = page.inner_text("#latency-parts")
        numbers = [int(number) for number in re.findall(r"(\d+) ms", parts)]
        if len(numbers) == 3:
            shown.append((numbers[0] + numbers[1], page.inner_text("#gaps")))

    page.check("#live-record")
    page.click("#live-start")
    expect(page.locator("#live-status")).to_contain_text("with less noise")
    for _ in range(12):
        page.wait_for_timeout(500)
        look()
    expect(page.locator("#latency-parts")).to_contain_text("48 ms network")  # two hops, and one to fill
    page.click("#live-start")
    with page.expect_download() as noisy, page.expect_download() as enhanced:
        page.click("#live-noisy")
        page.click("#live-enhanced")
    names = {"live-microphone.wav": "noisy", "live-enhanced.wav": "enhanced"}
    sounds = {}
    for waiting in (noisy.value, enhanced.value):
        waiting.save_as(tmp_path / waiting.suggested_filename)
        sounds[names[waiting.suggested_filename]] = soundfile.read(
            tmp_path / waiting.suggested_filename, dtype="float32"
        )[0]
    found = {late for late in lags(sounds["noisy"] / 2, sounds["enhanced"]) if late is not None}
    assert found
    for late in found:
        assert min(abs(1000 * late / RATE - latency) for latency, _ in shown) <= 9  # a quantum, and rounding


def test_the_strength_acts_while_it_runs(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("#live")
    with_delay_model(page)
    page.fill("#live-strength", "0")
    heard, played = recorded(page, 5, tmp_path)
    assert any(late is not None for late in lags(heard, played))


def test_a_device_that_is_too_slow_is_told_so(open_page: OpenPage) -> None:
    busy = "const begun = performance.now(); while (performance.now() < begun + 40 * samples.length / 256);"
    page = open_page(
        "#live",
        change=("core/stream.js", "async process(samples) {", "async process(samples) {" + busy),
    )
    with_delay_model(page)
    page.click("#live-start")
    expect(page.locator("#live-message")).to_contain_text("This device is too slow")
    expect(page.locator("#live-message")).to_contain_text("enhance a recording")
    page.click("#live-start")
    expect(page.locator("#live-status")).to_have_text("The microphone is off.")


def test_the_levels_move_and_fall_back(open_page: OpenPage) -> None:
    page = open_page("#live")
    with_delay_model(page)
    page.click("#live-start")
    expect(page.locator("#level-in-value")).to_have_text(re.compile(r"−[1-4]\d dB"))
    expect(page.locator("#level-out-value")).to_have_text(re.compile(r"−[1-5]\d dB"))
    assert int(page.get_attribute("#level-in", "aria-valuenow") or 0) > -60
    page.click("#live-start")
    expect(page.locator("#level-in-value")).to_have_text("–")
    assert page.get_attribute("#level-in", "aria-valuenow") == "-60"
