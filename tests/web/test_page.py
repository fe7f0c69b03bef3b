"""The page as a whole: what goes wrong is said in words, and no one needs a mouse, or good eyes."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tests.web.browser import Late, Page, expect
from tests.web.conftest import SAMPLE, OpenPage

pytestmark = pytest.mark.slow


def test_a_file_without_sound_is_named(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "letter.txt").write_text("not a sound")
    page.set_input_files("#choose", tmp_path / "letter.txt")
    expect(page.locator("#file-message")).to_contain_text("letter.txt cannot be decoded")
    expect(page.locator("#work")).to_be_hidden()
    soundfile.write(tmp_path / "short.wav", [0.1, 0.2, 0.1], 16000)
    page.set_input_files("#choose", tmp_path / "short.wav")
    expect(page.locator("#result-name")).to_have_text("short")
    expect(page.locator("#file-message")).to_be_hidden()


@pytest.mark.parametrize("status", [404, 0])
def test_a_missing_model_is_named(open_page: OpenPage, status: int) -> None:
    page = open_page()
    page.route(
        "**/models/*.onnx",
        lambda route: route.fulfill(status=status) if status else route.abort(),
    )
    expected = "missing on this server (status 404)" if status else "the server does not answer"
    page.set_input_files("#choose", SAMPLE)
    expect(page.locator("#file-message")).to_contain_text("models/default-waveform.onnx")
    expect(page.locator("#file-message")).to_contain_text(expected)
    page.click("#tab-live")
    page.click("#live-start")
    expect(page.locator("#live-message")).to_contain_text("models/live.onnx")
    expect(page.locator("#live-status")).to_have_text("The microphone is off.")
    page.unroute("**/models/*.onnx")
    page.click("#tab-file")
    page.set_input_files("#choose", SAMPLE)
    expect(page.locator("#result")).to_be_visible()


def test_a_damaged_model_is_named(open_page: OpenPage) -> None:
    page = open_page()
    page.route("**/models/*.onnx", lambda route: route.fulfill(body="not a model"))
    page.set_input_files("#choose", SAMPLE)
    expect(page.locator("#file-message")).to_contain_text("not an ONNX file")


@pytest.mark.parametrize("thrown", ["12345", "new RangeError('Array buffer allocation failed')"])
def test_a_run_that_lacks_memory_is_explained_and_the_next_one_runs(
    open_page: OpenPage, thrown: str, tmp_path: Path
) -> None:
    """The runtime throws numbers, too."""
    fails = (
        f"async enhance(samples) {{ if (samples.length > 8000) throw {thrown}; const strength = 1"
    )
    page = open_page(
        change=("core/enhancer.js", "async enhance(samples, { strength = 1 } = {}) {", fails)
    )
    page.set_input_files("#choose", SAMPLE)
    expect(page.locator("#file-message")).to_have_text("The memory of this browser is not enough.")
    soundfile.write(tmp_path / "short.wav", [0.1, 0.2, 0.1], 16000)
    page.set_input_files("#choose", tmp_path / "short.wav")
    expect(page.locator("#result-name")).to_have_text("short")


def test_a_microphone_that_may_not_be_used_is_explained_in_both_tabs(open_page: OpenPage) -> None:
    page = open_page(microphone=False)
    page.click("#record")
    expect(page.locator("#file-message")).to_contain_text("may not use the microphone. Allow it")
    page.click("#tab-live")
    page.click("#live-start")
    expect(page.locator("#live-message")).to_contain_text("may not use the microphone. Allow it")


def test_an_insecure_address_enhances_recordings_and_says_why_there_is_no_microphone(
    open_page: OpenPage,
) -> None:
    """Browsers leave these out where a page comes over http from another computer."""
    insecure = (
        "delete self.AudioWorkletNode\n"
        "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })\nimport {"
    )
    page = open_page(change=("page/main.js", "import {", insecure))
    page.click("#record")
    expect(page.locator("#file-message")).to_contain_text("only for pages from https")
    page.click("#tab-live")
    page.click("#live-start")
    expect(page.locator("#live-message")).to_contain_text("only for pages from https")
    page.click("#tab-file")
    page.set_input_files("#choose", SAMPLE)
    expect(page.locator("#result")).to_be_visible()


def test_without_webassembly_the_page_says_so(open_page: OpenPage) -> None:
    page = open_page(change=("page/main.js", "import {", "delete self.WebAssembly\nimport {"))
    expect(page.locator("#unsupported")).to_contain_text("no WebAssembly")
    expect(page.locator("#app")).to_be_hidden()


def test_without_javascript_the_page_says_so(open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    expect(page.locator("#unsupported")).to_contain_text("needs JavaScript")


def choose_by_key(page: Page, patience_ms: float) -> None:
    with page.expect_file_chooser(timeout=patience_ms) as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(SAMPLE)


def test_all_of_it_works_from_the_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    press = page.keyboard.press
    focused = "document.activeElement.id"
    press("Tab")
    assert page.evaluate(focused) == "tab-file"
    press("ArrowRight")
    assert page.evaluate(focused) == "tab-live"
    expect(page.locator("#live")).to_be_visible()
    press("Home")
    press("Tab")
    assert page.evaluate(focused) == "choose"
    expect(page.locator("#choose")).to_be_focused()
    try:
        choose_by_key(page, 20_000)
    except Late:  # a browser that is busy for seconds forgets the key
        choose_by_key(page, 120_000)
    expect(page.locator("#result")).to_be_visible()
    assert page.evaluate(focused) == "result-name"  # where a screen reader goes on
    order = ["position", "play", "listen-after", "strength", "download"]
    for name in order:
        press("Tab")
        assert page.evaluate(focused) == name
    press("Shift+Tab")
    press("Shift+Tab")
    press("ArrowLeft")
    assert page.is_checked("#listen-before")
    press("Shift+Tab")
    press("Space")
    expect(page.locator("#play")).to_have_text("Pause")


def test_every_control_has_a_name(open_page: OpenPage) -> None:
    page = open_page()
    names = page.evaluate(
        """() => {
             document.querySelectorAll('[hidden]').forEach((part) => { part.hidden = false })
             const named = (control) => control.ariaLabel || control.labels?.[0]?.textContent.trim() ||
               control.textContent.trim() || document.getElementById(control.getAttribute('aria-labelledby'))?.textContent
             return [...document.querySelectorAll('button, input, a, progress, [role=meter], [role=tabpanel]')]
               .map((control) => [control.id, named(control)])
           }"""
    )
    assert len(names) > 15
    assert [
        name for name, label in names if not label and name != "work-bar"
    ] == []  # its text comes


_CONTRASTS = """() => {
  document.querySelectorAll('[hidden]').forEach((part) => { part.hidden = false })
  document.querySelectorAll('.message').forEach((part) => { part.textContent ||= 'A message' })
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number)
  const luminance = (colour) => parts(colour).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0)
  const background = (node) => {
    const { backgroundColor } = getComputedStyle(node)
    return (parts(backgroundColor)[3] ?? 1) > 0.5 ? backgroundColor : background(node.parentElement)
  }
  return [...document.querySelectorAll('body *')]
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
    .map((node) => {
      const [one, other] = [getComputedStyle(node).color, background(node)].map(luminance)
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
      return [node.id || node.textContent.trim().slice(0, 30), Math.round(100 * ratio) / 100]
    })
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(open_page: OpenPage, scheme: str) -> None:
    contrasts = open_page(color_scheme=scheme).evaluate(_CONTRASTS)
    assert len(contrasts) > 25
    assert [found for found in contrasts if found[1] < 4.5] == []


@pytest.mark.parametrize("at", ["", "#live"])
def test_a_phone_shows_it_without_scrolling_sideways(open_page: OpenPage, at: str) -> None:
    page = open_page(at, viewport={"width": 320, "height": 640})
    if not at:
        page.set_input_files("#choose", SAMPLE)
        expect(page.locator("#result")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert small_targets(page) == []


def small_targets(page: Page) -> list[str]:
    """Name what a finger would miss: WCAG asks for 24 pixels."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('button, .button, input[type=range], .switch label, .check')]
             .filter((node) => node.checkVisibility())
             .filter((node) => Math.min(node.clientHeight, node.clientWidth) < 24).map((node) => node.id)"""
    )
    return found


def test_no_motion_is_shown_to_those_who_want_none(open_page: OpenPage) -> None:
    page = open_page("#live", reduced_motion="reduce")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#level-in i')).transitionDuration")
        == "0s"
    )
