"""A project that gives out only signed images, by real clients: cosign and notation sign, docker and podman pull."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.protocols import test_cosign, test_notation
from tests.protocols.test_cosign import SIGN, SIGN_OLD, VERIFY, VERIFY_OLD
from tests.protocols.test_notation import HTTP
from tests.support.clients.images import Image, image, multi_arch, push
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("cosign", "notation", "docker", "dockerd", "podman")


@pytest.fixture
def project(request: pytest.FixtureRequest, registry: RoadsteadServer) -> str:
    """A public project of its own."""
    name = re.sub(r"[^a-z0-9]+", "-", str(request.node.name).removeprefix("test_").lower()).strip("-")[:60]
    made = registry.http().post("/api/v2.0/projects", json={"project_name": name, "public": True})
    assert made.status_code == 201, made.text
    return name


@pytest.fixture
def signer(workplace: Workplace, registry: RoadsteadServer) -> Workplace:
    """A workplace with keys of cosign and notation, logged in for both."""
    workplace.run("cosign", "generate-key-pair")
    workplace.run("cosign", "signing-config", "create", "--out", "services.json")
    workplace.run("notation", "cert", "generate-test", "--default", "tests")
    test_cosign.log_in(workplace, registry)
    test_notation.log_in(workplace, registry)
    return workplace


@pytest.fixture(params=["classic", "containerd"])
def docker(request: pytest.FixtureRequest, workplace: Workplace) -> Iterator[Workplace]:
    """A workplace whose docker talks to a daemon with one or the other store."""
    workplace.environment["DOCKER_HOST"] = request.getfixturevalue(f"{request.param}_docker")
    yield workplace
    workplace.run("docker", "system", "prune", "--all", "--force")


def trust(http: httpx2.Client, project: str, key: str) -> None:
    """Give out only images that this key has signed."""
    api = f"/api/v2.0/projects/{project}/trust"
    assert http.post(f"{api}/keys", json={"key": key}).status_code == 201
    assert http.put(api, json={"only_signed_images": True}).status_code == 200


def shown(http: httpx2.Client, repository: str, whole: Image) -> list[tuple[str, str]]:
    project, _, name = repository.partition("/")
    found = http.get(f"/api/v2.0/projects/{project}/repositories/{name}/artifacts/{whole.digest}/signatures").json()
    return [(one["kind"], one["state"]) for one in found]


def certificate(workplace: Workplace) -> str:
    (path,) = workplace.home.glob(".config/notation/localkeys/tests.crt")
    return path.read_text()


@pytest.mark.parametrize(("sign", "verify"), [(SIGN, VERIFY), (SIGN_OLD, VERIFY_OLD)], ids=["bundle", "old"])
def test_docker_pulls_what_cosign_has_signed(
    signer: Workplace, docker: Workplace, registry: RoadsteadServer, project: str, sign: tuple[str, ...], verify: tuple[str, ...]
) -> None:
    repository, whole = f"{project}/app", image(project)
    name = f"{registry.host}/{repository}"
    with registry.http() as http:
        push(http, repository, "one", whole)
        trust(http, project, signer.path("cosign.pub").read_text())
        told = docker.refused("docker", "pull", f"{name}:one")
        # containerd begins with a HEAD, whose answer has no body that could give the reason; Docker's own store then asks by a GET.
        reason = "403 Forbidden" if "HEAD request" in told else "gives out only images that a key which it trusts has signed"
        assert reason in told
        signer.run("cosign", *sign, f"{name}@{whole.digest}")  # what is not signed can be signed
        assert shown(http, repository, whole) == [("cosign", "valid")]
        docker.run("docker", "pull", f"{name}:one")
        signer.path(".docker/config.json").unlink()
        docker.run("podman", "pull", "--tls-verify=false", f"{name}:one")
        signer.run("cosign", *verify, f"{name}:one")
        for referrer in http.get(f"/v2/{repository}/referrers/{whole.digest}").json()["manifests"]:
            assert http.delete(f"/v2/{repository}/manifests/{referrer['digest']}").status_code == 202
        http.delete(f"/v2/{repository}/manifests/{whole.digest.replace(':', '-')}.sig")
        docker.run("docker", "image", "rm", f"{name}:one")
        docker.refused("docker", "pull", f"{name}:one")  # also where what it has pulled before lies in its store
        told = docker.refused("podman", "pull", "--tls-verify=false", f"{name}:one")
        assert "gives out only images that a key which it trusts has signed. This one is not signed." in told


def test_docker_does_not_pull_what_another_key_has_signed(
    signer: Workplace, docker: Workplace, registry: RoadsteadServer, project: str
) -> None:
    repository, whole = f"{project}/app", image(project)
    with registry.http() as http:
        push(http, repository, "one", whole)
        trust(http, project, certificate(signer))
        signer.run("cosign", *SIGN, f"{registry.host}/{repository}@{whole.digest}")
        assert shown(http, repository, whole) == [("cosign", "unknown-key")]
        docker.refused("docker", "pull", f"{registry.host}/{repository}:one")


def test_docker_pulls_what_notation_has_signed(signer: Workplace, docker: Workplace, registry: RoadsteadServer, project: str) -> None:
    repository, whole = f"{project}/app", image(project)
    name = f"{registry.host}/{repository}"
    with registry.http() as http:
        push(http, repository, "one", whole)
        trust(http, project, certificate(signer))
        docker.refused("docker", "pull", f"{name}:one")
        signer.run("notation", "sign", HTTP, f"{name}@{whole.digest}")
        assert shown(http, repository, whole) == [("notation", "valid")]
        docker.run("docker", "pull", f"{name}:one")
        # Its own index of signatures goes out too, and another signature joins it.
        signer.run("notation", "sign", HTTP, f"{name}@{whole.digest}")
        assert shown(http, repository, whole) == [("notation", "valid")] * 2
        test_notation.log_out(signer)
        assert "sha256:" in signer.run("notation", "list", HTTP, f"{name}@{whole.digest}").out


def test_docker_pulls_its_platform_of_a_signed_index(signer: Workplace, docker: Workplace, registry: RoadsteadServer, project: str) -> None:
    repository, whole = f"{project}/app", multi_arch(project)
    name = f"{registry.host}/{repository}"
    with registry.http() as http:
        push(http, repository, "one", whole)
        trust(http, project, signer.path("cosign.pub").read_text())
        docker.refused("docker", "pull", f"{name}:one")
        signer.run("cosign", *SIGN, f"{name}@{whole.digest}")
        docker.run("docker", "pull", f"{name}:one")


@pytest.mark.clients("apptainer")
def test_apptainer_pulls_the_sif_of_a_signed_image(signer: Workplace, registry: RoadsteadServer, project: str) -> None:
    repository, whole = f"{project}/app", multi_arch(project)
    name = f"{registry.host}/{repository}"
    login = ("registry", "login", "--username", "admin", "--password-stdin", f"oras://{registry.host}")
    signer.run("apptainer", *login, stdin=registry.admin_password)
    with registry.http() as http:
        push(http, repository, "one", whole)
        trust(http, project, signer.path("cosign.pub").read_text())
        told = signer.refused("apptainer", "pull", "--no-https", "it.sif", f"oras://{name}:one.sif")
        assert "that image has no signature that counts" in told
        signer.run("cosign", *SIGN, f"{name}@{whole.digest}")
        signer.run("apptainer", "pull", "--no-https", "it.sif", f"oras://{name}:one.sif")
        assert signer.run("apptainer", "exec", "it.sif", "cat", "/etc/seed").out == f"{project} amd64"
