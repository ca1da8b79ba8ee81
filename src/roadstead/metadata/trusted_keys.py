"""Whose signatures a project trusts, and what it asks them for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, func, select

from roadstead.metadata.schema import accounts, manifests, projects, trusted_keys
from roadstead.metadata.statements import insert_new
from roadstead.oci.digest import Digest


class TrustedKeyRow(msgspec.Struct, frozen=True):
    """A key that a project trusts: its kind, fingerprint (upper-case hexadecimal), what people call it, who added it and when."""

    kind: str
    fingerprint: str
    name: str
    added_by: str | None
    added_at: datetime


def of_project(connection: Connection, project_id: int) -> Sequence[TrustedKeyRow]:
    """The keys of a project, in the order in which they were added."""
    statement = (
        select(trusted_keys.c.kind, trusted_keys.c.fingerprint, trusted_keys.c.name, accounts.c.name, trusted_keys.c.added_at)
        .outerjoin_from(trusted_keys, accounts, accounts.c.id == trusted_keys.c.added_by)
        .where(trusted_keys.c.project_id == project_id)
        .order_by(trusted_keys.c.id)
    )
    return [TrustedKeyRow(*row) for row in connection.execute(statement)]


class PemRow(msgspec.Struct, frozen=True):
    """A public key or a certificate that a project trusts, and what people call it."""

    name: str
    pem: str


def in_pem(connection: Connection, project_id: int) -> Sequence[PemRow]:
    """The public keys and certificates that a project trusts. Those of OpenPGP are the key server's."""
    mine = (trusted_keys.c.project_id == project_id, trusted_keys.c.key.is_not(None))
    statement = select(trusted_keys.c.name, trusted_keys.c.key).where(*mine).order_by(trusted_keys.c.id)
    return [PemRow(*row) for row in connection.execute(statement)]


def count(connection: Connection, project_id: int, *, for_images: bool = False) -> int:
    """How many keys a project trusts; `for_images` only those in PEM, as nobody signs images by OpenPGP."""
    mine = trusted_keys.c.project_id == project_id
    counted = select(func.count()).where(mine, trusted_keys.c.key.is_not(None)) if for_images else select(func.count()).where(mine)
    return connection.execute(counted).scalar_one()


class NewTrustedKey(msgspec.Struct, frozen=True):
    """A key to be trusted; `key` is its PEM, None for a key of OpenPGP."""

    kind: str
    fingerprint: str
    name: str
    key: str | None = None


def add(connection: Connection, project_id: int, new: NewTrustedKey, added_by: int | None, now: datetime) -> bool:
    """Trust a key. False if it is trusted already."""
    said = {**msgspec.structs.asdict(new), "added_by": added_by, "added_at": now}
    return insert_new(connection, trusted_keys, {"project_id": project_id, **said})


def remove(connection: Connection, project_id: int, fingerprint: str) -> bool:
    """Trust a key no more. False if it was not trusted."""
    mine = (trusted_keys.c.project_id == project_id, trusted_keys.c.fingerprint == fingerprint)
    return connection.execute(delete(trusted_keys).where(*mine)).rowcount > 0


def asks_for(connection: Connection, project_id: int) -> tuple[bool, bool]:
    """Whether a live project gives out signed SIFs only, and whether signed images only."""
    mine = (projects.c.id == project_id, projects.c.deleted_at.is_(None))
    row = connection.execute(select(projects.c.only_signed_sifs, projects.c.only_signed_images).where(*mine)).first()
    return (False, False) if row is None else (bool(row[0]), bool(row[1]))


def made_of(connection: Connection, manifest_id: int) -> Digest | None:
    """What this registry made a manifest of; None of what was pushed."""
    mine = (manifests.c.id == manifest_id, manifests.c.derived.is_(True))
    subject = connection.execute(select(manifests.c.subject_digest).where(*mine)).scalar()
    return None if subject is None else Digest(subject)
