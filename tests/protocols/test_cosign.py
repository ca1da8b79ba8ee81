"""cosign against the registry: signatures as referrers, and as tags in the old way."""

from __future__ import annotations

import pytest

from tests.support.clients.images import SIF_CONFIG, SIF_LAYER, Blob, artifact, image, push
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer
from tests.support.sifs import container, root, squashfs

pytestmark = pytest.mark.clients("cosign")
# Neither a transparency log nor a time stamp authority: what an air-gapped site has.
VERIFY = ("verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true")
VERIFY_OLD = (*VERIFY, "--new-bundle-format=false")
SIGN = ("sign", "--key", "cosign.key", "--signing-config", "services.json", "--yes")
SIGN_OLD = ("sign", "--key", "cosign.key", "--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false", "--yes")


@pytest.fixture
def signer(workplace: Workplace) -> Workplace:
    """A workplace with a key pair and a configuration that names no service."""
    workplace.run("cosign", "generate-key-pair")
    workplace.run("cosign", "signing-config", "create", "--out", "services.json")
    return workplace


def log_in(workplace: Workplace, registry: RoadsteadServer) -> None:
    workplace.run("cosign", "login", registry.host, "-u", "admin", "--password-stdin", stdin=registry.admin_password)


def tags(registry: RoadsteadServer, repository: str) -> list[str]:
    found: list[str] = registry.http().get(f"/v2/{repository}/tags/list").json()["tags"]
    return found


def test_only_who_may_push_may_sign(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}@{whole.digest}"
    assert "UNAUTHORIZED" in signer.refused("cosign", *SIGN, name)
    # `cosign login` asks nobody: the password is first tried by the next command.
    signer.run("cosign", "login", registry.host, "-u", "admin", "-p", "wrong")
    assert "UNAUTHORIZED" in signer.refused("cosign", *SIGN, name)
    log_in(signer, registry)
    signer.run("cosign", *SIGN, name)


def test_a_signature_is_a_referrer(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}"
    signer.refused("cosign", *VERIFY, f"{name}:one")
    log_in(signer, registry)
    signer.run("cosign", *SIGN, f"{name}@{whole.digest}")
    (referrer,) = registry.http(anonymous=True).get(f"/v2/{repository}/referrers/{whole.digest}").json()["manifests"]
    assert referrer["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert tags(registry, repository) == ["one"]
    signer.path(".docker/config.json").unlink()
    assert whole.digest in signer.run("cosign", *VERIFY, f"{name}:one").out


def test_another_key_does_not_verify(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(signer, registry)
    signer.run("cosign", *SIGN, f"{registry.host}/{repository}@{whole.digest}")
    for half in ("cosign.key", "cosign.pub"):
        signer.path(half).unlink()
    signer.run("cosign", "generate-key-pair")
    signer.refused("cosign", *VERIFY, f"{registry.host}/{repository}:one")


def test_a_signature_in_the_old_way_is_a_tag(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(signer, registry)
    name = f"{registry.host}/{repository}@{whole.digest}"
    signer.run("cosign", *SIGN_OLD, name)
    assert tags(registry, repository) == ["one", f"{whole.digest.replace(':', '-')}.sig"]
    assert whole.digest in signer.run("cosign", *VERIFY_OLD, name).out
    signer.run("cosign", "clean", "--force", name)
    signer.refused("cosign", *VERIFY_OLD, name)


def test_a_sif_is_signed_like_an_image(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, container([(root(), squashfs())]))])
    push(registry.http(), repository, "one", whole)
    log_in(signer, registry)
    signer.run("cosign", *SIGN, f"{registry.host}/{repository}@{whole.digest}")
    signer.run("cosign", *VERIFY, f"{registry.host}/{repository}:one")


def test_an_attestation_is_kept(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(signer, registry)
    name = f"{registry.host}/{repository}@{whole.digest}"
    signer.path("predicate.json").write_text('{"scanned": true}')
    signer.run("cosign", "attest", *SIGN[1:], "--type", "custom", "--predicate", "predicate.json", name)
    signer.run("cosign", "verify-attestation", *VERIFY[1:], "--type", "custom", name)
    assert "cosign.sigstore.dev/attestation" in signer.run("cosign", "tree", name).out


def test_a_copy_takes_the_signature_along(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(signer, registry)
    # `cosign copy` knows the signatures under tags only; `oras cp -r` takes referrers along (test_oras).
    signer.run("cosign", *SIGN_OLD, f"{registry.host}/{repository}@{whole.digest}")
    signer.run("cosign", "copy", f"{registry.host}/{repository}:one", f"{registry.host}/{repository}-copy:two")
    signer.run("cosign", *VERIFY_OLD, f"{registry.host}/{repository}-copy:two")
