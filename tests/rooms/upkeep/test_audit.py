"""The audit log's entries go by age, if an administrator says so."""

from __future__ import annotations

from datetime import timedelta

import pytest

from roadstead.access.actor import SYSTEM, Actor
from roadstead.access.audit import Audit, Operation, ResourceType, audited
from roadstead.access.configuration import Configuration
from roadstead.metadata import audit as rows
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match
from roadstead.upkeep.audit import purge_audit
from tests.support.factories import BEGINNING, ManualClock

HOUR = timedelta(hours=1)


@pytest.fixture
async def audit(database: Database, clock: ManualClock) -> Audit:
    new = [audited(SYSTEM, BEGINNING + number * HOUR, Operation.CREATE, ResourceType.USER, f"u{number}") for number in range(48)]
    await database.write(lambda connection: rows.add(connection, *new))
    clock.advance(48 * HOUR)
    return Audit(database, clock)


async def test_by_default_everything_stays(database: Database, audit: Audit, clock: ManualClock) -> None:
    clock.advance(timedelta(days=3650))
    assert await purge_audit(audit, Configuration(database, clock), clock) == 0
    assert (await audit.list(SYSTEM, Listing()))[1] == 48


async def test_what_is_too_old_goes_and_the_log_says_so(database: Database, audit: Audit, clock: ManualClock, admin: Actor) -> None:
    configuration = Configuration(database, clock)
    await configuration.change(admin, {"audit_log_retention_hours": 24})
    assert await purge_audit(audit, configuration, clock) == 24
    found, _ = await audit.list(SYSTEM, Listing((Filter("action", Match.EQUAL, ("purge",)),)))
    assert [(row.actor, row.resource, row.amount) for row in found] == [("system", "before 2026-01-02T00:00:00+00:00", 24)]
    _, left = await audit.list(SYSTEM, Listing((Filter("action", Match.EQUAL, ("create",)),)))
    assert left == 24
    assert await purge_audit(audit, configuration, clock) == 0
