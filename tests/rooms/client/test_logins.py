"""Logins are kept where docker keeps them, and what else stands in its file stays."""

from __future__ import annotations

import base64
import json
import re
import stat
from pathlib import Path

import pytest

from roadstead.client.locations import parse_location
from roadstead.client.logins import Login, Logins
from roadstead.errors import InvalidName, Misconfigured

HELPER = """#!/bin/sh
store="$(dirname "$0")/kept"
case "$1" in
  store) cat > "$store" ;;
  get) [ -f "$store" ] && cat "$store" || { echo "credentials not found in native keychain"; exit 1; } ;;
  erase) rm -f "$store" ;;
esac
"""


def test_a_login_is_kept_beside_what_stands_there_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"detachKeys": "ctrl-e", "auths": {"other:1": {"auth": "eDp5"}}}))
    file.chmod(0o644)
    logins = Logins(tmp_path)
    logins.keep("registry:5000", Login("ada", "a:b"))
    assert logins.find("registry:5000") == Login("ada", "a:b")
    assert logins.find("other:1") == Login("x", "y")
    assert json.loads(file.read_text())["detachKeys"] == "ctrl-e"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert logins.forget("registry:5000") is True
    assert logins.forget("registry:5000") is False
    assert logins.find("registry:5000") is None
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_new_folder_is_its_owners_alone(tmp_path: Path) -> None:
    Logins(tmp_path / "new").keep("registry:5000", Login("ada", "b"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("settings", [{"credsStore": "safe"}, {"credHelpers": {"registry:5000": "safe"}}])
def test_a_helper_keeps_the_secret_out_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]) -> None:
    program = tmp_path / "docker-credential-safe"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    logins = Logins(tmp_path)
    assert logins.find("registry:5000") is None
    assert logins.keep("registry:5000", Login("ada", "a keel of oak")) == "docker-credential-safe"
    assert "oak" not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "kept").read_text())["ServerURL"] == "registry:5000"
    assert logins.find("registry:5000") == Login("ada", "a keel of oak")
    assert logins.forget("registry:5000") is True
    assert not (tmp_path / "kept").exists()


def test_a_missing_helper_and_a_broken_file_are_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "nowhere-to-be-found"}')
    with pytest.raises(Misconfigured, match="docker-credential-nowhere-to-be-found"):
        Logins(tmp_path).find("registry:5000")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Misconfigured, match=r"config\.json"):
        Logins(tmp_path).find("registry:5000")


def test_the_identity_token_of_docker_is_found(tmp_path: Path) -> None:
    entry = {"auth": base64.b64encode(b"admin:").decode(), "identitytoken": "a keel of oak"}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry:5000": entry}}))
    assert Logins(tmp_path).find("registry:5000") == Login("admin", "", "a keel of oak")
    Logins(tmp_path).keep("registry:5000", Login("ada", "b"))
    assert Logins(tmp_path).find("registry:5000") == Login("ada", "b")


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> Logins:
    program = folder / "docker-credential-says"
    (folder / "said").write_text(said)
    program.write_text('#!/bin/sh\ncat "$(dirname "$0")/said"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    (folder / "config.json").write_text('{"credsStore": "says"}')
    return Logins(folder)


def test_the_identity_token_of_a_helper_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.dumps({"ServerURL": "registry:5000", "Username": "<token>", "Secret": "a keel of oak"})
    assert helper(tmp_path, monkeypatch, said).find("registry:5000") == Login("", "", "a keel of oak")


@pytest.mark.parametrize("said", ["hello", "[]", '{"Username": "ada"}', '{"Username": 1, "Secret": "x"}'])
def test_a_helper_that_says_something_else_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    with pytest.raises(Misconfigured, match="docker-credential-says"):
        helper(tmp_path, monkeypatch, said).find("registry:5000")


@pytest.mark.parametrize("said", ['{"auths": null}', '{"auths": {"registry:5000": null}}', '{"auths": {"registry:5000": {}}}', "{}"])
def test_where_nothing_is_kept_there_is_no_login(tmp_path: Path, said: str) -> None:
    (tmp_path / "config.json").write_text(said)
    logins = Logins(tmp_path)
    assert logins.find("registry:5000") is None
    logins.forget("registry:5000")
    logins.keep("registry:5000", Login("ada", "b"))
    assert logins.find("registry:5000") == Login("ada", "b")


@pytest.mark.parametrize("auth", ["/w==", "abc", 5, ["x"]], ids=["not UTF-8", "not base64", "a number", "a list"])
def test_a_login_that_cannot_be_read_is_told_by_the_files_name(tmp_path: Path, auth: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry:5000": {"auth": auth}}}))
    with pytest.raises(Misconfigured, match=r"config\.json"):
        Logins(tmp_path).find("registry:5000")


def test_a_file_that_is_no_text_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"auths": "\xff"}')
    with pytest.raises(Misconfigured, match=r"config\.json"):
        Logins(tmp_path).find("registry:5000")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "config.json").symlink_to(tmp_path / "elsewhere" / "docker.json")
    (tmp_path / "elsewhere" / "docker.json").write_text('{"detachKeys": "ctrl-e"}')
    Logins(tmp_path).keep("registry:5000", Login("ada", "b"))
    assert (tmp_path / "config.json").is_symlink()
    kept = tmp_path / "elsewhere" / "docker.json"
    assert set(json.loads(kept.read_text())) == {"detachKeys", "auths"}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["docker.json"]


def test_a_secret_is_not_shown_by_accident() -> None:
    assert "oak" not in repr(Login("ada", "oak", "oak"))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("registry.example.org/lab/tool", "registry.example.org/lab/tool:latest"),
        ("oras://localhost/lab/deep/tool:1.0", "localhost/lab/deep/tool:1.0"),
        ("127.0.0.1:5000/lab/tool@sha256:" + "a" * 64, "127.0.0.1:5000/lab/tool@sha256:" + "a" * 64),
    ],
)
def test_a_location_is_read_as_other_clients_read_it(text: str, written: str) -> None:
    assert parse_location(text).text == written


def test_a_name_without_a_registry_is_told_how_to_write_it() -> None:
    with pytest.raises(InvalidName, match="HOST/project/image:tag"):
        parse_location("lab/tool:1.0")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("foo:bar", "HOST/library/foo:bar"),
        ("alpine:3.19", "HOST/library/alpine:3.19"),
        ("lab/tool", "HOST/lab/tool"),
        (":5000", "names no registry"),
        ("registry:abc/lab/tool", "names no registry"),
        ("ada@registry.example.org/lab/tool", "names no registry"),
        ("registry:70000/lab/tool", "no such port"),
        ("[::1/lab/tool", "names no registry"),
        ("localhost:5000", "localhost:5000/project/image:tag"),
        ("", "names no registry"),
    ],
)
def test_what_names_no_image_at_a_registry_is_told_what_to_write(text: str, told: str) -> None:
    with pytest.raises(InvalidName, match=re.escape(told)):
        parse_location(text)
