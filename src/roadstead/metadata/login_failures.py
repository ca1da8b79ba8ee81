"""Logins that failed, by the name that was tried and the address that tried it; the name `*` is all names of an address together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, delete, or_, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.schema import EPOCH, from_microseconds, login_failures
from roadstead.metadata.statements import insert_new

ANY_NAME = "*"


class FailureRow(msgspec.Struct, frozen=True):
    """How often, when last, and until when nothing more is tried."""

    failures: int = 0
    last_at: datetime = EPOCH
    blocked_until: datetime | None = None


NONE = FailureRow()


class FailureSelects:
    """The select that a login by password begins with."""

    def __init__(self, database: Database) -> None:
        columns = (login_failures.c.name, login_failures.c.failures, login_failures.c.last_at, login_failures.c.blocked_until)
        either = or_(login_failures.c.name == bindparam("name"), login_failures.c.name == bindparam("any_name"))
        self._both = database.hot(select(*columns).where(either, login_failures.c.address == bindparam("address")))

    async def both(self, name: str, address: str) -> tuple[FailureRow, FailureRow]:
        """The failures of that name from that address, and of all names from there."""
        found = {ANY_NAME: NONE, name: NONE}
        for row_name, failures, last_at, blocked_until in await self._both.all(name=name, any_name=ANY_NAME, address=address):
            blocked = None if blocked_until is None else from_microseconds(blocked_until)
            found[row_name] = FailureRow(failures, from_microseconds(last_at), blocked)
        return found[name], found[ANY_NAME]


def change(connection: Connection, name: str, address: str, after: Callable[[FailureRow], FailureRow]) -> None:
    """Put in place of the row what `after` makes of it; two at the same time come one after the other."""
    mine = (login_failures.c.name == name, login_failures.c.address == address)
    insert_new(connection, login_failures, {"name": name, "address": address, "failures": 0, "last_at": EPOCH})
    columns = (login_failures.c.failures, login_failures.c.last_at, login_failures.c.blocked_until)
    row = after(FailureRow(*connection.execute(select(*columns).where(*mine).with_for_update()).one()))
    connection.execute(update(login_failures).where(*mine).values(**msgspec.structs.asdict(row)))


def forget(connection: Connection, name: str, address: str) -> None:
    """Forget the failures of a name from an address."""
    connection.execute(delete(login_failures).where(login_failures.c.name == name, login_failures.c.address == address))


def purge(connection: Connection, before: datetime) -> int:
    """Remove the rows of what failed last before that time; returns how many."""
    return connection.execute(delete(login_failures).where(login_failures.c.last_at < before)).rowcount
