"""Entries of the audit log go when they are older than the configuration says; by default they stay."""

from __future__ import annotations

from datetime import timedelta

from roadstead.access.actor import SYSTEM
from roadstead.access.audit import Audit
from roadstead.access.clock import Clock
from roadstead.access.configuration import UNLIMITED, Configuration


async def purge_audit(audit: Audit, configuration: Configuration, clock: Clock) -> int:
    """Remove what is older than `audit_log_retention_hours`; returns how many entries. Several workers may do so at once."""
    hours = (await configuration.present()).audit_log_retention_hours
    return 0 if hours == UNLIMITED else await audit.purge(SYSTEM, clock() - timedelta(hours=hours))
