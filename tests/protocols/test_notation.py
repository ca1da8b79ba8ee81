"""notation against the registry: signatures as referrers, with and without its own index of them under a tag."""

from __future__ import annotations

import json

import pytest

from tests.support.clients.images import ANY_MANIFEST, image, push
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("notation")
HTTP = "--insecure-registry"
TRUST = {
    "version": "1.0",
    "trustPolicies": [
        {
            "name": "tests",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:tests"],
            "trustedIdentities": ["*"],
        }
    ],
}


@pytest.fixture
def signer(workplace: Workplace) -> Workplace:
    """A workplace with a signing key and a policy that trusts it."""
    workplace.run("notation", "cert", "generate-test", "--default", "tests")
    workplace.path("trust.json").write_text(json.dumps(TRUST))
    workplace.run("notation", "policy", "import", "trust.json")
    return workplace


def log_in(workplace: Workplace, registry: RoadsteadServer) -> None:
    # `notation login` stores passwords in a desktop's keyring only; this is its documented way for everybody else.
    workplace.environment |= {"NOTATION_USERNAME": "admin", "NOTATION_PASSWORD": registry.admin_password}


def log_out(workplace: Workplace) -> None:
    for name in ("NOTATION_USERNAME", "NOTATION_PASSWORD"):
        del workplace.environment[name]


def tags(registry: RoadsteadServer, repository: str) -> list[str]:
    found: list[str] = registry.http().get(f"/v2/{repository}/tags/list").json()["tags"]
    return found


def test_login_takes_the_right_password_only(workplace: Workplace, registry: RoadsteadServer) -> None:
    login = ("notation", "login", HTTP, "-u", "admin", "--password-stdin", registry.host)
    said = workplace.refused(*login, stdin="wrong")
    assert "401" in said or "unauthorized" in said.lower()
    assert "could not be saved" in workplace.refused(*login, stdin=registry.admin_password)  # So it was right; but there is no keyring.


@pytest.mark.parametrize("envelope", ["jws", "cose"])
def test_a_signature_is_a_referrer(signer: Workplace, registry: RoadsteadServer, repository: str, envelope: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}@{whole.digest}"
    sign = ("notation", "sign", HTTP, "--force-referrers-tag=false", "--signature-format", envelope, name)
    signer.refused("notation", "verify", HTTP, name)
    assert "unauthorized" in signer.refused(*sign).lower()
    log_in(signer, registry)
    signer.run(*sign)
    (referrer,) = registry.http(anonymous=True).get(f"/v2/{repository}/referrers/{whole.digest}").json()["manifests"]
    assert referrer["artifactType"] == "application/vnd.cncf.notary.signature"
    assert tags(registry, repository) == ["one"]
    log_out(signer)
    assert "Successfully verified" in signer.run("notation", "verify", HTTP, name).out
    assert referrer["digest"] in signer.run("notation", "list", HTTP, name).out


def test_its_own_index_of_signatures_is_replaced(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    # By default it writes the index whatever the registry can do, and deletes the one before.
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(signer, registry)
    name = f"{registry.host}/{repository}@{whole.digest}"
    index = whole.digest.replace(":", "-")
    before = set()
    for count in (1, 2):
        signer.run("notation", "sign", HTTP, name)
        answer = registry.http().get(f"/v2/{repository}/manifests/{index}", headers={"Accept": ANY_MANIFEST})
        assert len(answer.json()["manifests"]) == count
        before.add(answer.headers["Docker-Content-Digest"])
    assert tags(registry, repository) == ["one", index]
    statuses = [registry.http().head(f"/v2/{repository}/manifests/{digest}").status_code for digest in before]
    assert sorted(statuses) == [200, 404]
    assert "Successfully verified" in signer.run("notation", "verify", HTTP, name).out


def test_what_another_has_signed_is_not_trusted(signer: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(signer, registry)
    name = f"{registry.host}/{repository}@{whole.digest}"
    signer.run("notation", "cert", "generate-test", "stranger")
    signer.run("notation", "sign", HTTP, "--key", "stranger", name)
    assert "signature verification failed" in signer.refused("notation", "verify", HTTP, name)
