"""The audit log: what is noted, who may read it, what is removed by age, and what a fault or a flood does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import ANONYMOUS, SYSTEM, Action, Actor, Role
from roadstead.access.audit import ATTEMPTS, RESOURCES, SEVERAL, Audit, Operation, ResourceType, audited
from roadstead.access.policy import Project
from roadstead.errors import Denied, InsufficientScope, InvalidInput, NotFound, ProjectUnknown, Unauthenticated
from roadstead.metadata import audit as rows
from roadstead.metadata import members, projects
from roadstead.metadata.audit import AuditRow
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from roadstead.oci.reference import RepositoryName
from tests.support.factories import BEGINNING, VAULT, ManualClock, narrowed

DAY = timedelta(days=1)
EVERYTHING = Listing(page=Page(size=2000))
OLDEST_FIRST = Listing(sort=(Sort("at"),))


@pytest.fixture
def audit(database: Database, clock: ManualClock) -> Audit:
    return Audit(database, clock)


async def listed(audit: Audit, listing: Listing = EVERYTHING) -> Sequence[AuditRow]:
    return (await audit.list(SYSTEM, listing))[0]


async def make_project(database: Database, name: str, *, public: bool = False) -> int:
    def work(connection: Connection) -> int:
        projects.ensure(connection, name, public=public, owner_id=None, now=BEGINNING)
        row = projects.find(connection, name)
        assert row is not None
        return row.id

    return await database.write(work)


async def record(database: Database, actor: Actor, resource: str, **options: object) -> None:
    new = audited(actor, BEGINNING, Operation.UPDATE, ResourceType.PROJECT, resource)
    await database.write(lambda connection: rows.add(connection, msgspec.structs.replace(new, **options)))


async def test_an_entry_says_who_did_what_from_where(database: Database, audit: Audit, user: Actor) -> None:
    actor = msgspec.structs.replace(user, address="192.0.2.7")
    entry = audited(actor, BEGINNING, Operation.CREATE, ResourceType.PROJECT, "climate", detail="public")
    await database.write(lambda connection: rows.add(connection, entry))
    [row] = await listed(audit)
    assert (row.at, row.actor_id, row.actor, row.address) == (BEGINNING, user.account_id, "ada", "192.0.2.7")
    assert (row.action, row.resource_type, row.resource, row.result, row.detail, row.amount) == (
        "create",
        "project",
        "climate",
        "success",
        "public",
        1,
    )


async def test_what_is_rolled_back_was_not_done(database: Database, audit: Audit) -> None:
    def work(connection: Connection) -> None:
        rows.add(connection, audited(SYSTEM, BEGINNING, Operation.CREATE, ResourceType.USER, "grace"))
        raise NotFound

    with pytest.raises(NotFound):
        await database.write(work)
    assert await listed(audit) == []


async def test_the_same_again_is_one_row(audit: Audit, clock: ManualClock) -> None:
    for _ in range(3):
        audit.failed_login("grace", "192.0.2.7", "wrong password")
    audit.failed_login("grace", "192.0.2.8", "wrong password")
    assert await listed(audit) == []
    await audit.flush()
    found = await listed(audit, OLDEST_FIRST)
    assert [(row.actor, row.actor_id, row.address, row.result, row.amount) for row in found] == [
        ("grace", None, "192.0.2.7", "failed", 3),
        ("grace", None, "192.0.2.8", "failed", 1),
    ]
    clock.advance(DAY)
    audit.failed_login("grace", "192.0.2.7", "wrong password")
    await audit.flush()
    await audit.flush()
    assert [row.at for row in await listed(audit, Listing(page=Page(size=2)))] == [BEGINNING + DAY, BEGINNING]


async def test_a_flood_is_summed_up(audit: Audit) -> None:
    for number in range(5000):
        audit.failed_login(f"guess-{number}", "192.0.2.7", "wrong password")
    await audit.flush()
    found, total = await audit.list(SYSTEM, EVERYTHING)
    assert total == 1001
    [rest] = [row for row in found if row.actor == SEVERAL]
    assert (rest.resource, rest.address, rest.result, rest.amount) == (SEVERAL, SEVERAL, "failed", 4000)
    assert sum(row.amount for row in found) == 5000


async def test_what_is_tried_as_a_name_cannot_break_the_log(audit: Audit) -> None:
    audit.failed_login("a\0b\nc\x1b[31m" + "x" * 9000, "192.0.2.7", "wrong password")
    await audit.flush()
    [row] = await listed(audit)
    assert row.actor.startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c")
    assert len(row.actor) == 512
    assert row.actor.isprintable()


async def test_a_login_is_noted_once_an_hour_for_each_credential_and_address(audit: Audit, user: Actor, clock: ManualClock) -> None:
    for address in ("192.0.2.7", "192.0.2.7", "192.0.2.8"):
        audit.login(msgspec.structs.replace(user, address=address), "password")
    audit.login(msgspec.structs.replace(user, address="192.0.2.7", credential_id=7), "token")
    clock.advance(timedelta(minutes=61))
    audit.login(msgspec.structs.replace(user, address="192.0.2.7"), "password")
    await audit.flush()
    found = await listed(audit)
    assert sorted((row.address, row.detail, row.amount) for row in found) == [
        ("192.0.2.7", "password", 2),
        ("192.0.2.7", "token", 1),
        ("192.0.2.8", "password", 1),
    ]


async def test_what_cannot_be_written_is_written_later(database: Database, audit: Audit) -> None:
    wrong = "wrong password"
    audit.note(Actor(10**9, "ghost"), Operation.LOGIN, ResourceType.SESSION, "ghost")  # no such account: the foreign key refuses it
    audit.failed_login("grace", "192.0.2.7", wrong)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await audit.flush()
    audit.failed_login("grace", "192.0.2.7", wrong)
    assert sorted(entry.amount for entry in audit._noted.values()) == [1, 2]


async def test_a_cancelled_flush_writes_once(audit: Audit) -> None:
    audit.failed_login("grace", "192.0.2.7", "wrong password")
    task = asyncio.create_task(audit.flush())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await audit.flush()
    assert [row.amount for row in await listed(audit)] == [1]


async def test_administrators_read_all_and_others_what_happened_in_their_projects(
    database: Database, audit: Audit, admin: Actor, user: Actor
) -> None:
    mine, other = await make_project(database, "climate"), await make_project(database, "ocean")
    public = await make_project(database, "library", public=True)
    for resource, project_id in (("climate", mine), ("ocean", other), ("library", public), ("elsewhere", None)):
        await record(database, admin, resource, project_id=project_id)
    assert (await audit.list(admin, EVERYTHING))[1] == 4
    assert await audit.list(user, EVERYTHING) == ([], 0)
    await database.write(
        lambda connection: members.add(connection, mine, account_id=user.account_id, group_id=None, role=Role.LIMITED_GUEST, now=BEGINNING)
    )
    assert await audit.list(user, EVERYTHING) == ([], 0)
    with pytest.raises(Denied):
        await audit.of_project(user, "climate", EVERYTHING)
    [member] = await database.read(lambda connection: members.of_project(connection, mine))
    await database.write(lambda connection: members.set_role(connection, mine, member.id, Role.GUEST))
    assert [row.resource for row in (await audit.list(user, EVERYTHING))[0]] == ["climate"]
    assert await audit.list(user, Listing((Filter("project_id", Match.EQUAL, (str(other),)),))) == ([], 0)
    assert [row.resource for row in (await audit.of_project(user, "climate", EVERYTHING))[0]] == ["climate"]
    assert [row.resource for row in (await audit.of_project(admin, "ocean", EVERYTHING))[0]] == ["ocean"]


async def test_who_may_not_read_the_log(database: Database, audit: Audit, user: Actor, admin: Actor) -> None:
    await make_project(database, VAULT.project)
    for attempt, refusal in (
        (audit.list(ANONYMOUS, EVERYTHING), Unauthenticated),
        (audit.of_project(ANONYMOUS, VAULT.project, EVERYTHING), Unauthenticated),
        (audit.of_project(user, VAULT.project, EVERYTHING), ProjectUnknown),
        (audit.of_project(user, "no-such", EVERYTHING), ProjectUnknown),
        (audit.list(narrowed(admin, {VAULT: "pull"}), EVERYTHING), InsufficientScope),
        (audit.of_project(narrowed(admin, {VAULT: "pull"}), VAULT.project, EVERYTHING), InsufficientScope),
        (audit.purge(user, BEGINNING), Denied),
        (audit.purge(ANONYMOUS, BEGINNING), Unauthenticated),
    ):
        with pytest.raises(refusal):
            await attempt


async def test_a_query_narrows_and_pages(database: Database, audit: Audit, user: Actor) -> None:
    for number in range(5):
        await record(
            database, user, f"p_{number}", at=BEGINNING + number * DAY, address="192.0.2.7", action="delete" if number else "create"
        )
    found, total = await audit.list(SYSTEM, Listing(page=Page(2, 2)))
    assert ([row.resource for row in found], total) == (["p_2", "p_1"], 5)

    async def names(field: str, match: Match, *values: str) -> list[str]:
        listing = Listing((Filter(field, match, values),), OLDEST_FIRST.sort)
        return [row.resource for row in await listed(audit, listing)]

    assert await names("action", Match.EQUAL, "create") == ["p_0"]
    assert await names("at", Match.BETWEEN, "2026-01-02", "2026-01-03T00:00:00Z") == ["p_1", "p_2"]
    assert await names("id", Match.BETWEEN, "", str(found[0].id)) == ["p_0", "p_1", "p_2"]
    assert await names("resource", Match.CONTAINS, "_") == ["p_0", "p_1", "p_2", "p_3", "p_4"]
    assert await names("resource", Match.CONTAINS, "%") == []
    for field, value in (("actor", "ada"), ("address", "192.0.2.7"), ("resource_type", "project"), ("result", "success")):
        assert len(await names(field, Match.EQUAL, value)) == 5
    assert await names("actor", Match.EQUAL, "grace") == await names("result", Match.EQUAL, "denied") == []
    with pytest.raises(InvalidInput):
        await names("exported_at", Match.EQUAL, "1")


async def test_a_purge_removes_by_age_and_says_so(database: Database, audit: Audit, admin: Actor, clock: ManualClock) -> None:
    for number in range(4):
        await record(database, admin, f"p{number}", at=BEGINNING + number * DAY)
    clock.advance(10 * DAY)
    assert await audit.purge(admin, BEGINNING + 2 * DAY) == 2
    found = await listed(audit)
    assert [row.resource for row in found] == ["before 2026-01-03T00:00:00+00:00", "p3", "p2"]
    assert (found[0].actor, found[0].action, found[0].resource_type, found[0].amount) == ("admin", "purge", "audit", 2)
    assert await audit.purge(admin, BEGINNING + 2 * DAY) == 0
    assert len(await listed(audit)) == 3
    with pytest.raises(InvalidInput):
        await audit.purge(admin, clock() + DAY)


async def test_two_purges_at_once_remove_each_row_once(
    database: Database, audit: Audit, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadstead.access.audit._PURGED_AT_ONCE", 3)
    for number in range(10):
        await record(database, SYSTEM, f"p{number}")
    clock.advance(DAY)
    removed = await asyncio.gather(*(audit.purge(SYSTEM, BEGINNING + timedelta(hours=1)) for _ in range(3)))
    removed.append(await audit.purge(SYSTEM, BEGINNING + timedelta(hours=1)))
    assert sum(removed) == 10
    assert sum(row.amount for row in await listed(audit) if row.action == "purge") == 10


def test_every_type_of_resource_says_what_its_column_holds() -> None:
    assert set(RESOURCES) == set(ResourceType)


def test_every_action_has_its_words_for_a_denied_attempt() -> None:
    assert set(ATTEMPTS) == set(Action)


async def test_what_the_policy_denies_is_noted(audit: Audit, database: Database, user: Actor) -> None:
    climate = Project(await make_project(database, "climate"), "climate", public=False)
    repository = RepositoryName("climate/app")
    seen, hidden = frozenset({Role.GUEST}), frozenset[Role]()
    refusals = [
        policy.decide(user, Action.PUSH, climate, seen, repository),
        policy.decide(user, Action.SET_MEMBERS, climate, seen),
        policy.decide(user, Action.PULL, climate, hidden, repository),
        policy.decide(ANONYMOUS, Action.PULL, climate, hidden, repository),
        policy.decide(narrowed(user, {}), Action.PULL, climate, seen, repository),
        ProjectUnknown("No such project."),
    ]
    with pytest.raises(Denied) as caught:
        policy.require_on_system(user, Action.ADMINISTER)
    for refusal in (*refusals, caught.value):
        assert refusal is not None
        audit.refused(refusal)
    await audit.flush()
    found = await listed(audit, OLDEST_FIRST)
    assert {(row.actor, row.result) for row in found} == {("ada", "denied")}
    assert [(row.action, row.resource_type, row.resource, row.project_id, row.detail) for row in found] == [
        ("push", "repository", "climate/app", climate.id, "may not push"),
        ("update", "member", "climate", climate.id, "may not set members"),
        ("pull", "repository", "climate/app", climate.id, "may not pull"),
        ("administer", "system", "registry", None, "may not administer"),
    ]
