"""`roadstead user|project|token|robot`, through the real program, on a database of its own."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from roadstead.access.secret import looks_like_secret
from tests.support import program
from tests.support.pem import public_pem

GOOD = "correct horse battery"


class Site:
    """The program at work on one data directory, which it has made."""

    def __init__(self, data: Path) -> None:
        self._data = data
        assert self.run("db", "upgrade").returncode == 0

    def run(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command, with `said` on its standard input."""
        return program.run((*arguments, "--data", str(self._data)), {**program.without_settings(), "NO_COLOR": "1"}, said=said)

    def told(self, *arguments: str, said: str = "") -> Any:
        """What a command that succeeds prints as JSON."""
        done = self.run(*arguments, "--json", said=said)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def done(self, *arguments: str, said: str = "") -> str:
        """What a command that succeeds without a result says."""
        done = self.run(*arguments, said=said)
        assert (done.returncode, done.stdout) == (0, "")
        return done.stderr

    def refused(self, *arguments: str, said: str = "") -> str:
        """The one message of a command that fails."""
        done = self.run(*arguments, said=said)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("roadstead: ")
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def test_people(site: Site) -> None:
    made = site.told("user", "add", "grace", "--email", "grace@example.org", said=GOOD + "\n")
    assert (made["name"], made["email"], made["is_admin"], made["source"]) == ("grace", "grace@example.org", False, "local")
    assert "password" not in str(made)
    assert "password" in site.refused("user", "add", "heidi", said="short\n")
    assert "grace" in site.refused("user", "add", "grace", said=GOOD + "\n")
    assert "administrator" in site.done("user", "admin", "grace")
    assert "disabled" in site.done("user", "disable", "grace")
    (row,) = site.told("user", "list")
    assert row["is_admin"] is True
    assert datetime.fromisoformat(row["disabled_at"]).tzinfo is not None
    site.done("user", "admin", "grace", "--undo")
    site.done("user", "disable", "grace", "--undo")
    site.done("user", "passwd", "grace", "--end-sessions", said="another horse battery\n")
    assert site.told("user", "list") == [made]
    assert "nobody" in site.refused("user", "passwd", "nobody", said=GOOD + "\n")


def test_an_account_gets_a_secret_for_tools_and_ends(site: Site) -> None:
    site.told("user", "add", "grace", said=GOOD + "\n")
    made = site.told("user", "secret", "grace")
    assert looks_like_secret(made["secret"])
    again = site.run("user", "secret", "grace")
    assert looks_like_secret(again.stdout.strip()), "standard output is the secret and nothing else"
    assert again.stdout.strip() != made["secret"]
    assert "nobody" in site.refused("user", "secret", "nobody")
    assert site.told("user", "remove", "grace")["name"] == "grace"
    assert site.told("user", "list") == []
    site.refused("user", "remove", "grace")


def test_quotas(site: Site) -> None:
    site.told("project", "add", "climate")
    first = site.told("project", "quota", "climate")
    assert (first["project"], first["limit"], first["used"]) == ("climate", None, 0)
    assert site.told("project", "quota", "climate", "--limit", "100GiB")["limit"] == 100 << 30
    shown = site.run("project", "quota", "climate").stdout
    assert shown.splitlines()[0].split() == ["project", "limit", "used", "stored", "uploading"]
    assert "100.0 GiB" in shown
    assert site.told("project", "quota", "climate", "--limit", "1.5 tb")["limit"] == 1_500_000_000_000
    assert site.told("project", "quota", "climate", "--limit", "None")["limit"] is None
    for wrong in ("much", "-5", "10 apples", "99999999PiB"):
        assert wrong in site.refused("project", "quota", "climate", f"--limit={wrong}")
    assert "nowhere" in site.refused("project", "quota", "nowhere")
    assert "nowhere" in site.refused("project", "quota", "nowhere", "--limit", "1GiB")


def test_what_a_project_converts(site: Site) -> None:
    site.told("project", "add", "climate")
    first = {"project": "climate", "when": "demand", "anonymous": False, "platforms": ["linux/amd64"], "sif_as_image": True}
    assert site.told("project", "conversion", "climate") == first
    wanted = ("--when", "push", "--anonymous", "--platforms", "linux/amd64,linux/arm64", "--no-sif-as-image")
    changed = {**first, "when": "push", "anonymous": True, "platforms": ["linux/amd64", "linux/arm64"], "sif_as_image": False}
    assert site.told("project", "conversion", "climate", *wanted) == changed
    assert site.told("project", "conversion", "climate", "--no-anonymous") == {**changed, "anonymous": False}
    shown = site.run("project", "conversion", "climate").stdout.splitlines()
    assert shown[1].split() == ["climate", "linux/amd64,", "linux/arm64", "push", "false", "false"]
    assert "windows/amd64" in site.refused("project", "conversion", "climate", "--platforms", "windows/amd64")
    assert "nowhere" in site.refused("project", "conversion", "nowhere", "--when", "off")
    assert site.run("project", "conversion", "climate", "--when", "always").returncode == 2


def test_whom_a_project_trusts(site: Site, tmp_path: Path) -> None:
    site.told("project", "add", "climate")
    assert site.told("project", "trust", "climate") == {"only_signed_sifs": False, "only_signed_images": False, "keys": []}
    assert "trusts no key" in site.refused("project", "trust", "climate", "--only-signed-images")
    key = tmp_path / "cosign.pub"
    key.write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1())))
    trusted = site.told("project", "trust", "climate", "--add", str(key), "--called", "the build", "--only-signed-images")
    assert (trusted["only_signed_images"], trusted["only_signed_sifs"]) == (True, False)
    ((kind, name, fingerprint),) = [(one["kind"], one["name"], one["fingerprint"]) for one in trusted["keys"]]
    assert (kind, name) == ("public-key", "the build")
    assert "only signed images: yes" in site.run("project", "trust", "climate").stdout
    assert "last key" in site.refused("project", "trust", "climate", "--remove", fingerprint)
    assert site.told("project", "trust", "climate", "--no-only-signed-images", "--remove", fingerprint)["keys"] == []
    key.write_text("-----BEGIN PUBLIC KEY-----\n")
    assert "cannot be read" in site.refused("project", "trust", "climate", "--add", str(key))


def test_an_empty_project_is_removed(site: Site) -> None:
    site.told("project", "add", "climate")
    robot = site.told("robot", "add", "ci", "--project", "climate")
    assert site.told("project", "remove", "climate")["name"] == "climate"
    assert site.told("project", "list") == []
    site.refused("robot", "rotate", str(robot["id"]))
    assert "climate" in site.refused("project", "remove", "climate")
    site.told("project", "add", "climate")
    assert "removed" in site.done("project", "remove", "climate")


def test_a_table_is_not_cut_in_a_pipe(site: Site) -> None:
    name, email = "g" * 60, f"{'e' * 60}@example.org"
    site.told("user", "add", name, "--email", email, said=GOOD + "\n")
    listed = site.run("user", "list").stdout
    heading, row = listed.splitlines()
    assert heading.split()[:3] == ["id", "name", "is_admin"]
    assert name in row
    assert email in row


def test_projects_and_members(site: Site) -> None:
    site.told("user", "add", "grace", said=GOOD + "\n")
    made = site.told("project", "add", "climate", "--description", "Models")
    assert (made["name"], made["public"], made["description"]) == ("climate", False, "Models")
    assert site.told("project", "add", "open", "--public")["public"] is True
    assert [row["name"] for row in site.told("project", "list")] == ["climate", "open"]
    assert "climate" in site.refused("project", "add", "climate")
    site.refused("project", "add", "Climate")
    assert site.told("project", "member", "climate") == []
    site.told("project", "member", "climate", "grace", "--role", "guest")
    both = site.told("project", "member", "climate", "grace", "--role", "maintainer", "--path", "team/*")
    assert [(row["holder"], row["role"], row["path"]) for row in both] == [("grace", "guest", ""), ("grace", "maintainer", "team/")]
    assert "already" in site.refused("project", "member", "climate", "grace")
    assert site.told("project", "member", "climate", "grace", "--remove") == []
    assert "nowhere" in site.refused("project", "member", "nowhere")
    assert site.run("project", "member", "climate", "grace", "--role", "king").returncode == 2


def test_tokens(site: Site) -> None:
    site.told("user", "add", "grace", said=GOOD + "\n")
    project = site.told("project", "add", "climate")
    made = site.told("token", "add", "grace", "laptop", "--level", "write", "--project", "climate", "--days", "30")
    secret = made.pop("secret")
    assert looks_like_secret(secret)
    assert secret.startswith(made["hint"])
    assert (made["name"], made["level"], made["project_ids"]) == ("laptop", "write", [project["id"]])
    life = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert abs(life - timedelta(days=30)) < timedelta(seconds=5)
    assert site.told("token", "list", "grace") == [made]
    bare = site.run("token", "add", "grace", "script")
    assert looks_like_secret(bare.stdout.strip()), "standard output is the secret and nothing else"
    assert str(made["id"]) in site.done("token", "revoke", "grace", str(made["id"]))
    assert [row["name"] for row in site.told("token", "list", "grace")] == ["script"]
    site.refused("token", "revoke", "grace", str(made["id"]))
    site.refused("token", "add", "grace", "x", "--project", "nowhere")
    site.refused("token", "add", "grace", "x", "--days", "0")
    site.refused("token", "list", "nobody")


def test_robots(site: Site) -> None:
    site.told("project", "add", "climate")
    made = site.told("robot", "add", "ci", "--project", "climate", "--may", "push", "--days", "7")
    secret = made.pop("secret")
    assert looks_like_secret(secret)
    assert made["name"] == "robot$climate+ci"
    assert site.told("robot", "list", "--project", "climate") == [made]
    assert site.told("robot", "list") == []
    everywhere = site.told("robot", "add", "mirror")
    assert [row["name"] for row in site.told("robot", "list")] == ["robot$mirror"]
    rotated = site.told("robot", "rotate", str(made["id"]))["secret"]
    assert looks_like_secret(rotated)
    assert rotated != secret
    stopped = site.told("robot", "disable", str(everywhere["id"]))
    assert datetime.fromisoformat(stopped["disabled_at"]).tzinfo is not None
    assert "enabled" in site.done("robot", "disable", str(everywhere["id"]), "--undo")
    assert site.told("robot", "list")[0]["disabled_at"] is None
    site.refused("robot", "disable", "999")
    site.done("robot", "remove", str(everywhere["id"]))
    assert site.told("robot", "list") == []
    site.refused("robot", "remove", str(everywhere["id"]))
    site.refused("robot", "add", "ci", "--project", "climate")
    assert "nowhere" in site.refused("robot", "add", "ci", "--project", "nowhere")
    assert "push" in site.refused("robot", "add", "other", "--may", "fly")


def test_the_audit_log(site: Site) -> None:
    site.told("project", "add", "climate")
    site.told("user", "add", "grace", said=GOOD + "\n")
    rows = site.told("audit")
    assert [(row["actor"], row["action"], row["resource_type"], row["resource"]) for row in rows] == [
        ("system", "create", "project", "climate"),
        ("system", "create", "user", "grace"),
    ]
    assert site.told("audit", "--project", "climate") == rows[:1]
    assert site.told("audit", "--actor", "grace") == site.told("audit", "--since", "2999-01-01") == []
    assert site.told("audit", "--since", "1h", "--result", "success", "--action", "create", "--limit", "1") == rows[1:]
    assert "climate" in site.run("audit").stdout
    assert "no project" in site.refused("audit", "--project", "no-such")
    assert site.run("audit", "--since", "yesterday").returncode == 2
    assert site.run("audit", "purge", "--older-than", "soon").returncode == 2
    assert "0 entries" in site.done("audit", "purge", "--older-than", "90d")
    assert "2 entries" in site.done("audit", "purge", "--older-than", "0d")
    assert [(row["action"], row["resource_type"], row["amount"]) for row in site.told("audit")] == [("purge", "audit", 2)]
