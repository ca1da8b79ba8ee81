"""Groups of accounts: the registry's own, and those of login sources."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from roadstead.metadata.listing import Fields, Listing, Sort, listed
from roadstead.metadata.schema import account_groups, accounts, groups, members
from roadstead.metadata.statements import batched, insert_new


class GroupRow(msgspec.Struct, frozen=True):
    """One group. `source` is "local", or the name of a login source, and then `external_id` is what that calls the group."""

    id: int
    name: str
    source: str
    external_id: str | None
    created_at: datetime


_COLUMNS = tuple(groups.c[field] for field in GroupRow.__struct_fields__)


def every(connection: Connection) -> list[GroupRow]:
    """Every group, by name."""
    return [GroupRow(*row) for row in connection.execute(select(*_COLUMNS).order_by(groups.c.name))]


_FIELDS = Fields({"name": groups.c.name, "source": groups.c.source}, groups.c.id, (Sort("name"),))


def page(connection: Connection, listing: Listing) -> tuple[list[GroupRow], int]:
    """A page of all groups, and how many there are. Raises InvalidInput."""
    rows, total = listed(connection, select(*_COLUMNS), _FIELDS, listing)
    return [GroupRow(*row) for row in rows], total


def search(connection: Connection, part: str, limit: int) -> list[GroupRow]:
    """The groups whose name contains `part`, in whatever case, by name."""
    named = func.lower(groups.c.name).contains(part.lower(), autoescape=True)
    return [GroupRow(*row) for row in connection.execute(select(*_COLUMNS).where(named).order_by(groups.c.name).limit(limit))]


def get(connection: Connection, group_id: int) -> GroupRow | None:
    """The group of that id."""
    row = connection.execute(select(*_COLUMNS).where(groups.c.id == group_id)).first()
    return None if row is None else GroupRow(*row)


def find(connection: Connection, name: str) -> GroupRow | None:
    """The group of that name."""
    row = connection.execute(select(*_COLUMNS).where(groups.c.name == name)).first()
    return None if row is None else GroupRow(*row)


def add(connection: Connection, name: str, *, source: str, external_id: str | None, now: datetime) -> bool:
    """Add a group; False if its name, or its name at the source, is taken."""
    return insert_new(connection, groups, {"name": name, "source": source, "external_id": external_id, "created_at": now})


def rename(connection: Connection, group_id: int, name: str) -> bool:
    """Rename a group; False if it is gone."""
    return connection.execute(update(groups).where(groups.c.id == group_id).values(name=name)).rowcount == 1


def remove(connection: Connection, group_ids: Collection[int]) -> None:
    """Remove groups, with who is in them and the roles that they have in projects."""
    for some in batched(group_ids):
        connection.execute(delete(account_groups).where(account_groups.c.group_id.in_(some)))
        connection.execute(delete(members).where(members.c.group_id.in_(some)))
        connection.execute(delete(groups).where(groups.c.id.in_(some)))


def remove_of_source(connection: Connection, source: str) -> None:
    """Remove every group of a source; see `remove`."""
    remove(connection, list(connection.execute(select(groups.c.id).where(groups.c.source == source)).scalars()))


def accounts_in(connection: Connection, group_id: int) -> list[tuple[int, str]]:
    """Id and name of the accounts in a group, by name."""
    both = account_groups.join(accounts, accounts.c.id == account_groups.c.account_id)
    mine = (account_groups.c.group_id == group_id, accounts.c.deleted_at.is_(None))
    return [
        (row[0], row[1])
        for row in connection.execute(select(accounts.c.id, accounts.c.name).select_from(both).where(*mine).order_by(accounts.c.name))
    ]


_NAMES = Fields({"name": accounts.c.name}, accounts.c.id, (Sort("name"),))


def members_page(connection: Connection, group_id: int, listing: Listing) -> tuple[list[tuple[int, str]], int]:
    """As `accounts_in`, a page of them, and how many there are. Raises InvalidInput."""
    both = account_groups.join(accounts, accounts.c.id == account_groups.c.account_id)
    mine = (account_groups.c.group_id == group_id, accounts.c.deleted_at.is_(None))
    rows, total = listed(connection, select(accounts.c.id, accounts.c.name).select_from(both).where(*mine), _NAMES, listing)
    return [(row[0], row[1]) for row in rows], total


def of_account_page(connection: Connection, account_id: int, listing: Listing) -> tuple[list[GroupRow], int]:
    """As `of_account`, a page of them, and how many there are. Raises InvalidInput."""
    both = select(*_COLUMNS).join(account_groups, account_groups.c.group_id == groups.c.id)
    rows, total = listed(connection, both.where(account_groups.c.account_id == account_id), _FIELDS, listing)
    return [GroupRow(*row) for row in rows], total


def of_account(connection: Connection, account_id: int) -> list[GroupRow]:
    """The groups that an account is in, by name."""
    both = select(*_COLUMNS).join(account_groups, account_groups.c.group_id == groups.c.id)
    return [GroupRow(*row) for row in connection.execute(both.where(account_groups.c.account_id == account_id).order_by(groups.c.name))]


def put_in(connection: Connection, account_id: int, group_id: int, now: datetime) -> bool:
    """Put an account into a group; False if it is there."""
    return insert_new(connection, account_groups, {"account_id": account_id, "group_id": group_id, "refreshed_at": now})


def take_out(connection: Connection, account_id: int, group_id: int) -> bool:
    """Take an account out of a group; False if it was not in it."""
    mine = (account_groups.c.account_id == account_id, account_groups.c.group_id == group_id)
    return connection.execute(delete(account_groups).where(*mine)).rowcount == 1


def set_of_source(connection: Connection, account_id: int, source: str, external_ids: Collection[str], now: datetime) -> None:
    """Let the account be in those groups of the source that are among `external_ids`, and in no other of it."""
    wanted: set[int] = set()
    for some in batched(external_ids):
        named = (groups.c.source == source, groups.c.external_id.in_(some))
        wanted.update(connection.execute(select(groups.c.id).where(*named)).scalars())
    of_it = select(groups.c.id).where(groups.c.source == source)
    mine = (account_groups.c.account_id == account_id, account_groups.c.group_id.in_(of_it))
    held = set(connection.execute(select(account_groups.c.group_id).where(*mine)).scalars())
    for group_id in sorted(held - wanted):
        take_out(connection, account_id, group_id)
    for group_id in sorted(wanted - held):
        put_in(connection, account_id, group_id, now)
    connection.execute(update(account_groups).where(*mine).values(refreshed_at=now))


def end_older(connection: Connection, source: str, before: datetime) -> int:
    """End memberships in groups of a source that it has not confirmed since `before`; returns how many."""
    of_it = select(groups.c.id).where(groups.c.source == source)
    old = (account_groups.c.group_id.in_(of_it), account_groups.c.refreshed_at < before)
    return connection.execute(delete(account_groups).where(*old)).rowcount


def remove_account(connection: Connection, account_id: int) -> None:
    """Take an account out of every group."""
    connection.execute(delete(account_groups).where(account_groups.c.account_id == account_id))
