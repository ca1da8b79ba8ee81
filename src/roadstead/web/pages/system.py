"""The system as administrators see it: storage and how it grows, the audit log, the configuration, health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final

import msgspec

from roadstead.access import policy
from roadstead.access.actor import Action
from roadstead.access.configuration import DEFAULTS, Values
from roadstead.access.policy import Creation
from roadstead.errors import InvalidInput, RoadsteadError
from roadstead.registry.listing import Filter, Match
from roadstead.registry.rows import Sample
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.entries import entries
from roadstead.web.routes import Pages

pages = Pages()

SAID: Final = {
    "project_creation_restriction": "Who makes projects: administrators only, or everybody who has an account.",
    "storage_per_project": "Bytes that a new project may use; -1 is without limit.",
    "session_timeout": "Minutes without a request after which a browser's session ends.",
    "session_lifetime": "Minutes after the login at which a session ends, used or not.",
    "robot_token_duration": "Days that a robot lives for which none were said; -1 is for ever.",
    "pull_window_seconds": "Seconds in which pulls are counted together.",
    "pull_limit_per_account": "Pulls in one window of one account; -1 is without limit.",
    "pull_limit_per_address": "Pulls in one window of all at one address who are not logged in; -1 is without limit.",
    "pull_limit_per_project": "Pulls in one window from one project, whoever pulls; -1 is without limit.",
    "requests_per_second_per_account": "Requests a second of one account; -1 is without limit.",
    "requests_per_second_per_address": "Requests a second of all at one address who are not logged in; -1 is without limit.",
    "audit_log_retention_hours": "Hours after which entries of the audit log are removed; -1 keeps them.",
}
"""What each key of the configuration is for. `self_registration` is none that could be changed."""

_CHECK_SECONDS: Final = 5.0
_YEAR: Final = timedelta(days=366)
_WIDTH, _HEIGHT = 720, 200
_LARGEST_PROJECTS: Final = 20
_LATEST: Final = 30


# --- storage


class Picture(msgspec.Struct, frozen=True):
    """Samples as a line: its points in an area of 720 by 200, with the largest value (bytes) at the top and 0 at the bottom."""

    points: str
    top: int
    samples: Sequence[Sample]


@pages.get("/admin/storage")
async def show_storage(call: Call) -> Response:
    """How much there is, whose, and how it has grown in a year."""
    statistics = call.rooms.registry.statistics
    samples = await statistics.growth(call.actor, call.rooms.clock() - _YEAR)
    values: dict[str, Any] = {
        "numbers": await statistics.get(call.actor),
        "uses": await call.rooms.registry.search.use(call.actor, _LARGEST_PROJECTS),
        "picture": picture(samples) if len(samples) > 1 else None,
        "latest": samples[: -_LATEST - 1 : -1],
    }
    return call.page("admin/storage.html", **values)


def picture(samples: Sequence[Sample]) -> Picture:
    """Two samples or more, drawn."""
    begin, span = samples[0].at, (samples[-1].at - samples[0].at).total_seconds() or 1
    top = max(one.stored for one in samples) or 1
    points = [(_WIDTH * (one.at - begin).total_seconds() / span, _HEIGHT * (1 - one.stored / top)) for one in samples]
    return Picture(" ".join(f"{x:.1f},{y:.1f}" for x, y in points), top, samples)


# --- audit log


@pages.get("/admin/audit")
async def show_audit(call: Call) -> Response:
    """What happened, the newest first: all of it for administrators."""
    return call.page("admin/audit.html", **await entries(call))


# --- configuration


@pages.get("/admin/configuration")
async def show_configuration(call: Call) -> Response:
    """What can be changed while the registry runs."""
    return await _configuration(call)


@pages.post("/admin/configuration")
async def change_configuration(call: Call) -> Response:
    """Set what differs from what is."""
    present = await call.rooms.access.configuration.get(call.actor)
    try:
        wanted = {key: _value(call, key) for key in SAID}
        changes = {key: value for key, value in wanted.items() if value != getattr(present, key)}
        await call.rooms.access.configuration.change(call.actor, changes)
    except MISTAKES as error:
        return await _configuration(call, error)
    said = f"Changed: {', '.join(changes)}. It holds within a second." if changes else "Nothing was changed."
    return call.redirect("/admin/configuration", said)


def _value(call: Call, key: str) -> object:
    text = call.form.text(key)
    if isinstance(getattr(DEFAULTS, key), str):
        return text
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise InvalidInput(f"{key} is a whole number, and {text[:40]!r} is none.")
    return int(text)


async def _configuration(call: Call, error: RoadsteadError | None = None) -> Response:
    present: Values = await call.rooms.access.configuration.get(call.actor)
    rows = [
        (key, said, getattr(present, key) if error is None else call.form.text(key), getattr(DEFAULTS, key)) for key, said in SAID.items()
    ]
    return call.again(
        "admin/configuration.html", error, rows=rows, choices={"project_creation_restriction": [str(one) for one in Creation]}
    )


# --- health


@pages.get("/admin/health")
async def show_health(call: Call) -> Response:
    """Whether each part answers now, and what waits to be done."""
    policy.require_on_system(call.actor, Action.ADMINISTER)
    outcomes = await asyncio.gather(*(_tried(check) for check in call.rooms.checks.values()))
    counts = {state: await _count(call, state) for state in ("waiting", "running", "failed")}
    parts = list(zip(call.rooms.checks, outcomes, strict=True))
    return call.page("admin/health.html", parts=parts, counts=counts, version=version("roadstead"))


async def _tried(check: Callable[[], Awaitable[object]]) -> str | None:
    """What is wrong, if anything is."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"It has not answered within {_CHECK_SECONDS:g} seconds."
    except RoadsteadError as error:
        return error.message
    return None


async def _count(call: Call, state: str) -> int:
    _, total = await call.rooms.jobs.list(call.actor, call.listing(Filter("state", Match.EQUAL, (state,)), size=1))
    return total
