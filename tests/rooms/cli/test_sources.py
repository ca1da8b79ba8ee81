"""`roadstead source|group`, through the real program, on a database of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rooms.cli.test_administration import GOOD, Site
from tests.support.slapd import READER, READER_SECRET, Slapd


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def test_sources_are_added_ordered_and_removed(site: Site, tmp_path: Path) -> None:
    base = ("--base", "ou=people,dc=example,dc=org")
    made = site.told("source", "add-ldap", "cluster", "--url", "ldaps://ldap.example.org", *base, "--bind", READER, said="secret\n")
    assert (made["name"], made["kind"], made["has_secret"], made["settings"]["bind_dn"]) == ("cluster", "ldap", True, READER)
    assert "secret\n" not in str(made)
    options = ("--issuer", "https://login.example.org", "--client-id", "registry", "--set", "onboarding=false", "--set", "name_claim=uid")
    sso = site.told("source", "add-oidc", "sso", *options, said="\n")
    assert (sso["has_secret"], sso["settings"]["onboarding"], sso["settings"]["name_claim"]) == (False, False, "uid")
    assert "sso" in site.done("source", "move", "sso", "1")
    assert [row["name"] for row in site.told("source", "list")] == ["sso", "cluster"]
    assert "ldaps://ldap.example.org" in site.run("source", "list").stdout
    site.done("source", "disable", "sso")
    assert [row["enabled"] for row in site.told("source", "list")] == [False, True]
    site.done("source", "disable", "sso", "--undo")
    site.done("source", "remove", "cluster")
    assert [row["name"] for row in site.told("source", "list")] == ["sso"]
    assert "cluster" in site.refused("source", "remove", "cluster")


def test_sources_that_cannot_work_are_refused(site: Site, tmp_path: Path) -> None:
    base = ("--base", "dc=example,dc=org")
    assert "unencrypted" in site.refused("source", "add-ldap", "x", "--url", "ldap://x", *base)
    assert "nest" in site.refused("source", "add-ldap", "x", "--url", "ldaps://x", *base, "--set", "nest=1")
    assert "name=value" in site.refused("source", "add-ldap", "x", "--url", "ldaps://x", *base, "--set", "nesting")
    assert "nowhere.pem" in site.refused("source", "add-ldap", "x", "--url", "ldaps://x", *base, "--ca", str(tmp_path / "nowhere.pem"))
    assert "bind DN" in site.refused("source", "add-ldap", "x", "--url", "ldaps://x", *base, "--bind", "cn=x", said="\n")


def test_a_source_is_tried(site: Site, slapd: Slapd, tmp_path: Path) -> None:
    tree, authority = slapd.fresh_tree(), tmp_path / "ca.pem"
    authority.write_text(slapd.ca)
    options = ("--start-tls", "--base", f"ou=people,{tree.base}", "--bind", READER)
    trusted = ("--url", slapd.url, *options, "--ca", str(authority))
    site.told("source", "add-ldap", "cluster", *trusted, "--groups", f"ou=groups,{tree.base}", said=READER_SECRET + "\n")
    steps = site.told("source", "check", "cluster")
    assert [step["what"] for step in steps] == ["connection", "bind", "base", "filter", "groups"]
    site.told("source", "add-ldap", "foreign", "--url", slapd.url, *options, said=READER_SECRET + "\n")
    done = site.run("source", "check", "foreign")
    assert done.returncode == 1
    assert "certificate that is not trusted" in done.stdout


def test_groups(site: Site) -> None:
    site.told("user", "add", "grace", said=GOOD + "\n")
    site.told("project", "add", "climate")
    options = ("--issuer", "https://login.example.org", "--client-id", "registry")
    site.told("source", "add-oidc", "sso", *options, said="secret\n")
    own = site.told("group", "add", "modellers")
    other = site.told("group", "add", "operators", "--source", "sso", "--id", "ops")
    assert (own["source"], other["external_id"]) == ("local", "ops")
    assert site.told("group", "list") == [own, other]
    (row,) = site.told("group", "member", "modellers", "grace")
    assert row["name"] == "grace"
    assert "sso" in site.refused("group", "member", "operators", "grace")
    (member,) = site.told("project", "member", "climate", "--group", "modellers", "--role", "maintainer")
    assert (member["holder"], member["role"], member["group_id"]) == ("modellers", "maintainer", own["id"])
    assert site.told("project", "member", "climate", "modellers", "--remove") == [member], "that would be an account"
    assert site.told("project", "member", "climate", "--group", "modellers", "--remove") == []
    assert site.told("group", "member", "modellers", "grace", "--remove") == []
    site.done("group", "remove", "modellers")
    assert "modellers" in site.refused("group", "remove", "modellers")
    assert "nowhere" in site.refused("project", "member", "climate", "--group", "nowhere")
