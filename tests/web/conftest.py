"""A built page, a browser whose microphone hears a sample, and pages that may not misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile

from tests.web.site import FLAGS, Site
from tests.web.tools import ROOT, require, run_node

if TYPE_CHECKING:  # tests of the core run without it
    from tests.web.browser import Browser, BrowserContext, Page, Request, Route

SAMPLE = ROOT / "samples" / "hum_5db_noisy.flac"
OpenPage = Callable[..., "Page"]
COUNT_MICROPHONES = """() => {
  self.opened = []
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices)
  navigator.mediaDevices.getUserMedia = async (wishes) => {
    const stream = await open(wishes)
    opened.push(stream)
    return stream
  }
}"""


@pytest.fixture(scope="session")
def built_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a freshly built page."""
    require("chromium")
    folder = tmp_path_factory.mktemp("page")
    run_node("build.mjs", folder)
    return folder


@pytest.fixture(scope="session")
def address(built_page: Path) -> Iterator[str]:
    with Site(built_page).served() as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium; the sample is what its microphone hears, again and again.

    It ends with its file of tests: while its driver lives, no other test can call asyncio.run.
    """
    heard = tmp_path_factory.mktemp("microphone") / "heard.wav"
    soundfile.write(heard, *soundfile.read(SAMPLE), subtype="PCM_16")
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={heard}"]
    from tests.web.browser import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=require("chromium"), args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, built_page: Path, address: str) -> Iterator[OpenPage]:
    """Open the page; a request that leaves its origin or sends something fails the test."""
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    def opened(
        at: str = "",
        *,
        base: str = address,
        microphone: bool = True,
        change: tuple[str, str, str] = ("", "", ""),
        **options: object,
    ) -> Page:
        """`change` names a file of the page, a text in it, and what stands there instead."""
        context = browser.new_context(**options)  # type: ignore[arg-type] # options of the browser
        contexts.append(context)
        context.set_default_timeout(120_000)  # for a machine with much else to do
        if microphone:
            context.grant_permissions(["microphone"])
        path, found, instead = change
        if path:
            assert found in (built_page / path).read_text()

            def changed(route: Route) -> None:
                answer = route.fetch()
                route.fulfill(response=answer, body=answer.text().replace(found, instead))

            context.route(base + path, changed)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda said: problems.append(said.text) if "Policy" in said.text else None
        )
        context.on("request", check)
        page.goto(base + at)
        return page

    def check(request: Request) -> None:
        """Only files are asked for, and nothing is sent."""
        own = request.url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:,"))
        if not own or request.method != "GET" or request.post_data:
            problems.append(f"{request.method} {request.url}")

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
