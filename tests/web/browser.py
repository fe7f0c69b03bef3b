"""Playwright, or a skipped test: it drives Debian's Chromium."""

import os

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)
from playwright.sync_api import (
    TimeoutError as Late,
)

__all__ = [
    "Browser",
    "BrowserContext",
    "Late",
    "Page",
    "Request",
    "Route",
    "expect",
    "sync_playwright",
]

expect.set_options(timeout=120_000)  # for a machine with much else to do
