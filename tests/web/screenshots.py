"""Takes the pictures of the page that docs/ shows: python -m tests.web.screenshots FOLDER_OF_THE_PAGE."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile
from PIL import Image

from tests.web.browser import Page, expect, sync_playwright
from tests.web.site import FLAGS, Site
from tests.web.tools import ROOT, require

SAMPLE = ROOT / "samples" / "hum_5db_noisy.flac"
DESKTOP = {"width": 1000, "height": 720}
PHONE = {"width": 390, "height": 844}


def recording(page: Page) -> None:
    page.set_input_files("#choose", SAMPLE)
    expect(page.locator("#result")).to_be_visible()
    page.fill("#position", "2.1")
    page.evaluate("document.activeElement.blur()")


def error(page: Page) -> None:
    page.set_input_files("#choose", ROOT / "LICENSE")
    expect(page.locator("#file-message")).to_be_visible()


def live(page: Page) -> None:
    page.click("#tab-live")
    page.click("#live-start")
    expect(page.locator("#live-status")).to_contain_text("with less noise")
    page.wait_for_timeout(2500)


PICTURES: list[tuple[str, Callable[[Page], None], dict[str, object]]] = [
    ("page", recording, {"viewport": DESKTOP}),
    ("page-dark", recording, {"viewport": DESKTOP, "color_scheme": "dark"}),
    ("page-phone", recording, {"viewport": PHONE}),
    ("page-phone-live", live, {"viewport": PHONE, "color_scheme": "dark"}),
    ("page-error", error, {"viewport": DESKTOP}),
    ("page-live", live, {"viewport": DESKTOP}),
]


def take(page_folder: Path) -> None:
    with (
        TemporaryDirectory() as work,
        sync_playwright() as driver,
        Site(page_folder).served() as base,
    ):
        heard = Path(work) / "heard.wav"
        soundfile.write(heard, *soundfile.read(SAMPLE), subtype="PCM_16")
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={heard}"]
        browser = driver.chromium.launch(executable_path=require("chromium"), args=flags)
        for name, act, options in PICTURES:
            context = browser.new_context(permissions=["microphone"], **options)  # type: ignore[arg-type] # options of the browser
            page = context.new_page()
            page.goto(base)
            act(page)
            path = ROOT / "docs" / f"{name}.png"
            page.screenshot(path=path, full_page=True)
            Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
            context.close()
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]).resolve())
