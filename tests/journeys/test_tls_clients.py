"""Real clients over TLS with the registry's own authority: refused before a user runs /trust.sh, and without any insecure flag after it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.protocols.conftest import short_directory
from tests.support.clients.images import base, fetch, image, push, tar
from tests.support.clients.tools import INSTALLED, Workplace, require_client
from tests.support.clients.trusting import UNTRUSTED, here, make_sif, newcomer, registry_with_tls, trust
from tests.support.daemons import CLASSIC_STORE, CONTAINERD_STORE, docker_daemon
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients

NAME = "registry.test"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server with an authority of its own, in a network in which it is called registry.test."""
    require_client("apptainer")
    with registry_with_tls(tmp_path_factory.mktemp("tls"), NAME, port=None) as server:
        yield server


@pytest.fixture
def workplace(registry: RoadsteadServer) -> Iterator[Workplace]:
    """A user's home on a machine that knows nothing of the registry yet: the clients' tree, and this system's own certificates."""
    with newcomer() as workplace:
        yield workplace


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    return "library/tls-" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")


def test_docker_trusts_it_without_a_restart(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    require_client("dockerd")
    push(registry.http(), repository, "one", image(repository))
    with short_directory() as directory, docker_daemon(directory, CLASSIC_STORE) as host:
        workplace.environment["DOCKER_HOST"] = host
        expect_docker_refusals(workplace, registry, repository)
        assert "systemctl restart docker" in trust(workplace, registry)
        use_docker(workplace, registry, repository)


def test_docker_with_containerds_store_trusts_it_after_a_restart(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    """For tokens that store's client looks at the system's bundle only, which the daemon read when it started."""
    require_client("dockerd")
    push(registry.http(), repository, "one", image(repository))
    with short_directory() as directory:
        with docker_daemon(directory, CONTAINERD_STORE) as host:
            workplace.environment["DOCKER_HOST"] = host
            expect_docker_refusals(workplace, registry, repository)
            trust(workplace, registry)
            workplace.run("docker", "pull", f"{registry.host}/{repository}:one")
        with docker_daemon(directory, CONTAINERD_STORE):
            use_docker(workplace, registry, repository)


def expect_docker_refusals(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    said = workplace.refused("docker", "login", "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)
    assert UNTRUSTED.search(said), said
    said = workplace.refused("docker", "pull", f"{registry.host}/{repository}:one")
    assert UNTRUSTED.search(said), said
    known = json.loads(workplace.run("docker", "info", "--format", "{{json .RegistryConfig}}").out)
    assert (list(known["IndexConfigs"]), known["InsecureRegistryCIDRs"]) == (["docker.io"], ["::1/128", "127.0.0.0/8"])


def use_docker(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    """Log in, pull, push what is new and what is there already."""
    name, login = f"{registry.host}/{repository}", ("login", "-u", "admin", "--password-stdin", registry.host)
    assert "unauthorized" in workplace.refused("docker", *login, stdin="wrong").lower()
    workplace.run("docker", *login, stdin=registry.admin_password)
    workplace.run("docker", "pull", f"{name}:one")
    workplace.run("docker", "tag", f"{name}:one", f"{name}:two")
    workplace.path("rootfs.tar").write_bytes(tar({**base(), "etc/seed": f"pushed {repository}".encode()}))
    workplace.run("docker", "import", "rootfs.tar", f"{name}:three")
    for tag in ("two", "three"):
        reported = re.search(r"digest: (sha256:[0-9a-f]{64})", workplace.run("docker", "push", f"{name}:{tag}").out)
        assert reported is not None
        assert fetch(registry.http(anonymous=True), repository, tag).digest == reported[1]


def use_apptainer(workplace: Workplace, registry: RoadsteadServer, repository: str, sif: bytes) -> None:
    """Log in, push and pull a SIF, pull an image; no flag says anything about TLS."""
    login = ("registry", "login", "--username", "admin", "--password-stdin", f"oras://{registry.host}")
    assert "unauthorized" in workplace.refused("apptainer", *login, stdin="wrong").lower()
    workplace.run("apptainer", *login, stdin=registry.admin_password)
    workplace.run("apptainer", "push", "it.sif", f"oras://{registry.host}/{repository}:sif")
    workplace.run("apptainer", "pull", "back.sif", f"oras://{registry.host}/{repository}:sif")
    assert workplace.path("back.sif").read_bytes() == sif
    workplace.run("apptainer", "pull", "image.sif", f"docker://{registry.host}/{repository}:one")
    assert workplace.run("apptainer", "exec", "image.sif", "cat", "/etc/seed").out == repository


def expect_refusals(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    for scheme, tag in (("docker", "one"), ("oras", "sif")):
        said = workplace.refused("apptainer", "pull", "no.sif", f"{scheme}://{registry.host}/{repository}:{tag}")
        assert UNTRUSTED.search(said), said


def test_apptainer_trusts_it_by_the_systems_bundle(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    sif = make_sif(workplace)
    expect_refusals(workplace, registry, repository)
    assert "run update-ca-certificates" in trust(workplace, registry)
    use_apptainer(workplace, registry, repository, sif)


def test_apptainer_trusts_it_without_root_by_one_line(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    sif = make_sif(workplace)
    line = re.search(r"export SSL_CERT_FILE=(\S+)", trust(workplace, registry, "--user"))
    assert line is not None
    expect_refusals(workplace, registry, repository)
    # Root's home in the clients' tree is this home, under a name of its own.
    workplace.environment["SSL_CERT_FILE"] = line[1]
    use_apptainer(workplace, registry, repository, sif)


@pytest.mark.parametrize("options", [(), ("--user",)], ids=["root", "user"])
def test_skopeo_and_podman_trust_it(workplace: Workplace, registry: RoadsteadServer, repository: str, options: tuple[str, ...]) -> None:
    require_client("skopeo")
    require_client("podman")
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}"
    copy = ("copy", "--preserve-digests", f"docker://{name}:one")
    assert UNTRUSTED.search(workplace.refused("skopeo", *copy, "dir:copied"))
    assert UNTRUSTED.search(workplace.refused("podman", "pull", f"{name}:one"))
    trust(workplace, registry, *options)
    workplace.run("podman", "pull", f"{name}:one")
    workplace.run("podman", "login", "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)
    workplace.run("skopeo", *copy, f"docker://{name}:two")
    assert fetch(registry.http(), repository, "two").digest == whole.digest


def test_oras_and_curl_trust_it(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    require_client("oras")
    push(registry.http(), repository, "one", image(repository))
    assert UNTRUSTED.search(workplace.refused("oras", "repo", "tags", f"{registry.host}/{repository}"))
    trust(workplace, registry)
    assert workplace.run("oras", "repo", "tags", f"{registry.host}/{repository}").out.split() == ["one"]

    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{registry.url}/v2/")
    refused = subprocess.run(curl, capture_output=True, text=True, env=workplace.environment, check=False)
    assert refused.returncode == 60 and "certificate" in refused.stderr
    here(workplace, "sh", "trust.sh", "--user")
    bundle = workplace.path(f".config/roadstead/{NAME}_{registry.port}/bundle.crt")
    assert here(workplace, *curl, environment={"SSL_CERT_FILE": str(bundle)}) == "401"
    here(workplace, "sh", "trust.sh")
    assert here(workplace, *curl) == "401"


def test_containerd_trusts_it_by_its_hosts_file(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    require_client("dockerd")
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    (workplace.home / "ctr").symlink_to(INSTALLED / "bin" / "apptainer")
    ctr = str(workplace.home / "ctr")
    with short_directory() as directory, docker_daemon(directory, CONTAINERD_STORE):
        address = ("--address", str(directory / "exec" / "containerd" / "containerd.sock"))
        # The system's bundle, as it was, in the place of the one that the script extends: what works does so by hosts.toml.
        workplace.path("before.crt").write_bytes((INSTALLED / "root/etc/ssl/certs/ca-certificates.crt").read_bytes())
        workplace.path("none").mkdir()
        before = {"SSL_CERT_FILE": str(workplace.path("before.crt")), "SSL_CERT_DIR": str(workplace.path("none"))}
        pull = ("content", "fetch", "--hosts-dir", "/etc/containerd/certs.d", f"{registry.host}/{repository}:one")
        assert UNTRUSTED.search(workplace.refused(ctr, *address, *pull, environment=before))
        trust(workplace, registry)
        workplace.run(ctr, *address, *pull, environment=before)
        assert whole.digest in workplace.run(ctr, *address, "content", "ls", environment=before).out
