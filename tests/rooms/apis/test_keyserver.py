"""The key server's door: its table of errors, its two operations, and who may use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from pysequoia import Cert, Tsk
from sqlalchemy import Connection

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.openpgp_keys import LONGEST_PAGE
from roadstead.access.vault import Vault
from roadstead.apis.keyserver.door import KeyServerDoor
from roadstead.apis.keyserver.errors import TABLE, render
from roadstead.errors import InvalidInput, NotFound, NotOffered, RoadsteadError, TooLarge, TooManyRequests, Unauthenticated
from roadstead.metadata import openpgp_keys
from roadstead.metadata.database import Database
from roadstead.metadata.openpgp_keys import NewKey
from roadstead.serving.response import Response
from tests.rooms.apis.test_distribution_errors import EVERY
from tests.rooms.serving.test_request import part, request
from tests.support.factories import BEGINNING, ManualClock
from tests.support.openpgp import HandMade

ADA = "Ada <ada@example.org>"


def test_every_branch_of_the_error_tree_has_a_row() -> None:
    branches = {cls for cls in EVERY if cls.__base__ is RoadsteadError}
    assert branches <= set(TABLE) <= set(EVERY)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_has_the_form_that_apptainer_shows(cls: type[RoadsteadError]) -> None:
    response = render(cls(), "the-request")
    error = msgspec.json.decode(body(response))["error"]
    assert error["code"] == response.status
    assert 400 <= response.status <= 599
    assert ("the-request" in error["message"]) == (response.status >= 500)


def test_who_has_to_wait_is_told_how_long() -> None:
    assert (b"retry-after", b"7") in render(TooManyRequests(retry_after=7), "").headers


def body(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    return Access(database, Vault([b"k" * 32]), clock=clock)


@pytest.fixture
def door(access: Access) -> KeyServerDoor:
    return KeyServerDoor(access)


@pytest.fixture
async def cert(access: Access, user: Actor) -> Cert:
    """A key that is there."""
    cert = Tsk.generate(user_ids=[ADA, "Åda: a name"]).extract_certificate()
    await access.openpgp_keys.push(user, bytes(cert))
    return cert


async def ask(door: KeyServerDoor, path: str = "/pks/lookup", **query: str) -> Response:
    return await door.handle(request(path=path, raw_path=path.encode(), query_string=urlencode(query).encode()))


def add(form: dict[str, str], headers: list[tuple[str, str]] | None = None) -> Any:
    path: Any = {"method": "POST", "path": "/pks/add", "raw_path": b"/pks/add"}
    return request([part(urlencode(form).encode(), more=False)], headers or [], **path)


async def test_a_key_is_got_in_armour(door: KeyServerDoor, cert: Cert) -> None:
    for search in (f"0x{cert.fingerprint}", "ada@example.org"):
        response = await ask(door, op="get", search=search, options="mr", exact="on")
        assert (b"content-type", b"application/pgp-keys") in response.headers
        assert bytes(Cert.from_bytes(body(response))) == bytes(cert)


async def test_an_index_for_machines(door: KeyServerDoor, cert: Cert, access: Access) -> None:
    (row,) = await access.openpgp_keys.search("ada", exact=False)
    for operation in ("index", "vindex"):
        info, pub, *uids = body(await ask(door, op=operation, search="ada", options="mr")).decode().splitlines()
        created = int(row.created_at.timestamp())
        assert (info, pub) == ("info:1:1", f"pub:{cert.fingerprint.upper()}:22:255:{created}::")
        assert uids == [f"uid:{quote(one, safe=' <>@()')}:{created}::" for one in row.user_ids]
        assert len(uids) == 2 and not any(ord(letter) > 127 for letter in "".join(uids))


async def test_an_index_for_people(door: KeyServerDoor, cert: Cert) -> None:
    shown = body(await ask(door, op="index", search=cert.fingerprint)).decode()
    assert cert.fingerprint.upper() in shown and "pushed by ada" in shown and ADA in shown


async def test_an_index_says_what_is_revoked(door: KeyServerDoor, access: Access, user: Actor) -> None:
    pair = Tsk.generate(ADA)
    cert = pair.extract_certificate()
    await access.openpgp_keys.push(user, bytes(cert) + bytes(cert.revoke(pair.certifier())))
    assert body(await ask(door, op="index", search="ada", options="mr")).splitlines()[1].endswith(b":r")


async def test_pages_of_an_index(door: KeyServerDoor, access: Access, user: Actor) -> None:
    for number in range(3):
        await access.openpgp_keys.push(user, bytes(Tsk.generate(f"Ada {number}").extract_certificate()))
    first = await ask(door, op="index", search="ada", options="mr", **{"x-pagesize": "2"})
    token = dict(first.headers)[b"x-hkp-next-page-token"].decode()
    rest = await ask(door, op="index", search="ada", options="mr", **{"x-pagesize": "2", "x-pagetoken": token})
    assert body(first).count(b"pub:") == 2 and body(rest).count(b"pub:") == 1
    assert b"x-hkp-next-page-token" not in dict(rest.headers)


@pytest.mark.parametrize(("count", "size", "pages"), [(4, "2", [2, 2]), (3, "3", [3]), (3, "2", [2, 1]), (2, "1000", [2]), (1, "0", [1])])
async def test_the_last_page_promises_no_other(
    door: KeyServerDoor, access: Access, user: Actor, count: int, size: str, pages: list[int]
) -> None:
    for number in range(count):
        await access.openpgp_keys.push(user, HandMade().certificate(f"Ada {number}"))
    told, token = [], "0"
    while token:
        answer = await ask(door, op="index", search="ada", options="mr", **{"x-pagesize": size, "x-pagetoken": token})
        told.append(body(answer).count(b"pub:"))
        token = dict(answer.headers).get(b"x-hkp-next-page-token", b"").decode()
    assert told == pages


async def test_a_page_is_as_long_as_apptainer_asks(door: KeyServerDoor, access: Access, user: Actor, database: Database) -> None:
    """Which is more than one account may have."""
    assert LONGEST_PAGE == 256

    def add_all(connection: Connection) -> None:
        assert user.account_id is not None
        for number in range(LONGEST_PAGE + 1):
            row = NewKey(f"{number:040x}", b"x", 22, 255, BEGINNING, None, False, [f"{number:040x}"], [f"Ada {number}"])
            openpgp_keys.add(connection, row, user.account_id, BEGINNING)

    await database.write(add_all)
    first = await ask(door, op="index", search="ada", options="mr", **{"x-pagesize": "256"})
    assert body(first).startswith(b"info:1:256\n")
    token = dict(first.headers)[b"x-hkp-next-page-token"].decode()
    rest = await ask(door, op="index", search="ada", options="mr", **{"x-pagesize": "256", "x-pagetoken": token})
    assert body(rest).startswith(b"info:1:1\n")


async def test_a_fingerprint_has_one_page(door: KeyServerDoor, cert: Cert) -> None:
    answer = await ask(door, op="index", search=f"0x{cert.fingerprint}", options="mr", **{"x-pagesize": "1"})
    assert b"x-hkp-next-page-token" not in dict(answer.headers)


async def test_an_index_says_what_expires_and_what_has(door: KeyServerDoor, access: Access, user: Actor, clock: ManualClock) -> None:
    clock.now = datetime.now(UTC)
    pushed = await access.openpgp_keys.push(user, bytes(Tsk.generate(ADA, validity_seconds=3600).extract_certificate()))
    assert pushed.expires_at is not None
    expires = str(int(pushed.expires_at.timestamp()))

    async def shown() -> list[list[str]]:
        _, *lines = body(await ask(door, op="index", search="ada", options="mr")).decode().splitlines()
        return [line.split(":")[-2:] for line in lines]

    assert await shown() == [[expires, ""]] * 2
    clock.advance(timedelta(hours=2))
    assert await shown() == [[expires, "e"]] * 2
    assert "expired" in body(await ask(door, op="index", search="ada")).decode()


async def test_an_account_that_has_ended_is_no_owner(door: KeyServerDoor, access: Access, cert: Cert, user: Actor, admin: Actor) -> None:
    assert user.account_id is not None
    await access.people.remove(admin, user.account_id)
    shown = body(await ask(door, op="index", search=cert.fingerprint)).decode()
    assert "pushed by an account that has ended" in shown and "by ada" not in shown


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"op": "get"}, InvalidInput),
        ({"op": "index", "search": "ab"}, InvalidInput),
        ({"op": "index", "search": "ada", "x-pagesize": "many"}, InvalidInput),
        ({"op": "index", "search": "ada", "x-pagetoken": "9" * 30}, InvalidInput),
        ({"op": "stats", "search": "ada"}, NotOffered),
        ({"search": "ada"}, NotOffered),
        ({"op": "get", "search": "0x0123456789abcdef"}, NotFound),
        ({"op": "index", "search": "nobody"}, NotFound),
    ],
)
async def test_lookups_that_cannot_be_answered(door: KeyServerDoor, query: dict[str, str], error: type[RoadsteadError]) -> None:
    with pytest.raises(error):
        await ask(door, **query)


async def test_what_is_not_there(door: KeyServerDoor) -> None:
    with pytest.raises(NotFound):
        await ask(door, "/pks/lookups")
    asked = add({})
    asked.method = "PUT"
    with pytest.raises(InvalidInput) as caught:
        await door.handle(asked)
    response = door.render(caught.value, asked)
    assert (response.status, dict(response.headers)[b"allow"]) == (405, b"POST")


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer", "Bearer wrong", "Basic YWRhOndyb25n", "Digest x"])
async def test_a_push_needs_a_login(door: KeyServerDoor, header: str | None) -> None:
    asked = add({"keytext": "x"}, [("authorization", header)] if header else [])
    with pytest.raises(Unauthenticated) as caught:
        await door.handle(asked)
    response = door.render(caught.value, asked)
    assert (response.status, dict(response.headers)[b"www-authenticate"][:5]) == (401, b"Basic")
    if header in (None, "Bearer ", "Bearer"):
        assert "keyserver login" in msgspec.json.decode(body(response))["error"]["message"]


async def test_a_lookup_needs_none(door: KeyServerDoor, cert: Cert) -> None:
    """Not even a wrong one harms: a key is found when a token has ended."""
    query = urlencode({"op": "get", "search": cert.fingerprint}).encode()
    asked = request(headers=[("authorization", "Bearer wrong")], path="/pks/lookup", raw_path=b"/pks/lookup", query_string=query)
    assert (await door.handle(asked)).status == 200


async def test_a_form_has_a_length_and_a_key(door: KeyServerDoor, access: Access, monkeypatch: pytest.MonkeyPatch, user: Actor) -> None:
    async def known(*_: object) -> Actor:
        return user

    monkeypatch.setattr("roadstead.apis.keyserver.door.authenticate", known)
    login = [("authorization", "Bearer known")]
    with pytest.raises(InvalidInput, match="keytext"):
        await door.handle(add({"other": "x"}, login))
    with pytest.raises(TooLarge):
        await door.handle(add({"keytext": "x" * 5_000_000}, login))
    cert = Tsk.generate(ADA).extract_certificate()
    response = await door.handle(add({"keytext": str(cert)}, login))
    assert (response.status, body(response).decode().strip()) == (200, cert.fingerprint)
    assert [row.owner for row in await access.openpgp_keys.search("ada", exact=False)] == ["ada"]
