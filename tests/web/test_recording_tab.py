"""The tab for recordings: what a user gets is what Python computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from tests.web.browser import Page, expect
from tests.web.conftest import COUNT_MICROPHONES, SAMPLE, OpenPage
from tests.web.site import Site

TOLERANCE = 1e-4  # of full scale: two programs that sum in float32 in different orders
DECODED = 2**-15  # Chromium divides positive 16-bit samples by 32767, negative ones by 32768

pytestmark = pytest.mark.slow


def enhance(page: Page, recording: Path | dict[str, object]) -> None:
    page.set_input_files("#choose", recording)  # type: ignore[arg-type] # a payload is a TypedDict
    expect(page.locator("#result, #file-message").filter(visible=True)).to_be_visible(
        timeout=300_000
    )
    assert page.inner_text("#file-message") == "" or page.is_hidden("#result")


def downloaded(page: Page, button: str, folder: Path) -> tuple[str, NDArray[np.float32], int]:
    """Press a button and return the name, samples and rate of the file that comes."""
    with page.expect_download() as waiting:
        page.click(button)
    path = folder / "downloaded.wav"
    waiting.value.save_as(path)
    samples, rate = soundfile.read(path, dtype="float32")
    return waiting.value.suggested_filename, samples, rate


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.float32]:
    samples: NDArray[np.float32] = soundfile.read(SAMPLE, dtype="float32")[0]
    return samples


@pytest.fixture(scope="module")
def enhanced(noisy: NDArray[np.float32]) -> NDArray[np.floating]:
    return Enhancer("default", provider="cpu").enhance(noisy, 16000)


def test_the_download_holds_the_samples_of_python_at_every_strength(
    open_page: OpenPage, noisy: NDArray[np.float32], enhanced: NDArray[np.float32], tmp_path: Path
) -> None:
    page = open_page()
    enhance(page, SAMPLE)
    assert "whole recording at once" in page.inner_text("#result-note")
    name, full, rate = downloaded(page, "#download", tmp_path)
    assert (name, rate) == ("hum_5db_noisy-enhanced.wav", 16000)
    np.testing.assert_allclose(full, enhanced, atol=TOLERANCE, rtol=0)
    page.focus("#strength")
    page.keyboard.press("Home")
    untouched = downloaded(page, "#download", tmp_path)[1]
    np.testing.assert_allclose(untouched, noisy, atol=DECODED, rtol=0)
    page.fill("#strength", "40")
    assert page.inner_text("#strength-value") == "40 %"
    mixed = noisy + np.float32(0.4) * (enhanced - noisy)
    np.testing.assert_allclose(
        downloaded(page, "#download", tmp_path)[1], mixed, atol=TOLERANCE, rtol=0
    )


def test_a_plain_static_server_is_enough_and_stereo_stays_stereo(
    built_page: Path, open_page: OpenPage, noisy: NDArray[np.float32], tmp_path: Path
) -> None:
    second = np.roll(noisy, 8000)[: 2 * 16000]
    stereo = np.stack([noisy[: 2 * 16000], second], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 16000, subtype="FLOAT")
    with Site(built_page, isolated=False).served() as base:
        page = open_page(base=base)
        assert page.evaluate("self.crossOriginIsolated") is False
        enhance(page, tmp_path / "stereo.wav")
        _, found, _ = downloaded(page, "#download", tmp_path)
    expected = Enhancer("default", provider="cpu").enhance(stereo, 16000)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_threads_give_the_same_samples_under_the_strict_policy(
    open_page: OpenPage, enhanced: NDArray[np.float32], tmp_path: Path
) -> None:
    two = "ort.env.logLevel = 'error'; ort.env.wasm.numThreads = 2"
    page = open_page(change=("page/worker.js", "ort.env.logLevel = 'error'", two))
    assert page.evaluate("self.crossOriginIsolated") is True
    before = len(page.workers)
    enhance(page, SAMPLE)
    assert (before, len(page.workers)) == (0, 2)  # the page's own, and one for the second thread
    _, found, _ = downloaded(page, "#download", tmp_path)
    np.testing.assert_allclose(found, enhanced, atol=TOLERANCE, rtol=0)


def test_a_long_recording_runs_in_pieces_as_a_stream_does(
    open_page: OpenPage, noisy: NDArray[np.float32], tmp_path: Path
) -> None:
    page = open_page(change=("page/file_tab.js", "WHOLE_S = 300", "WHOLE_S = 3"))
    enhance(page, SAMPLE)
    assert "piece by piece" in page.inner_text("#result-note")
    _, found, _ = downloaded(page, "#download", tmp_path)
    expected = Enhancer("live", provider="cpu").enhance(noisy, 16000)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_a_long_recording_shows_how_far_it_is(open_page: OpenPage, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(301 * 16000), 16000)
    page = open_page()
    page.set_input_files("#choose", tmp_path / "long.flac")
    expect(page.locator("#work-share")).to_have_text("1 %")
    assert 0 < float(page.get_attribute("#work-bar", "value") or 0) < 0.5
    page.click("#cancel")
    expect(page.locator("#work")).to_be_hidden()


def test_cancel_stops_at_once_and_the_next_recording_runs(
    open_page: OpenPage, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 280 * 16000)
    soundfile.write(tmp_path / "minutes.flac", noise, 16000)
    page = open_page()
    page.set_input_files("#choose", tmp_path / "minutes.flac")
    expect(page.locator("#work-share")).to_contain_text("s left")  # a whole run is under way
    page.click("#cancel")
    expect(page.locator("#work")).to_be_hidden(timeout=2000)
    assert page.is_hidden("#result")
    assert page.is_hidden("#file-message")
    assert page.evaluate("document.activeElement.id") == "choose"  # where the keyboard goes on
    enhance(page, SAMPLE)
    assert page.inner_text("#result-name") == "hum_5db_noisy"


def test_the_last_recording_counts_when_one_is_chosen_while_another_is_decoded(
    open_page: OpenPage, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(900 * 16000), 16000)
    page = open_page()
    enhance(page, SAMPLE)  # the models are open from here on
    page.set_input_files("#choose", tmp_path / "long.flac")
    expect(page.locator("#work-text")).to_have_text("Reading the recording")
    enhance(page, SAMPLE)
    page.wait_for_timeout(1000)  # by now the first one is decoded, too
    assert page.inner_text("#result-name") == "hum_5db_noisy"
    assert page.is_hidden("#work")


def test_a_recording_of_the_microphone_is_enhanced(open_page: OpenPage) -> None:
    page = open_page()
    page.click("#record")
    expect(page.locator("#record")).to_have_text("Stop recording")
    page.wait_for_timeout(1500)
    page.click("#record")
    expect(page.locator("#result")).to_be_visible()
    assert float(page.get_attribute("#position", "max") or 0) > 1


def test_an_impatient_user_opens_one_microphone_only(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(COUNT_MICROPHONES)
    page.evaluate(
        "for (let press = 0; press < 3; press++) document.getElementById('record').click()"
    )
    expect(page.locator("#record")).to_have_text("Stop recording")
    assert page.evaluate("opened.length") == 1
    page.click("#record")
    expect(page.locator("#record")).to_have_text("Record")
    assert page.evaluate("opened[0].active") is False


def test_a_dropped_file_is_enhanced(
    open_page: OpenPage, noisy: NDArray[np.float32], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "dropped.wav", noisy[:8000], 16000)
    page = open_page()
    page.evaluate(
        """async (bytes) => {
             const transfer = new DataTransfer()
             transfer.items.add(new File([new Uint8Array(bytes)], 'dropped.wav'))
             document.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer }))
           }""",
        list((tmp_path / "dropped.wav").read_bytes()),
    )
    expect(page.locator("#result-name")).to_have_text("dropped")


def test_the_switch_and_the_slider_change_what_is_heard_without_a_gap(open_page: OpenPage) -> None:
    """Constant samples show every gap: what is heard is their mix, or on the way to it."""
    heard = open_page().evaluate(
        """async () => {
             const { Player } = await import('./page/player.js')
             const context = new OfflineAudioContext(1, 32000, 16000)
             const [before, after] = [0.8, 0.2].map((level) => {
               const buffer = context.createBuffer(1, 32000, 16000)
               buffer.getChannelData(0).fill(level)
               return buffer
             })
             const player = new Player(context, before, after)
             player.play()
             for (const [at, share] of [[0.5, 0], [1, 1], [1.5, 0.5]])
               context.suspend(at).then(() => { player.enhancedShare = share; context.resume() })
             return Array.from((await context.startRendering()).getChannelData(0))
           }"""
    )
    steady = [np.median(heard[start : start + 4000]) for start in (2000, 10000, 18000, 26000)]
    np.testing.assert_allclose(steady, [0.2, 0.8, 0.2, 0.5], atol=1e-6)
    assert min(heard) > 0.2 - 1e-6
    assert np.abs(np.diff(heard)).max() < 0.01  # no step, so no click


def test_playing_moves_the_position_and_the_slider_seeks(open_page: OpenPage) -> None:
    page = open_page()
    enhance(page, SAMPLE)
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#time")).to_have_text("0:01 of 0:05")
    page.check("#listen-before", force=True)  # its label lies over it
    page.click("#play")
    at = float(page.input_value("#position"))
    page.fill("#position", "4")
    assert page.inner_text("#time") == "0:04 of 0:05"
    page.click("#play")
    expect(page.locator("#time")).to_have_text("0:05 of 0:05")
    expect(page.locator("#play")).to_have_text("Play")
    assert 1 <= at < 4
