"""A key's way: pushed by who signs, found by who verifies, with the real client over TLS, on a network of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pysequoia import ArmorKind, armor

from tests.protocols.conftest import short_directory
from tests.support.clients.tools import Workplace, require_client
from tests.support.clients.trusting import make_sif, newcomer, registry_with_tls, trust
from tests.support.openpgp import HandMade
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server with an authority of its own at https://lab.test."""
    require_client("apptainer")
    with registry_with_tls(tmp_path_factory.mktemp("keys")) as server:
        yield server


@pytest.fixture(scope="module")
def machine(registry: RoadsteadServer) -> Iterator[Workplace]:
    """A machine that trusts the registry, with a home that has it.sif."""
    with newcomer() as workplace:
        trust(workplace, registry)
        make_sif(workplace)
        yield workplace


@pytest.fixture
def signer(machine: Workplace, registry: RoadsteadServer) -> Iterator[Workplace]:
    """A user's home with it.sif and a pair of keys."""
    with home(registry) as workplace:
        workplace.path("it.sif").write_bytes(machine.path("it.sif").read_bytes())
        identity = ("-N", "ada", "-E", "ada@example.org", "-C", "", "-P", "", "-U=false", "-b", "2048")
        workplace.run("apptainer", "key", "newpair", *identity)
        yield workplace


@pytest.fixture
def elsewhere(machine: Workplace, registry: RoadsteadServer) -> Iterator[Workplace]:
    """Another home, which has never seen any of it."""
    with home(registry) as workplace:
        yield workplace


@contextmanager
def home(registry: RoadsteadServer) -> Iterator[Workplace]:
    """A home with the registry as its default remote."""
    with short_directory() as path:
        workplace = Workplace(path)
        workplace.run("apptainer", "remote", "add", "--no-login", "lab", registry.url)
        yield workplace


def fingerprint(workplace: Workplace) -> str:
    """Of the one key of this home."""
    shown = workplace.run("apptainer", "key", "list").out
    (found,) = [line.split()[-1] for line in shown.splitlines() if line.strip().startswith("Fingerprint:")]
    return found


def log_in(workplace: Workplace, registry: RoadsteadServer, level: str = "write") -> None:
    with registry.http() as http:
        answer = http.post("/api/v2.0/users/current/tokens", json={"name": "keys", "level": level})
    assert answer.status_code == 201, answer.text
    workplace.path("token").write_text(answer.json()["secret"])
    workplace.run("apptainer", "remote", "login", "--tokenfile", "token", "lab")


def test_a_key_is_pushed_found_and_verifies(signer: Workplace, elsewhere: Workplace, registry: RoadsteadServer) -> None:
    key = fingerprint(signer)
    signer.run("apptainer", "sign", "it.sif")
    elsewhere.path("it.sif").write_bytes(signer.path("it.sif").read_bytes())
    elsewhere.refused("apptainer", "verify", "it.sif")
    assert "token" in signer.refused("apptainer", "key", "push", key)
    log_in(signer, registry, "read")
    signer.refused("apptainer", "key", "push", key)
    log_in(signer, registry)
    signer.run("apptainer", "key", "push", key)
    signer.run("apptainer", "key", "push", key)  # again is no harm

    assert "ada@example.org" in elsewhere.run("apptainer", "key", "search", "ada@exam").out
    shown = elsewhere.run("apptainer", "key", "search", "--long-list", "ada@example.org").out
    assert key in shown and "RSA" in shown and "2048" in shown, shown
    verified = elsewhere.run("apptainer", "verify", "it.sif")
    assert "ada@example.org" in verified.out + verified.err
    elsewhere.run("apptainer", "key", "pull", key)
    assert fingerprint(elsewhere) == key
    elsewhere.run("apptainer", "verify", "--local", "it.sif")


def test_a_search_finds_many_keys(elsewhere: Workplace, registry: RoadsteadServer) -> None:
    """More than one account may have; each is shown once, and no page is asked for that is not there."""
    numbers = range(120)
    with registry.http() as http:
        for name in ("many-0", "many-1"):
            person = {"username": name, "email": "", "realname": "", "password": "Correct1horse"}
            assert http.post("/api/v2.0/users", json=person).status_code == 201
    with registry.http(anonymous=True) as http:
        for number in numbers:
            key = armor(HandMade().certificate(f"Many {number} <many{number}@example.org>"), ArmorKind.PublicKey)
            answer = http.post("/pks/add", data={"keytext": key}, auth=(f"many-{number % 2}", "Correct1horse"))
            assert answer.status_code == 200, answer.text
    shown = elsewhere.run("apptainer", "key", "search", "many").out
    assert [shown.count(f"<many{number}@example.org>") for number in numbers] == [1] * len(numbers), shown


def test_a_key_that_nobody_pushed_is_not_there(elsewhere: Workplace) -> None:
    elsewhere.refused("apptainer", "key", "pull", "0" * 40)
    assert "no matching keys" in elsewhere.refused("apptainer", "key", "search", "nobody at all")


def test_a_key_server_takes_the_right_password_only(elsewhere: Workplace, registry: RoadsteadServer) -> None:
    elsewhere.run("apptainer", "keyserver", "add", f"{registry.url}:443")  # in the overlaid /etc of this machine
    command = ("apptainer", "keyserver", "login", "--username", "admin", "--password-stdin", f"{registry.url}:443")
    elsewhere.refused(*command, stdin="wrong")
    elsewhere.run(*command, stdin=registry.admin_password)


def test_the_registry_says_who_has_signed(signer: Workplace, registry: RoadsteadServer) -> None:
    log_in(signer, registry)
    signer.run("apptainer", "sign", "it.sif")
    signer.run("apptainer", "push", "it.sif", "library://library/tools/signed:one")
    with registry.http(anonymous=True) as http:
        path = "/api/v2.0/projects/library/repositories/tools%252Fsigned/artifacts/one/signatures"
        assert [one["state"] for one in http.get(path).json()] == ["unknown-key"]
        signer.run("apptainer", "key", "push", fingerprint(signer))
        (one,) = http.get(path).json()
    assert (one["state"], one["owner"], one["fingerprint"]) == ("valid", "admin", fingerprint(signer))
    assert "ada@example.org" in one["user_ids"][0]
