"""Queries that the rooms above see only in part: ids, hot selects, collection against links."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.exc import IntegrityError

from roadstead.access.actor import Actor
from roadstead.metadata import contents, manifests, projects, repositories, tags
from roadstead.metadata.accounts import AccountSelects
from roadstead.metadata.contents import BlobSelects
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestSelects
from roadstead.metadata.repositories import RepositorySelects
from roadstead.metadata.schema import accounts as account_table
from roadstead.metadata.schema import metadata
from roadstead.metadata.schema import projects as project_table
from roadstead.metadata.statements import insert_id
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.registry import Registry
from tests.support.factories import APP, BEGINNING, VAULT, blob, image, push_image

WITH_IDS = sorted(name for name, table in metadata.tables.items() if "id" in table.c)
HOUR = timedelta(hours=1)


def example(connection: Connection, name: str) -> dict[str, object]:
    """One row of the table, with the rows that it refers to."""
    at = {"created_at": BEGINNING}
    if name in ("accounts", "groups", "projects"):
        return {"name": "x", **at}
    if name == "contents":
        return {"size": 1, "store": "memory", "key": "k", **at}
    if name == "events":
        return {"type": "x.y", "at": BEGINNING}
    if name == "audit_log":
        what = {"action": "create", "resource_type": "project", "resource": "x", "result": "success"}
        return {"at": BEGINNING, "actor": "x", "address": "", **what}
    if name == "login_sources":
        return {"name": "x", "kind": "ldap", "position": 1, "settings": "{}", "updated_at": BEGINNING, **at}
    if name == "identities":
        whose = {"account_id": made(connection, "accounts"), "source_id": made(connection, "login_sources")}
        return {**whose, "subject": "s", "name": "x", "linked_at": BEGINNING}
    if name == "jobs":
        numbers = {"lane": 0, "priority": 0, "attempt": 0, "failures": 0, "max_attempts": 1}
        return {"kind": "x", "payload": "{}", "state": "waiting", "run_after": BEGINNING, **numbers, **at}
    if name == "job_log":
        return {"job_id": made(connection, "jobs"), "attempt": 1, "at": BEGINNING, "line": "x"}
    if name == "quota_entries":
        return {"project_id": made(connection, "projects"), "delta": 1}
    if name == "credentials":
        return {
            "account_id": made(connection, "accounts"),
            "kind": "token",
            "name": "x",
            "secret_hash": "h",
            "hint": "",
            "level": "read",
            **at,
        }
    if name == "openpgp_keys":
        said = {"certificate": b"", "algorithm": 22, "bits": 255, "revoked": False, "added_at": BEGINNING, "updated_at": BEGINNING}
        return {"account_id": made(connection, "accounts"), "fingerprint": "f", **said, **at}
    if name == "members":
        return {"project_id": made(connection, "projects"), "account_id": made(connection, "accounts"), "role": "guest", **at}
    if name == "trusted_keys":
        return {"project_id": made(connection, "projects"), "kind": "openpgp", "fingerprint": "F", "name": "x", "added_at": BEGINNING}
    if name == "clusters":
        return {"name": "x", "description": "{}", "updated_at": BEGINNING}
    if name == "repositories":
        return {"project_id": made(connection, "projects"), "path": "x", **at}
    repository = {"repository_id": made(connection, "repositories")}
    if name == "manifests":
        return {**repository, "digest": "d", "media_type": "m", "size": 1, "pushed_at": BEGINNING, "content": b"{}"}
    if name == "tags":
        return {**repository, "name": "x", "manifest_id": made(connection, "manifests"), "pushed_at": BEGINNING, **at}
    if name == "tag_history":
        return {**repository, "tag": "x", "at": BEGINNING}
    assert name == "uploads"
    return {**repository, "token": "t", "offset": 0, "state": b"", "version": 0, "started_at": BEGINNING, "touched_at": BEGINNING}


def made(connection: Connection, name: str) -> int:
    """The id of the table's example, made if it is not there."""
    table = metadata.tables[name]
    found: int | None = connection.execute(select(table.c.id)).scalar()
    return found if found is not None else insert_id(connection, table, example(connection, name))


@pytest.mark.parametrize("name", WITH_IDS)
async def test_an_id_is_never_used_again(database: Database, name: str) -> None:
    table: Table = metadata.tables[name]

    def again(connection: Connection) -> tuple[int, int]:
        row = example(connection, name)
        first = insert_id(connection, table, row)
        connection.execute(delete(table).where(table.c.id == first))
        return first, insert_id(connection, table, row)

    first, second = await database.write(again)
    assert second > first


async def test_an_id_has_64_bits(database: Database) -> None:
    large = 2**53 + 1
    row = {"id": large, "name": "large", "created_at": BEGINNING}
    await database.write(lambda connection: connection.execute(project_table.insert().values(row)))
    found = await RepositorySelects(database).place(RepositoryName("large/x"))
    assert found is not None
    assert found.project_id == large


async def test_a_name_is_free_again_after_its_soft_deletion(database: Database) -> None:
    def work(connection: Connection) -> list[bool]:
        add = partial(projects.ensure, connection, public=True, owner_id=None, now=BEGINNING)
        answers = [add("x"), add("x")]
        connection.execute(project_table.update().values(deleted_at=BEGINNING))
        return [*answers, projects.find(connection, "x") is None, add("x"), projects.find(connection, "x") is not None]

    assert await database.write(work) == [True, False, True, True, True]


async def test_rows_cannot_refer_to_what_is_not_there(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await database.write(partial(repositories.ensure, project_id=999_999_999, path="x", now=BEGINNING))


async def test_the_hot_selects_say_what_the_cold_ones_say(registry: Registry, database: Database, admin: Actor) -> None:
    made = image("one")
    await push_image(registry, admin, APP, made, "latest")
    await push_image(registry, admin, VAULT, made)
    hot = ManifestSelects(database)
    row = await hot.by_tag(APP, TagName("latest"))
    assert row is not None
    tag = await database.read(partial(tags.find, repository_id=row.repository_id, name=TagName("latest")))
    assert tag is not None
    assert (tag.id, tag.manifest_id, tag.digest) == (row.tag_id, row.manifest_id, row.digest)
    assert row.content == await database.read(partial(manifests.content_by_tag, repository_id=row.repository_id, tag=TagName("latest")))
    by_digest = await hot.by_digest(APP, made.digest)
    assert by_digest is not None
    assert (by_digest.manifest_id, by_digest.tag_id, by_digest.public) == (row.manifest_id, None, True)
    assert by_digest.manifest_id == await database.read(partial(manifests.find_id, repository_id=row.repository_id, digest=made.digest))
    found = await BlobSelects(database).find(row.repository_id, blob("one").digest)
    cold = await database.read(partial(contents.find, digest=blob("one").digest))
    assert found is not None
    assert cold is not None
    assert (found.content_id, found.size, found.store, found.key) == (cold.id, cold.size, cold.store, cold.key)
    assert found.touched_at == BEGINNING
    vault = await RepositorySelects(database).place(VAULT)
    project = await database.read(partial(projects.find, name="vault"))
    assert vault is not None
    assert project is not None
    assert (vault.project_id, vault.project_name, vault.public) == (project.id, project.name, project.public)


async def test_the_hot_selects_find_nothing_where_nothing_lives(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    hot, place = ManifestSelects(database), RepositorySelects(database)
    for name in (RepositoryName("library/other"), RepositoryName("nowhere/app"), VAULT):
        assert await hot.by_tag(name, TagName("latest")) is None
        assert await hot.by_digest(name, image("one").digest) is None
    here = await place.place(APP)
    assert here is not None
    assert here.repository_id is not None
    assert await BlobSelects(database).find(here.repository_id, Digest.of(b"never")) is None
    for table in ("repositories", "projects"):
        gone = metadata.tables[table].update().values(deleted_at=BEGINNING)
        await database.write(lambda connection, gone=gone: connection.execute(gone))  # type: ignore[misc]
        assert await hot.by_tag(APP, TagName("latest")) is None
        assert await hot.by_digest(APP, image("one").digest) is None
    assert await place.place(APP) is None


async def test_a_disabled_account_is_not_found(database: Database, user: Actor) -> None:
    selects = AccountSelects(database)
    assert user.account_id is not None
    assert await selects.by_id(user.account_id) == await selects.by_name("ada")
    await database.write(lambda connection: connection.execute(account_table.update().values(disabled_at=BEGINNING)))
    assert await selects.by_id(user.account_id) is None
    assert await selects.by_name("ada") is None


# --- contents -----------------------------------------------------------------------------------------------------------------------


def stored(connection: Connection, key: str, *known_by: Digest) -> int | None:
    return contents.add(connection, size=1, store="memory", key=key, known_by=known_by, now=BEGINNING)


async def test_a_content_that_is_known_already_is_not_added(database: Database) -> None:
    short, long = Digest.of(b"x"), Digest.of(b"x", "sha512")

    def work(connection: Connection) -> tuple[int | None, int | None, int]:
        first = stored(connection, "a", long)
        return first, stored(connection, "b", short, long), len(connection.execute(select(metadata.tables["contents"])).all())

    first, second, rows = await database.write(work)
    assert first is not None
    assert (second, rows) == (None, 1)
    assert await database.read(partial(contents.find, digest=short)) is None


async def test_a_content_that_the_collector_took_cannot_be_linked(database: Database) -> None:
    def work(connection: Connection) -> tuple[int, bool, list[int], bool, bool]:
        repository = made(connection, "repositories")
        content = stored(connection, "a", Digest.of(b"x"))
        assert content is not None
        linked = contents.link(connection, repository, content, None, BEGINNING)
        contents.unlink(connection, repository, Digest.of(b"x"), BEGINNING)
        taken = contents.take_doomed(connection, BEGINNING + HOUR, 10)
        again = contents.link(connection, repository, content, None, BEGINNING)
        # What a crash left half done is taken again, until it is forgotten.
        retaken = contents.take_doomed(connection, BEGINNING, 10)
        contents.forget(connection, content)
        return content, linked, [row.id for row in taken], again, retaken == taken and not contents.take_doomed(connection, BEGINNING, 10)

    content, linked, taken, again, retaken = await database.write(work)
    assert (linked, taken, again, retaken) == (True, [content], False, True)


async def test_doom_keeps_its_first_time_and_a_link_clears_it(database: Database) -> None:
    def work(connection: Connection) -> list[int]:
        repository = made(connection, "repositories")
        content = stored(connection, "a", Digest.of(b"x"))
        assert content is not None
        taken = []
        for _ in range(2):
            contents.link(connection, repository, content, None, BEGINNING)
            taken.append(len(contents.take_doomed(connection, BEGINNING + HOUR, 10)))
            contents.unlink(connection, repository, Digest.of(b"x"), BEGINNING + HOUR)
            contents.unlink(connection, repository, Digest.of(b"x"), BEGINNING + 2 * HOUR)
            taken.append(len(contents.take_doomed(connection, BEGINNING + HOUR, 10)))
        return [*taken, len(contents.take_doomed(connection, BEGINNING + HOUR + timedelta(microseconds=1), 10))]

    assert await database.write(work) == [0, 0, 0, 0, 1]


async def test_lost_bytes_are_replaced_once(database: Database) -> None:
    def work(connection: Connection) -> list[bool]:
        content = stored(connection, "old", Digest.of(b"x"))
        assert content is not None
        swap = partial(contents.replace_key, connection, content, store="memory")
        return [swap(old_key="old", new_key="new"), swap(old_key="old", new_key="newer")]

    assert await database.write(work) == [True, False]
    found = await database.read(partial(contents.find, digest=Digest.of(b"x")))
    assert found is not None
    assert found.key == "new"
