"""How pages write what they show."""

from __future__ import annotations

import pytest

from roadstead.web.filters import browser

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        (CHROME, "Chrome on Linux"),
        (f"{CHROME} Edg/156.0", "Edge on Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1 (KHTML, like Gecko) Version/17.5 Safari/605.1", "Safari on macOS"),
        ("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows"),
        ("curl/8.0", "curl"),
        ("something else", "something else"),
        ("", ""),
    ],
)
def test_a_browser_has_the_name_that_people_know(agent: str, shown: str) -> None:
    assert browser(agent) == shown
