"""Jobs, for people: who sees them, who may end them, and that it is written down."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import msgspec
import pytest
from sqlalchemy import Connection

from roadstead.access.actor import ANONYMOUS, Actor, Role
from roadstead.errors import Conflict, InsufficientScope, InvalidInput, NotFound, Unauthenticated
from roadstead.metadata import audit, job_claims, jobs, members, projects
from roadstead.metadata.database import Database
from roadstead.metadata.job_claims import Caps, Told, Turns, Verdict
from roadstead.metadata.jobs import NewJob, State
from roadstead.metadata.listing import Filter, Listing, Match
from roadstead.upkeep.jobs import Jobs
from tests.support.factories import BEGINNING, ManualClock, narrowed

EVERYTHING = Listing()


@pytest.fixture
def room(database: Database, clock: ManualClock) -> Jobs:
    return Jobs(database, clock)


async def project(database: Database, name: str, *, public: bool = False) -> int:
    def work(connection: Connection) -> int:
        projects.ensure(connection, name, public=public, owner_id=None, now=BEGINNING)
        row = projects.find(connection, name)
        assert row is not None
        return row.id

    return await database.write(work)


async def join(database: Database, project_id: int, actor: Actor, role: Role) -> None:
    await database.write(
        partial(members.add, project_id=project_id, account_id=actor.account_id, group_id=None, role=role.value, now=BEGINNING)
    )


async def add(database: Database, project_id: int | None = None, key: str | None = None) -> int:
    new = NewJob("work", project_id=project_id, key=key)
    return (await database.write(partial(jobs.enqueue, new=new, now=BEGINNING))).id


async def end(database: Database, state: State) -> None:
    claimed = await Turns(database, {"work": Caps(9)}).claim("w", BEGINNING + timedelta(minutes=1), BEGINNING)
    assert claimed is not None
    told = Told(lines=((BEGINNING, "said"),))
    await database.write(partial(job_claims.settle, claim=claimed.claim, verdict=Verdict(state, "why"), told=told, now=BEGINNING))


async def seen(room: Jobs, actor: Actor, listing: Listing = EVERYTHING) -> list[int]:
    rows, total = await room.list(actor, listing)
    assert len(rows) == total
    return [row.id for row in rows]


async def test_administrators_see_all_and_others_those_of_projects_that_they_configure(
    room: Jobs, database: Database, admin: Actor, user: Actor
) -> None:
    mine, guests, public = (
        await project(database, "mine"),
        await project(database, "guests"),
        await project(database, "open", public=True),
    )
    await join(database, mine, user, Role.PROJECT_ADMIN)
    await join(database, guests, user, Role.MAINTAINER)
    ids = [await add(database, where) for where in (None, mine, guests, public)]
    assert await seen(room, admin) == ids[::-1]
    assert await seen(room, admin, Listing((Filter("project", Match.EQUAL, ("mine",)),))) == [ids[1]]
    assert await seen(room, user) == [ids[1]]
    assert (await room.show(user, ids[1])).job.project == "mine"
    for hidden in (ids[0], ids[2], ids[3], 999):
        for act in (room.show, room.cancel, room.retry):
            with pytest.raises(NotFound, match=str(hidden)):
                await act(user, hidden)
    assert [(await room.show(admin, job_id)).job.state for job_id in ids] == ["waiting"] * 4
    with pytest.raises(InvalidInput):
        await room.list(admin, Listing((Filter("nonsense", Match.EQUAL, ("x",)),)))


async def test_nobody_and_narrow_tokens_see_none(room: Jobs, database: Database, admin: Actor) -> None:
    job_id = await add(database)
    for actor, error in ((ANONYMOUS, Unauthenticated), (narrowed(admin, {}), InsufficientScope)):
        with pytest.raises(error):
            await room.list(actor, EVERYTHING)
        with pytest.raises(error):
            await room.show(actor, job_id)
        with pytest.raises(error):
            await room.cancel(actor, job_id)


async def test_cancelling_and_retrying_are_audited_with_their_change(room: Jobs, database: Database, admin: Actor) -> None:
    where = await project(database, "mine")
    job_id = await add(database, where)
    address = msgspec.structs.replace(admin, address="192.0.2.7")
    assert (await room.cancel(address, job_id)).reason == "Cancelled by admin."
    with pytest.raises(Conflict, match="was cancelled, so it cannot be cancelled"):
        await room.cancel(admin, job_id)
    assert (await room.retry(admin, job_id)).state == "waiting"
    rows, _ = await database.read(partial(audit.page, listing=EVERYTHING))
    assert [(row.actor, row.address, row.action, row.resource_type, row.resource, row.project_id, row.detail) for row in rows[::-1]] == [
        ("admin", "192.0.2.7", "update", "job", f"work/{job_id}", where, "cancelled"),
        ("admin", "", "update", "job", f"work/{job_id}", where, "retried"),
    ]


async def test_a_job_is_shown_with_its_log(room: Jobs, database: Database, admin: Actor) -> None:
    job_id = await add(database)
    await end(database, State.FAILED)
    shown = await room.show(admin, job_id)
    assert (shown.job.state, shown.job.reason, [line.line for line in shown.log]) == ("failed", "why", ["said"])


async def test_what_cannot_be_retried_says_why(room: Jobs, database: Database, admin: Actor) -> None:
    failed = await add(database, key="same")
    await end(database, State.FAILED)
    live = await add(database, key="same")
    with pytest.raises(Conflict, match="another one"):
        await room.retry(admin, failed)
    await end(database, State.SUCCEEDED)
    with pytest.raises(Conflict, match="has succeeded"):
        await room.retry(admin, live)
    await add(database)
    claimed = await Turns(database, {"work": Caps(9)}).claim("w", BEGINNING + timedelta(minutes=1), BEGINNING)
    assert claimed is not None
    with pytest.raises(Conflict, match="is running"):
        await room.retry(admin, claimed.claim.id)
    assert (await room.cancel(admin, claimed.claim.id)).state == "running"
    assert (await database.read(partial(audit.page, listing=EVERYTHING)))[1] == 1
