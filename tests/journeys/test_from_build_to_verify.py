"""A whole story of Apptainer's own world: an image is built, signed and pushed by one user, and found, pulled and verified by another.

With the real client over TLS, on a network of its own; each user has a home that the other has never seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.protocols.conftest import short_directory
from tests.support.clients.tools import Workplace, require_client
from tests.support.clients.trusting import make_sif, newcomer, registry_with_tls, trust
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients

IMAGE = "library://lab/chemistry/gromacs:2026.1"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """At https://lab.test, with a private project `lab`."""
    require_client("apptainer")
    with registry_with_tls(tmp_path_factory.mktemp("story")) as server:
        with server.http() as http:
            assert http.post("/api/v2.0/projects", json={"project_name": "lab", "public": False}).status_code == 201
        yield server


@pytest.fixture(scope="module")
def machine(registry: RoadsteadServer) -> Iterator[Workplace]:
    """A machine that trusts the registry, with it.sif."""
    with newcomer() as workplace:
        trust(workplace, registry)
        make_sif(workplace)
        yield workplace


@contextmanager
def home(registry: RoadsteadServer, level: str | None) -> Iterator[Workplace]:
    """A home that knows the registry as its remote, and is logged in to it with a token of that level."""
    with short_directory() as path:
        workplace = Workplace(path)
        workplace.run("apptainer", "remote", "add", "--no-login", "lab", registry.url)
        if level is not None:
            with registry.http() as http:
                answer = http.post("/api/v2.0/users/current/tokens", json={"name": f"{level} {path.name}", "level": level})
            assert answer.status_code == 201, answer.text
            workplace.path("token").write_text(answer.json()["secret"])
            workplace.run("apptainer", "remote", "login", "--tokenfile", "token", "lab")
        yield workplace


def test_an_image_is_signed_by_one_and_verified_by_another(machine: Workplace, registry: RoadsteadServer) -> None:
    with home(registry, "write") as author, home(registry, "read") as reader, home(registry, None) as stranger:
        author.path("it.sif").write_bytes(machine.path("it.sif").read_bytes())
        identity = ("-N", "ada", "-E", "ada@example.org", "-C", "", "-P", "", "-U=false", "-b", "2048")
        author.run("apptainer", "key", "newpair", *identity)
        shown = author.run("apptainer", "key", "list").out
        (key,) = [line.split()[-1] for line in shown.splitlines() if line.strip().startswith("Fingerprint:")]
        author.run("apptainer", "sign", "it.sif")
        author.run("apptainer", "push", "-D", "Molecules in motion", "it.sif", IMAGE)

        assert IMAGE.removeprefix("library://") in reader.run("apptainer", "search", "--signed", "groma").out
        assert IMAGE.removeprefix("library://") not in stranger.run("apptainer", "search", "groma").out
        stranger.refused("apptainer", "pull", "back.sif", IMAGE)
        reader.run("apptainer", "pull", "back.sif", IMAGE)
        assert reader.path("back.sif").read_bytes() == author.path("it.sif").read_bytes()

        reader.refused("apptainer", "verify", "back.sif")  # nobody has the key yet but its owner
        author.run("apptainer", "key", "push", key)
        verified = reader.run("apptainer", "verify", "back.sif")
        assert "ada@example.org" in verified.out + verified.err
        assert reader.run("apptainer", "exec", "back.sif", "cat", "/etc/seed").out == "over TLS"

        changed = bytearray(reader.path("back.sif").read_bytes())
        changed[len(changed) // 2] ^= 1
        reader.path("changed.sif").write_bytes(changed)
        reader.refused("apptainer", "verify", "changed.sif")


def test_a_project_that_asks_for_signatures_gives_out_nothing_else(machine: Workplace, registry: RoadsteadServer) -> None:
    image, oras = "library://lab/policy/tool:1", f"oras://{registry.host}/lab/policy/tool:1"
    with home(registry, "write") as author, home(registry, "read") as reader, registry.http() as http:
        author.path("it.sif").write_bytes(machine.path("it.sif").read_bytes())
        by_hash = f"{image.rpartition(':')[0]}:sha256.{hashlib.sha256(author.path('it.sif').read_bytes()).hexdigest()}"
        author.run("apptainer", "push", "-U", "it.sif", image)
        refused = http.put("/api/v2.0/projects/lab/trust", json={"only_signed_sifs": True})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "CONFLICT")

        identity = ("-N", "ida", "-E", "ida@example.org", "-C", "", "-P", "", "-U=false", "-b", "2048")
        author.run("apptainer", "key", "newpair", *identity)
        shown = author.run("apptainer", "key", "list").out
        (key,) = [line.split()[-1] for line in shown.splitlines() if line.strip().startswith("Fingerprint:")]
        author.run("apptainer", "key", "push", key)
        assert http.post("/api/v2.0/projects/lab/trust/keys", json={"fingerprint": key}).status_code == 201
        assert http.put("/api/v2.0/projects/lab/trust", json={"only_signed_sifs": True}).status_code == 200
        try:
            for who, named in ((author, image), (reader, image), (reader, by_hash)):
                told = who.refused("apptainer", "pull", "back.sif", named)
                assert "gives out only SIFs that a key which it trusts has signed. This one is not signed. It trusts:" in told
                assert f"{key.upper()} (ida <ida@example.org>)" in told
            author.refused("apptainer", "pull", "back.sif", by_hash)
            # What nobody has signed is pushed all the same, under one more tag and as a file that is new here.
            author.run("apptainer", "push", "-U", "it.sif", f"{image},again")
            author.path("note").write_text("changed")
            author.run("apptainer", "sif", "add", "--datatype", "7", "--groupid", "1", "it.sif", "note")
            author.run("apptainer", "push", "-U", "it.sif", image)
            author.refused("apptainer", "pull", "back.sif", image)
            login = {"SINGULARITY_DOCKER_USERNAME": "admin", "SINGULARITY_DOCKER_PASSWORD": registry.admin_password}
            told = author.refused("apptainer", "pull", "back.sif", oras, environment=login)
            assert "This one is not signed" in told
            author.run("apptainer", "sign", "it.sif")
            author.run("apptainer", "push", "it.sif", image)
            author.run("apptainer", "pull", "back.sif", image)
            author.run("apptainer", "pull", "again.sif", oras, environment=login)
            assert author.path("back.sif").read_bytes() == author.path("again.sif").read_bytes() == author.path("it.sif").read_bytes()
        finally:
            assert http.put("/api/v2.0/projects/lab/trust", json={"only_signed_sifs": False}).status_code == 200
