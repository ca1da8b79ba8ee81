"""Logins by other sources on a running server: a directory that loses a group and then goes down, and a provider by browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.protocols.http.exchange import client
from tests.rooms.cli.test_administration import GOOD, Site
from tests.support.oidc_provider import CLIENT, REDIRECT, OidcProvider
from tests.support.server import RoadsteadServer, poll
from tests.support.slapd import READER, READER_SECRET, Slapd, start_slapd


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """The commands, on the data of `server`."""
    return Site(tmp_path / "data")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RoadsteadServer]:
    public = f"{urlsplit(REDIRECT).scheme}://{urlsplit(REDIRECT).netloc}"
    environment = {"ROADSTEAD_LOGIN_REFRESH_MINUTES": "0.005", "ROADSTEAD_PUBLIC_URL": public}
    with RoadsteadServer(tmp_path / "data", environment) as running:
        yield running


def status(server: RoadsteadServer, name: str, password: str) -> int:
    """What the server answers to a name and a password."""
    with client(server, anonymous=True) as http:
        answer: httpx2.Response = http.get("/service/token", auth=(name, password))
        if answer.status_code == 503:
            assert "'cluster' does not answer" in answer.text
        return answer.status_code


def test_a_group_that_goes_and_a_directory_that_goes(server: RoadsteadServer, site: Site, slapd: Slapd, tmp_path: Path) -> None:
    with closing(start_slapd()) as starting:
        own, authority = next(starting), tmp_path / "authority.pem"
        tree, other = own.fresh_tree(), slapd.fresh_tree()
        for name, here, there in (("cluster", own, tree), ("campus", slapd, other)):
            authority.write_text(here.ca)
            where = ("--url", here.url, "--start-tls", "--ca", str(authority), "--base", f"ou=people,{there.base}")
            groups = ("--groups", f"ou=groups,{there.base}", "--set", "timeout_seconds=2")
            site.told("source", "add-ldap", name, *where, *groups, "--bind", READER, said=READER_SECRET + "\n")
        grace, _heidi = tree.person("grace", GOOD), other.person("heidi", GOOD)
        climate = tree.group("climate", grace, tree.person("ivan", GOOD))
        site.told("project", "add", "climate")
        site.told("group", "add", "modellers", "--source", "cluster", "--id", climate)
        site.told("project", "member", "climate", "--group", "modellers", "--role", "developer")
        assert (status(server, "grace", GOOD), status(server, "grace", "wrong"), status(server, "heidi", GOOD)) == (200, 401, 200)
        secret = site.told("token", "add", "grace", "laptop")["secret"]
        assert projects(server, "grace", secret) == ["climate", "library"]
        tree.take_out(climate, grace)
        assert poll(lambda: projects(server, "grace", secret) == ["library"]), "the token lives, and what the group gave is gone"
    assert status(server, "ivan", GOOD) == 503
    assert status(server, "grace", "wrong") == 503
    assert status(server, "heidi", GOOD) == 200
    assert status(server, "admin", server.admin_password) == 200
    assert status(server, "grace", secret) == 200


def projects(server: RoadsteadServer, name: str, secret: str) -> list[str]:
    with client(server, anonymous=True) as http:
        answer = http.get("/api/v2.0/projects", auth=(name, secret))
        assert answer.status_code == 200
        return [row["name"] for row in answer.json()]


def test_a_browser_logs_in_at_a_provider(server: RoadsteadServer, site: Site, oidc_provider: OidcProvider, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(oidc_provider.ca)
    options = ("--issuer", oidc_provider.issuer, "--client-id", CLIENT, "--ca", str(tmp_path / "ca.pem"))
    site.told("source", "add-oidc", "sso", *options, said=oidc_provider.secret + "\n")
    oidc_provider.set_accounts({"s-grace": {"preferred_username": "grace"}})
    with server.http(anonymous=True) as browser:
        away = browser.get("/c/oidc/sso/login")
        assert away.status_code in (302, 303)
        cookies = SimpleCookie()
        for line in away.headers.get_list("set-cookie"):
            cookies.load(line)
        kept = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
        query = oidc_provider.log_in(away.headers["location"], "s-grace")
        assert browser.get("/c/oidc/callback", params=query).status_code == 401, "another browser"
        back = browser.get("/c/oidc/callback", params=query, headers={"Cookie": kept})
        assert back.status_code in (302, 303), back.text
    assert [row["name"] for row in site.told("user", "list")] == ["admin", "grace"]
