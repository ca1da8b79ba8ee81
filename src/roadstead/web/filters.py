"""How templates write sizes, times, counts and digests."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from markupsafe import Markup

from roadstead.access.clock import Clock
from roadstead.registry.sizes import human_size

_STEPS: Final = ((60, "minute"), (3600, "hour"), (86400, "day"), (86400 * 30, "month"), (86400 * 365, "year"))
# What a browser tells of itself names those that it is like too: the first that fits is what it is.
_BROWSERS: Final = (
    ("Firefox/", "Firefox"),
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_SHORT: Final = 12  # hexadecimal digits, as docker writes them


def size(value: int | None) -> str:
    """Bytes for people: 1.5 GiB."""
    return "" if value is None else human_size(value)


def count(value: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 tag, 1,234 tags."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def number(value: int) -> str:
    """A number with a comma between thousands."""
    return f"{value:,}"


def short(digest: object) -> str:
    """The first digits of a digest's hash."""
    text = str(digest)
    return text.rpartition(":")[2][:_SHORT]


def browser(agent: str) -> str:
    """A browser by the names that people know: Firefox on Linux. What is none of those as it told itself."""
    name = next((name for mark, name in _BROWSERS if mark in agent), None)
    system = next((system for mark, system in _SYSTEMS if mark in agent), None)
    return agent if name is None else name if system is None else f"{name} on {system}"


def moment(value: datetime | None) -> Markup:
    """A time to the minute, in UTC."""
    if value is None:
        return Markup("")
    return Markup('<time datetime="{}">{}</time>').format(f"{value:%Y-%m-%dT%H:%M:%SZ}", f"{value:%Y-%m-%d %H:%M} UTC")


def since(value: datetime, now: datetime) -> str:
    """How long ago, or how far ahead, in its largest whole unit."""
    seconds = (now - value).total_seconds()
    steps = [(step, unit) for step, unit in _STEPS if abs(seconds) >= step]
    if not steps:
        return "just now" if seconds >= 0 else "in a moment"
    step, unit = steps[-1]
    amount = count(int(abs(seconds) // step), unit)
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


class Age:
    """The filter `age`: how long ago, with the time itself where one points at it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, value: datetime | None, never: str = "never") -> Markup:
        """`never` is what stands for no time."""
        if value is None:
            return Markup("{}").format(never)
        exact = f"{value:%Y-%m-%d %H:%M:%S} UTC"
        words = since(value, self._clock())
        return Markup('<time datetime="{}" title="{}">{}</time>').format(f"{value:%Y-%m-%dT%H:%M:%SZ}", exact, words)
