"""`roadstead key`, through the real program, on a database of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pysequoia import Cert, Tsk

from roadstead.access.actor import Actor
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.metadata.database import open_database
from tests.rooms.cli.test_administration import Site


def push(data: Path, owner: Actor) -> Cert:
    """A key of the owner, on the key server of a site."""
    pushed = Tsk.generate("Ada <ada@example.org>").extract_certificate()

    async def work() -> None:
        database = await open_database(f"sqlite:///{data}/roadstead.sqlite")
        try:
            await OpenPgpKeys(database).push(owner, bytes(pushed))
        finally:
            await database.close()

    asyncio.run(work())
    return pushed


def test_an_administrator_finds_and_removes_a_key(tmp_path: Path) -> None:
    site = Site(tmp_path / "data")
    ada = site.told("user", "add", "ada", said="a keel of old oak\n")
    fingerprint = push(tmp_path / "data", Actor(ada["id"], "ada")).fingerprint
    (found,) = site.told("key", "search", "ada@example")
    assert (found["fingerprint"], found["owner"]) == (fingerprint, "ada")
    assert "no such key" in site.refused("key", "remove", "0" * 40)
    assert fingerprint in site.done("key", "remove", f"0x{fingerprint.upper()}").lower()
    assert site.told("key", "search", fingerprint) == []
    (entry,) = [one for one in site.told("audit") if one["resource_type"] == "key" and one["action"] == "delete"]
    assert (entry["actor"], entry["resource"]) == ("system", fingerprint)
    assert "Search for" in site.refused("key", "search", "a")
