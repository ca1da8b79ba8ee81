"""Login sources: directories and identity providers, several at once and in order, which Harbor has not."""

from __future__ import annotations

from typing import Any

import msgspec

from roadstead.access.person import Check
from roadstead.access.source_settings import decode
from roadstead.access.sources import Source as Shown
from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.wire import NOT_OFFERED, Answer, Body, Moment, Nouns, Segment
from roadstead.errors import InvalidInput

router = Nouns(tags=["sources"])


class Source(Answer):
    """A source, without its secret."""

    id: int
    name: str
    kind: str
    position: int
    enabled: bool
    settings: dict[str, Any]
    has_secret: bool
    creation_time: Moment
    update_time: Moment


class Offer(Answer):
    """A way to log in that everybody is offered: `oidc` by browser, `ldap` by password."""

    name: str
    kind: str


class NewSource(Body):
    """A source to be made: `settings` with the `kind` `ldap` or `oidc` in them, and the secret with which we speak to it."""

    name: str
    settings: dict[str, Any]
    secret: str | None = None


class SourceChange(Body):
    """What of a source to change; the empty secret forgets it, `position` counts from 1."""

    settings: dict[str, Any] | None = None
    secret: str | None = None
    enabled: bool | None = None
    position: int | None = None


class Step(Answer):
    """What was tried, whether it went well, and what was found."""

    what: str
    passed: bool
    said: str


class Tried(Answer):
    """How trying a source went."""

    passed: bool
    steps: list[Step]


@router.get("/sources")
async def list_sources(call: Calling, paging: Paged) -> list[Source]:
    """Every source in the order in which they are asked, for administrators."""
    return [_source(one) for one in paging.cut(call, await call.access.sources.list(call.actor))]


@router.get("/sources/offered")
async def list_offered_sources(call: Calling) -> list[Offer]:
    """The ways to log in, for everybody."""
    return [Offer(name=one.name, kind=one.kind) for one in await call.access.sources.offered()]


@router.post("/sources", status_code=201)
async def add_source(call: Calling, new: NewSource) -> None:
    """Add a source behind the others."""
    call.require_login()
    made = await call.access.sources.add(call.actor, new.name, decode(msgspec.json.encode(new.settings)), new.secret or "")
    call.created(f"/sources/{made.name}")


@router.get("/sources/{name}")
async def get_source(call: Calling, name: Segment) -> Source:
    """One source."""
    return _source(await call.access.sources.get(call.actor, name))


@router.put("/sources/{name}")
async def change_source(call: Calling, name: Segment, wanted: SourceChange) -> None:
    """Change what is given of a source."""
    settings = None if wanted.settings is None else decode(msgspec.json.encode(wanted.settings))
    if wanted.position is not None and not 0 < wanted.position < 2**31:
        raise InvalidInput("A position counts from 1.")
    await call.access.sources.change(call.actor, name, settings, wanted.secret)
    if wanted.enabled is not None:
        await call.access.sources.set_enabled(call.actor, name, wanted.enabled)
    if wanted.position is not None:
        await call.access.sources.move(call.actor, name, wanted.position)


@router.delete("/sources/{name}")
async def remove_source(call: Calling, name: Segment) -> None:
    """Remove a source with its groups."""
    await call.access.sources.remove(call.actor, name)


@router.post("/sources/{name}/check", responses=NOT_OFFERED)
async def check_source(call: Calling, name: Segment) -> Tried:
    """Try a source, and say in plain words what fails."""
    return _tried(await call.access.sources.check(call.actor, name))


def _source(one: Shown) -> Source:
    return Source(
        id=one.id,
        name=one.name,
        kind=one.kind,
        position=one.position,
        enabled=one.enabled,
        settings=msgspec.to_builtins(one.settings),
        has_secret=one.has_secret,
        creation_time=one.created_at,
        update_time=one.updated_at,
    )


def _tried(check: Check) -> Tried:
    return Tried(passed=check.passed, steps=[Step(what=one.what, passed=one.passed, said=one.said) for one in check.steps])
