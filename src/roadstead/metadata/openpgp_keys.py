"""OpenPGP public keys of accounts, and by what they are found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, exists, func, literal, literal_column, or_, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.schema import accounts, openpgp_handles, openpgp_keys, openpgp_user_ids
from roadstead.metadata.statements import insert_new

MOST_FOUND: Final = 20
"""Keys of one short key id, or whatever else names several, that are given out at once."""


class NewKey(msgspec.Struct, frozen=True):
    """A key as it is to be recorded; `handles` in lower-case hexadecimal, `user_ids` in the key's order."""

    fingerprint: str
    certificate: bytes
    algorithm: int
    bits: int
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    handles: Sequence[str]
    user_ids: Sequence[str]


class KeyRow(msgspec.Struct, frozen=True):
    """One key without its certificate; `owner` is the name of the account that pushed it, None where that has ended."""

    id: int
    fingerprint: str
    account_id: int
    owner: str | None
    algorithm: int
    bits: int
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    user_ids: tuple[str, ...] = ()


_FIELDS = ("fingerprint", "certificate", "algorithm", "bits", "created_at", "expires_at", "revoked")
_COLUMNS = (
    *(openpgp_keys.c[field] for field in ("id", "fingerprint", "account_id")),
    case((accounts.c.deleted_at.is_(None), accounts.c.name)),  # the name may be another account's by now
    *(openpgp_keys.c[field] for field in ("algorithm", "bits", "created_at", "expires_at", "revoked")),
)
_ROWS = select(*_COLUMNS).join(accounts, accounts.c.id == openpgp_keys.c.account_id).order_by(openpgp_keys.c.id)


_ZERO: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")


def _own_first(handle: ColumnElement[str]) -> tuple[ColumnElement[Any], ...]:
    """The order of what a handle finds: first whose own it is (a key id of version 6 begins the fingerprint), then whose subkey's."""
    own, length = openpgp_keys.c.fingerprint, func.length(handle)
    ends, begins = func.substr(own, func.length(own) - length + _ONE) == handle, func.substr(own, _ONE, length) == handle
    return case((or_(ends, begins), _ZERO), else_=_ONE), openpgp_keys.c.id


class KeySelects:
    """The hot select of a lookup by fingerprint or key id."""

    def __init__(self, database: Database) -> None:
        handle = bindparam("handle", type_=openpgp_handles.c.handle.type)
        columns = (openpgp_keys.c.fingerprint, openpgp_keys.c.certificate)
        joined = select(*columns).join(openpgp_handles, openpgp_handles.c.key_id == openpgp_keys.c.id)
        found = joined.where(openpgp_handles.c.handle == handle).order_by(*_own_first(handle))
        self._certificates = database.hot(found.limit(literal_column(str(MOST_FOUND))).offset(_ZERO))

    async def certificates(self, handle: str) -> list[bytes]:
        """The key whose own fingerprint this is, alone; else those of that handle: most often one, of a short key id there may be several.

        At most `MOST_FOUND`, and before those with such a subkey those whose own key id it is.
        """
        rows = await self._certificates.all(handle=handle)
        return [bytes(row[1]) for row in (rows[:1] if rows and rows[0][0] == handle else rows)]


def certificate(connection: Connection, fingerprint: str) -> tuple[int, int, bytes] | None:
    """Id, account and certificate of a key, which is locked until the transaction ends."""
    columns = (openpgp_keys.c.id, openpgp_keys.c.account_id, openpgp_keys.c.certificate)
    row = connection.execute(select(*columns).where(openpgp_keys.c.fingerprint == fingerprint).with_for_update()).first()
    return None if row is None else (row[0], row[1], bytes(row[2]))


def count(connection: Connection, account_id: int) -> int:
    """How many keys an account has."""
    return connection.execute(select(func.count()).where(openpgp_keys.c.account_id == account_id)).scalar_one()


def add(connection: Connection, key: NewKey, account_id: int, now: datetime) -> bool:
    """Record a key; False if it was recorded meanwhile."""
    if not insert_new(connection, openpgp_keys, {**_values(key), "account_id": account_id, "added_at": now, "updated_at": now}):
        return False
    found = select(openpgp_keys.c.id).where(openpgp_keys.c.fingerprint == key.fingerprint)
    _describe(connection, connection.execute(found).scalar_one(), key)
    return True


def replace(connection: Connection, key_id: int, key: NewKey, now: datetime) -> None:
    """Record what a key is now."""
    connection.execute(update(openpgp_keys).where(openpgp_keys.c.id == key_id).values(**_values(key), updated_at=now))
    _forget(connection, key_id)
    _describe(connection, key_id, key)


def remove(connection: Connection, key_id: int) -> None:
    """Remove a key."""
    _forget(connection, key_id)
    connection.execute(delete(openpgp_keys).where(openpgp_keys.c.id == key_id))


def of_others(connection: Connection, addresses: Collection[str], account_id: int) -> str | None:
    """One of the addresses (case-folded) that belongs to another account, if there is one."""
    theirs = select(accounts.c.email).where(accounts.c.id != account_id, accounts.c.deleted_at.is_(None))
    if not all(map(str.isascii, addresses)):
        # What lower case is beyond ASCII, one database knows and the other does not. Few have such addresses.
        everybody = connection.execute(theirs.where(accounts.c.email.is_not(None))).scalars()
        return next((email for email in everybody if email.casefold() in addresses), None)
    return connection.execute(theirs.where(func.lower(accounts.c.email).in_(addresses)).limit(1)).scalar()


def find(connection: Connection, handle: str) -> list[KeyRow]:
    """The keys of that fingerprint or key id, as `KeySelects.certificates` finds them."""
    mine = exists().where(openpgp_handles.c.key_id == openpgp_keys.c.id, openpgp_handles.c.handle == handle)
    found = _rows(connection, _ROWS.where(mine).order_by(None).order_by(*_own_first(literal(handle))).limit(MOST_FOUND))
    return found[:1] if found and found[0].fingerprint == handle else found


def search(connection: Connection, words: str, *, exact: bool, after: int, limit: int) -> list[KeyRow]:
    """The keys with a user id that contains the words, or with `exact` is the words, in whatever case; those with ids above `after`."""
    folded = openpgp_user_ids.c.folded
    said = folded == words.lower() if exact else folded.contains(words.lower(), autoescape=True)
    mine = exists().where(openpgp_user_ids.c.key_id == openpgp_keys.c.id, said)
    return _rows(connection, _ROWS.where(mine, openpgp_keys.c.id > after).limit(limit))


def of_account(connection: Connection, account_id: int) -> list[KeyRow]:
    """The keys of an account."""
    return _rows(connection, _ROWS.where(openpgp_keys.c.account_id == account_id))


def certificates(connection: Connection, key_ids: Iterable[int]) -> list[bytes]:
    """The certificates of these keys, by id."""
    found = select(openpgp_keys.c.certificate).where(openpgp_keys.c.id.in_(list(key_ids))).order_by(openpgp_keys.c.id)
    return [bytes(row[0]) for row in connection.execute(found)]


def _rows(connection: Connection, statement: Any) -> list[KeyRow]:
    rows = [KeyRow(*row) for row in connection.execute(statement)]
    said: dict[int, list[str]] = {row.id: [] for row in rows}
    named = select(openpgp_user_ids.c.key_id, openpgp_user_ids.c.user_id).where(openpgp_user_ids.c.key_id.in_(list(said)))
    for key_id, user_id in connection.execute(named.order_by(openpgp_user_ids.c.key_id, openpgp_user_ids.c.position)):
        said[key_id].append(user_id)
    return [msgspec.structs.replace(row, user_ids=tuple(said[row.id])) for row in rows]


def _values(key: NewKey) -> dict[str, Any]:
    return {field: getattr(key, field) for field in _FIELDS}


def _describe(connection: Connection, key_id: int, key: NewKey) -> None:
    connection.execute(openpgp_handles.insert(), [{"handle": handle, "key_id": key_id} for handle in key.handles])
    said = [
        {"key_id": key_id, "position": position, "user_id": user_id, "folded": user_id.lower()}
        for position, user_id in enumerate(key.user_ids)
    ]
    if said:
        connection.execute(openpgp_user_ids.insert(), said)


def _forget(connection: Connection, key_id: int) -> None:
    for table in (openpgp_handles, openpgp_user_ids):
        connection.execute(delete(table).where(table.c.key_id == key_id))
