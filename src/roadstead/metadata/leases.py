"""Leases: of several job workers one holds the right to do a thing, for a while and as often as it asks again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, or_, update

from roadstead.metadata.schema import leases
from roadstead.metadata.statements import insert_new


def take(connection: Connection, name: str, holder: str, until: datetime, now: datetime) -> bool:
    """Take or renew a lease; False while somebody else holds it."""
    if insert_new(connection, leases, {"name": name, "holder": holder, "held_until": until}):
        return True
    free = or_(leases.c.holder == holder, leases.c.held_until <= now)
    statement = update(leases).where(leases.c.name == name, free).values(holder=holder, held_until=until)
    return connection.execute(statement).rowcount == 1


def give_back(connection: Connection, name: str, holder: str, now: datetime) -> None:
    """End a lease before its time, if it is still held."""
    connection.execute(update(leases).where(leases.c.name == name, leases.c.holder == holder).values(held_until=now))
