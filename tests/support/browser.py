"""Debian's chromium, driven by Playwright: what people see of the pages, with a picture of each and what axe-core says of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

CHROMIUM: Final = Path("/usr/bin/chromium")
PICTURES: Final = Path(__file__).parents[2] / ".cache" / "screenshots"
WINDOWS: Final[Mapping[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "small": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
"""How a page is looked at: in both themes, and in a window 360 px wide."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Skips by name where there is none; with ROADSTEAD_REQUIRE_BROWSER=1 that is a failure.

    Fails at its end if any page in it broke the policy of its content, or if a script failed.
    """
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing: install Debian's package chromium"
        if os.environ.get("ROADSTEAD_REQUIRE_BROWSER") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        broken = _listen(browser)
        try:
            yield browser
        finally:
            browser.close()
        assert not broken, "\n".join(broken)


def _listen(browser: Browser) -> list[str]:
    """What goes wrong in all windows from now on, as it comes to be."""
    made, broken = browser.new_context, []

    def console(message: ConsoleMessage) -> None:
        if message.type == "error" and "Content Security Policy" in message.text:
            broken.append(f"{message.page.url if message.page else ''}: {message.text}")

    def new_context(**options: Any) -> BrowserContext:
        context = made(**options)
        context.on("console", console)
        context.on("weberror", lambda error: broken.append(f"{error.page.url if error.page else ''}: {error.error}"))
        return context

    browser.new_context = new_context  # type: ignore[method-assign]
    return broken


def log_in(page: Page, url: str, name: str, password: str) -> None:
    """By the form, as people do."""
    page.goto(f"{url}/login")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda address: "/login" not in address)


def require_accessible(page: Page) -> None:
    """Fail with the elements and rules, if axe-core finds the page wanting, or if it is wider than its window."""
    found = Axe().run(page).response["violations"]
    said = [f"{one['id']}: {node['html'][:200]} ({node['failureSummary']})" for one in found for node in one["nodes"]]
    assert not said, f"{page.url}\n" + "\n".join(said)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url} is {wide} px wider than its window"


def picture(page: Page, name: str) -> None:
    """Keep what it looks like, for people to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.evaluate("scrollTo(0, 0)")  # what sticks to the top would stand in the middle
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
