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
from tests.web.conftest import COUNT_MICROPHONES, SAMPLE, OpenPage

TOLERANCE = 1e-4  # of full scale: two programs that sum in float32 in different orders
RATE = 16000
LEVEL = re.compile("\N{MINUS SIGN}[1-5][0-9] dB")
DASH = "\N{EN DASH}"
QUANTUM = 128  # samples that a browser plays at a time

Samples = NDArray[np.float32]

pytestmark = [pytest.mark.slow, pytest.mark.realtime]


def begin(page: Page) -> None:
    page.check("#live-record")
    page.click("#live-start")
    expect(page.locator("#live-status")).to_contain_text("with less noise")


def end(page: Page, folder: Path) -> tuple[Samples, Samples]:
    """Stop; return what the microphone heard and what was played, in step."""
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


def recorded(page: Page, seconds: float, folder: Path) -> tuple[Samples, Samples]:
    begin(page)
    page.wait_for_timeout(1000 * seconds)
    return end(page, folder)


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


def test_the_microphone_reaches_the_stream_as_it_is(open_page: OpenPage, tmp_path: Path) -> None:
    heard, _ = recorded(open_page("#live"), 7, tmp_path)
    sample, _ = soundfile.read(SAMPLE, dtype="float32")
    second = sample[2 * RATE : 3 * RATE]
    size = 1 << (heard.size + RATE).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(second, size)))
    at = int(np.argmax(products[: heard.size - RATE]))
    # Chromium resamples twice on the way, by times that are not whole samples.
    assert np.corrcoef(heard[at : at + RATE], second)[0, 1] > 0.95


def with_delay_model(page: Page) -> None:
    """Put the small test model in the place of the live one: half as loud, and two hops late."""
    page.route("**/models/live.onnx", lambda route: route.fulfill(path=DELAY))


def test_the_latency_that_is_shown_is_the_latency_that_is_played(
    open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page("#live")
    with_delay_model(page)
    begin(page)
    expect(page.locator("#latency-parts")).to_contain_text(
        "48 ms network"
    )  # two hops, and one to fill
    shown = []
    for _ in range(25):
        page.wait_for_timeout(250)
        numbers = re.findall(r"(\d+) ms", page.inner_text("#latency-parts"))
        network, buffers = (int(number) for number in numbers[:2])
        shown.append(network + buffers)
    heard, played = end(page, tmp_path)
    found = {
        1000 * late / RATE for late in lags(heard * np.float32(0.5), played) if late is not None
    }
    assert found
    for late in found:  # a quantum is 8 ms; the rest is rounding
        assert min(abs(late - latency) for latency in shown) <= 9


def test_the_strength_acts_while_it_runs(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("#live")
    with_delay_model(page)
    page.fill("#live-strength", "0")
    heard, played = recorded(page, 5, tmp_path)
    assert any(late is not None for late in lags(heard, played))


def test_it_can_be_stopped_while_the_model_loads_and_started_again(open_page: OpenPage) -> None:
    page = open_page("#live")
    page.evaluate(COUNT_MICROPHONES)
    page.route("**/models/live.onnx", lambda _: None)  # no answer for ever
    page.click("#live-start")
    expect(page.locator("#live-status")).to_have_text("Loading the model")
    page.click("#live-start")
    expect(page.locator("#live-status")).to_have_text("The microphone is off.")
    assert page.is_hidden("#live-message")
    assert page.evaluate("opened[0].active") is False
    page.unroute("**/models/live.onnx")
    with_delay_model(page)
    page.click("#live-start")
    expect(page.locator("#live-status")).to_contain_text("with less noise")


@pytest.mark.parametrize("status", ["Loading the model", "You hear"])
def test_a_microphone_that_is_disconnected_is_told_at_any_time(
    open_page: OpenPage, status: str
) -> None:
    page = open_page("#live")
    page.evaluate(COUNT_MICROPHONES)
    if status == "You hear":
        with_delay_model(page)
    else:
        page.route("**/models/live.onnx", lambda _: None)
    page.click("#live-start")
    expect(page.locator("#live-status")).to_contain_text(status)
    page.evaluate("opened[0].getTracks()[0].dispatchEvent(new Event('ended'))")
    expect(page.locator("#live-message")).to_have_text("The microphone was disconnected.")
    expect(page.locator("#live-start")).to_have_text("Start")


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
    expect(page.locator("#level-in-value")).to_have_text(LEVEL)
    expect(page.locator("#level-out-value")).to_have_text(LEVEL)
    assert int(page.get_attribute("#level-in", "aria-valuenow") or 0) > -60
    page.click("#live-start")
    expect(page.locator("#level-in-value")).to_have_text(DASH)
    assert page.get_attribute("#level-in", "aria-valuenow") == "-60"
