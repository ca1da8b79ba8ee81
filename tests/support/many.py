"""A database as a large site has it: ten thousand repositories, a hundred thousand tags, a fifth of them in one, and a long audit log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Table, text

from roadstead.metadata.schema import (
    accounts,
    audit_log,
    contents,
    manifest_references,
    manifests,
    members,
    projects,
    repositories,
    tags,
)
from roadstead.oci import media_type
from tests.support.factories import BEGINNING

PROJECTS: Final = 100
REPOSITORIES: Final = 10_000
LARGE: Final = 20_000
EACH: Final = 8
HAPPENED: Final = 300_000
MEMBER: Final = 1
"""The account that is a member of every other project."""

_BATCH: Final = 2000
_DIGEST_OF_NOTHING: Final = hashlib.sha256(b"").hexdigest()
_DESCRIPTOR: Final = b'{"mediaType": "%%s", "size": 0, "digest": "sha256:%s"}' % _DIGEST_OF_NOTHING.encode()
_MANIFEST: Final = (
    b'{"schemaVersion": 2, "config": %s, "layers": [%s, %s]}'
    % (_DESCRIPTOR % media_type.OCI_CONFIG.encode(), *[_DESCRIPTOR % media_type.OCI_LAYER_GZIP.encode()] * 2)
).ljust(850)
_INDEX: Final = b'{"schemaVersion": 2, "manifests": []}'.ljust(850)


def fill(connection: Connection) -> None:
    """Fill an empty database. Every tenth manifest is an index of the two before it, which then have no tag."""
    _insert(connection, accounts, [{"id": MEMBER, "name": "member", "created_at": BEGINNING}])
    _insert(
        connection,
        projects,
        [{"id": one, "name": f"project-{one:03}", "public": one % 10 == 0, "created_at": BEGINNING} for one in range(1, PROJECTS + 1)],
    )
    held = [
        {"project_id": one, "account_id": MEMBER, "role": "developer", "path": "", "path_prefix": True, "created_at": BEGINNING}
        for one in range(1, PROJECTS + 1, 2)
    ]
    _insert(connection, members, held)
    _insert(connection, repositories, map(_repository, range(1, REPOSITORIES + 1)))
    _insert(connection, contents, [{"size": 1000, "store": "file", "key": f"k{one}", "created_at": BEGINNING} for one in range(1, 1001)])
    _insert(connection, manifests, _manifests())
    _insert(connection, manifest_references, _references())
    _insert(connection, tags, _tags())
    _insert(connection, audit_log, _happened())
    connection.execute(text("ANALYZE"))


def _insert(connection: Connection, table: Table, rows: Any) -> None:
    first = next(iter(table.c))  # with something to return, SQLAlchemy writes many rows in one statement
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            connection.execute(table.insert().returning(first), batch)
            batch = []
    if batch:
        connection.execute(table.insert().returning(first), batch)


def _repository(one: int) -> dict[str, Any]:
    folder = f"team-{one % 7}/" if one % 3 else ""
    return {
        "id": one,
        "project_id": 1 + one % PROJECTS,
        "path": f"{folder}app-{one:05}",
        "created_at": BEGINNING + timedelta(minutes=one * 7919 % REPOSITORIES),
        "pull_count": one * 31 % 1000,
    }


def _placed() -> Iterator[tuple[int, int]]:
    """The id of every manifest, and of its repository."""
    manifest = 0
    for repository in range(1, REPOSITORIES + 1):
        for _ in range(LARGE if repository == 1 else EACH):
            manifest += 1
            yield manifest, repository


def _digest(manifest: int) -> str:
    return f"sha256:{hashlib.sha256(str(manifest).encode()).hexdigest()}"


def _is_index(manifest: int) -> bool:
    return manifest % 10 == 0


def _manifests() -> Iterator[dict[str, Any]]:
    for manifest, repository in _placed():
        index = _is_index(manifest)
        yield {
            "id": manifest,
            "repository_id": repository,
            "digest": _digest(manifest),
            "media_type": media_type.OCI_INDEX if index else media_type.OCI_MANIFEST,
            "artifact_type": None if index else media_type.OCI_CONFIG,
            "size": 850,
            "pushed_at": BEGINNING + timedelta(seconds=manifest),
            "content": _INDEX if index else _MANIFEST,
        }


def _references() -> Iterator[dict[str, Any]]:
    for manifest, _ in _placed():
        if _is_index(manifest):
            for position in (0, 1):
                child = _digest(manifest - 1 - position)
                yield {"manifest_id": manifest, "position": position, "role": "manifest", "digest": child, "content_id": None}
        else:
            for position, role in enumerate(("config", "layer", "layer")):
                content = 1 + (manifest * 7 + position) % 1000
                yield {"manifest_id": manifest, "position": position, "role": role, "digest": f"sha256:{content}", "content_id": content}


def _happened() -> Iterator[dict[str, Any]]:
    """Rows of the audit log: mostly pulls, of every repository."""
    for one in range(HAPPENED):
        yield {
            "at": BEGINNING + timedelta(seconds=one),
            "actor_id": MEMBER,
            "actor": "member" if one % 100 else "builder",
            "address": "10.0.0.1",
            "action": "pull" if one % 20 else "push",
            "resource_type": "artifact",
            "resource": f"project-{1 + one % PROJECTS:03}/app-{one % REPOSITORIES:05}@{_digest(one)}",
            "project_id": 1 + one % PROJECTS,
            "result": "success",
        }


def _tags() -> Iterator[dict[str, Any]]:
    """Nearly every manifest has one; there is no tag on the two before an index."""
    for manifest, repository in _placed():
        if manifest % 10 not in (8, 9):
            at = BEGINNING + timedelta(seconds=manifest)
            yield {"repository_id": repository, "name": f"v{manifest}", "manifest_id": manifest, "created_at": at, "pushed_at": at}
            if manifest % 10 in (1, 2):
                yield {"repository_id": repository, "name": f"w{manifest}", "manifest_id": manifest, "created_at": at, "pushed_at": at}
