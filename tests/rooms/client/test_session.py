"""What a registry may have of a login, and what others may not; and answers that are not a registry's."""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadstead.client.locations import parse_location
from roadstead.client.logins import Login
from roadstead.client.management import begin_conversions, find, has_project
from roadstead.client.session import Session
from roadstead.client.upload import put_blob
from roadstead.errors import Misconfigured, RoadsteadError, Unauthenticated, Unavailable
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from tests.support.origin import Answer, Answered, Asked, Origin

ADA = Login("ada", "a keel of oak")
BASIC = f"Basic {b64encode(b'ada:a keel of oak').decode()}"
TOKEN = Login("ada", "", "an identity token")
TOOL, ONE = RepositoryName("lab/tool"), TagName("1")
BLOB = b"some bytes"
DIGEST = Digest.of(BLOB)


def says(value: object, status: int = 200, **headers: str) -> Answered:
    return Answered(status, json.dumps(value).encode(), {name.replace("_", "-"): said for name, said in headers.items()})


def challenge(realm: str, scope: str = "") -> Answered:
    return Answered(401, b"", {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"' + (f',scope="{scope}"' if scope else "")})


@contextlib.contextmanager
def session(answer: Answer, login: Login | None = ADA) -> Iterator[tuple[Session, Origin]]:
    with Origin(answer) as origin, Session(origin.host, login, plain_http=True) as opened:
        yield opened, origin


@contextlib.contextmanager
def two(here: Answer, there: Answer, login: Login | None = ADA) -> Iterator[tuple[Session, Origin, Origin]]:
    """A registry, and another machine, which it may lead to by the name in `there.url`."""
    with Origin(there, "localhost") as other, session(here, login) as (opened, origin):
        yield opened, origin, other


def wanting(asked: Asked, token: str = "Bearer t") -> bool:
    return asked.headers.get("authorization") != token


def test_a_token_is_fetched_with_the_login_from_the_registrys_own_realm() -> None:
    def answer(asked: Asked) -> Answered:
        if asked.path.startswith("/token"):
            return says({"token": "t"})
        return challenge(f"http://{asked.headers['host']}/token") if wanting(asked) else says({"tags": ["1"]})

    with session(answer) as (opened, origin):
        assert opened.tags(TOOL) == ["1"]
        assert origin.credentials() == {BASIC, "Bearer t"}


@pytest.mark.parametrize("login", [ADA, TOKEN], ids=["password", "identity token"])
def test_who_holds_the_blobs_gets_no_login_whatever_it_asks_for(login: Login) -> None:
    def there(asked: Asked) -> Answered:
        return says({"token": "t"}) if asked.path.startswith("/token") else challenge(f"http://{asked.headers['host']}/token")

    def here(asked: Asked) -> Answered:
        if asked.path.startswith("/token"):
            return says({"token": "t"})
        if wanting(asked):
            return challenge(f"http://{asked.headers['host']}/token")
        return Answered(307, b"", {"Location": f"{other.url}/blob"})

    with two(here, there, login) as (opened, _, other):
        with pytest.raises(Unavailable, match="localhost, which wants a login"):
            opened.request("GET", f"/v2/{TOOL}/blobs/{DIGEST}")
        assert [asked.path for asked in other.asked] == ["/blob"]
        assert other.credentials() == set()


@pytest.mark.parametrize("login", [ADA, TOKEN], ids=["password", "identity token"])
def test_a_realm_elsewhere_without_tls_gets_no_login(login: Login) -> None:
    with two(lambda _: challenge(f"{other.url}/token"), lambda _: says({"token": "t"}), login) as (opened, _, other):
        with pytest.raises(Unauthenticated, match="without TLS"):
            opened.tags(TOOL)
        assert other.asked == []


@pytest.mark.parametrize(("realm", "goes"), [("https://auth.example.org/token", True), ("http://127.0.0.1/token", False), ("", False)])
def test_a_registry_with_tls_sends_for_tokens_over_tls_alone(realm: str, goes: bool) -> None:
    with Session("127.0.0.1", ADA) as secure, contextlib.nullcontext() if goes else pytest.raises(Unauthenticated):
        assert secure._trusted(realm) == realm


def test_a_token_server_that_leads_elsewhere_takes_nothing_along() -> None:
    for login in (ADA, TOKEN):

        def here(asked: Asked) -> Answered:
            if asked.path.startswith("/token"):
                return Answered(307, b"", {"Location": f"{other.url}/token"})
            return challenge(f"http://{asked.headers['host']}/token")

        with two(here, lambda _: says({"token": "t"}), login) as (opened, _, other):
            with pytest.raises(RoadsteadError):
                opened.tags(TOOL)
            assert other.credentials() == set()


def test_a_list_that_goes_on_elsewhere_and_an_upload_elsewhere_get_no_login() -> None:
    def here(asked: Asked) -> Answered:
        if asked.path.startswith("/token"):
            return says({"token": "t"})
        if wanting(asked):
            return challenge(f"http://{asked.headers['host']}/token")
        if "/tags/" in asked.path:
            return says({"tags": ["1"]}, Link=f'<{other.url}/more>; rel="next"')
        if asked.method == "POST":
            return Answered(202, b"", {"Location": f"{other.url}/upload"})
        return Answered(404)

    def there(asked: Asked) -> Answered:
        return says({"tags": ["2"]}) if asked.method == "GET" else Answered(201)

    with two(here, there) as (opened, _, other):
        assert opened.tags(TOOL) == ["1", "2"]
        put_blob(opened, TOOL, DIGEST, len(BLOB), lambda: iter((BLOB,)))
        assert [(asked.method, asked.body) for asked in other.asked] == [("GET", b""), ("PUT", BLOB)]
        assert other.credentials() == set()


@pytest.mark.parametrize("location", ["relative", "whole"])
def test_content_goes_up_once_and_one_token_serves_for_a_repository(location: str) -> None:
    def answer(asked: Asked) -> Answered:
        own = f"http://{asked.headers['host']}"
        if asked.path.startswith("/token"):
            return says({"token": "pull" if "push" not in asked.path else "push"})
        scope = "pull" if asked.method in ("GET", "HEAD") else "push"
        if wanting(asked, f"Bearer {scope}"):
            return challenge(f"{own}/token", f"repository:{TOOL}:{scope}")
        if asked.method == "POST":
            return Answered(202, b"", {"Location": f"{own if location == 'whole' else ''}/v2/{TOOL}/blobs/uploads/1"})
        return Answered(404 if asked.method == "HEAD" else 201)

    with session(answer) as (opened, origin):
        for _ in range(3):
            put_blob(opened, TOOL, DIGEST, len(BLOB), lambda: iter((BLOB,)))
            opened.put_manifest(TOOL, ONE, b"{}", "application/vnd.oci.image.manifest.v1+json")
        assert sum(asked.body == BLOB for asked in origin.asked) == 3
        assert len([asked for asked in origin.asked if asked.path.startswith("/token")]) == 2


def test_an_identity_token_is_turned_into_tokens_and_shown_to_the_realm_alone() -> None:
    def answer(asked: Asked) -> Answered:
        if asked.path == "/token":
            assert (asked.method, b"grant_type=refresh_token" in asked.body) == ("POST", True)
            return says({"access_token": "t"})
        if wanting(asked):
            return challenge(f"http://{asked.headers['host']}/token")
        return says({"project": [{"name": "lab"}], "repository": [], "tags": ["1"], "repositories": ["lab/tool"]})

    with session(answer, TOKEN) as (opened, origin):
        assert opened.tags(TOOL) == ["1"]
        assert opened.repositories() == ["lab/tool"]
        assert find(opened, "lab").projects == ["lab"]
        assert all(
            "registry%3Acatalog" in asked.body.decode() for asked in origin.asked if asked.path == "/token" and b"scope" in asked.body
        )
        assert {asked.path for asked in origin.asked if b"identity" in asked.body} == {"/token"}


def test_the_management_apis_refusal_is_a_refused_login() -> None:
    refused = says({"errors": [{"message": "The user name or password is wrong."}]}, 401, WWW_Authenticate='Bearer realm="roadstead"')
    place = parse_location("127.0.0.1:1/lab/tool:1")
    with session(lambda _: refused) as (opened, origin):
        with pytest.raises(Unauthenticated, match="is wrong"):
            find(opened, "lab")
        with pytest.raises(Unauthenticated, match="is wrong"):
            begin_conversions(opened, place)
        assert has_project(opened, "lab") is False
        assert len(origin.asked) == 3


HTML = Answered(200, b"<html>hello</html>")
LIES = {
    "no JSON": HTML,
    "another JSON": says(["no list of tags"]),
    "a manifest that is none": Answered(200, b"{}", {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}),
    "a digest that is none": Answered(200, b"{}", {"Docker-Content-Digest": "nonsense"}),
    "a way that leads nowhere": Answered(307, b"", {"Location": "http://[nonsense/"}),
    "a way that leads round": Answered(307, b"", {"Location": "/v2/"}),
    "a port that is none": Answered(307, b"", {"Location": "http://127.0.0.1:abc/"}),
    "a list that goes on nowhere": says({"tags": ["1"]}, Link='<http://[nonsense/>; rel="next"'),
    "another encoding": Answered(200, b"\xff\xfe", {"Content-Type": "application/json"}),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_is_no_registrys_answer_is_told_in_a_sentence(lie: Answered) -> None:
    for login in (None, ADA):
        with session(lambda _: lie, login) as (opened, _):
            with pytest.raises(Unavailable):
                opened.manifest(TOOL, ONE)
            with contextlib.suppress(Unavailable):
                opened.tags(TOOL)
            with contextlib.suppress(Unavailable, Unauthenticated):
                opened.repositories()


@pytest.mark.parametrize("said", [b"{}", b"[]", b"no json", b'{"token": 5}'])
def test_an_answer_without_a_token_is_told(said: bytes) -> None:
    def answer(asked: Asked) -> Answered:
        return Answered(200, said) if asked.path.startswith("/token") else challenge(f"http://{asked.headers['host']}/token")

    with session(answer) as (opened, _), pytest.raises(Unavailable):
        opened.tags(TOOL)


def test_an_upload_that_goes_nowhere_is_told() -> None:
    def answer(asked: Asked) -> Answered:
        return Answered(404 if asked.method == "HEAD" else 202)

    with session(answer) as (opened, _), pytest.raises(Unavailable, match="where the upload goes"):
        put_blob(opened, TOOL, DIGEST, len(BLOB), lambda: iter((BLOB,)))


def test_an_upload_that_is_sent_elsewhere_while_it_goes_on_is_told() -> None:
    def answer(asked: Asked) -> Answered:
        if asked.method == "POST":
            return Answered(202, b"", {"Location": "/upload"})
        return Answered(404) if asked.method == "HEAD" else Answered(307, b"", {"Location": "/another"})

    with session(answer) as (opened, _), pytest.raises(Unavailable):
        put_blob(opened, TOOL, DIGEST, len(BLOB), lambda: iter((BLOB,)))


def test_a_proxy_is_not_asked_for_this_machines_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    with Origin(lambda _: Answered(502)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with session(lambda _: says({"tags": ["1"], "repositories": []}), None) as (opened, _):
            assert opened.tags(TOOL) == ["1"]
            assert opened.repositories() == []
        assert proxy.asked == []


def test_a_proxy_that_does_not_answer_and_one_that_is_none_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Session("registry.example.org", ADA, plain_http=True) as opened, pytest.raises(Unavailable, match="cannot be reached"):
        opened.repositories()
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1")
    with pytest.raises(Misconfigured, match="HTTP_PROXY"):
        Session("registry.example.org", ADA, plain_http=True)


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(Misconfigured, match=r"ca\.crt"):
        Session("registry.example.org", None, ca=tmp_path / "ca.crt")


INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LISTED = {"mediaType": MANIFEST, "digest": str(DIGEST), "size": 10}


def test_referrers_are_found_in_the_list_else_by_their_tag_else_there_are_none() -> None:
    index = says({"schemaVersion": 2, "mediaType": INDEX, "manifests": [LISTED]}, Content_Type=INDEX)
    of = Digest.of(b"an image")
    for known in ("/referrers/", f"/manifests/sha256-{of.encoded}"):
        with session(lambda asked, known=known: index if known in asked.path else Answered(404)) as (opened, _):  # type: ignore[misc]
            assert opened.referrers(TOOL, of) == [DIGEST]
    with session(lambda _: Answered(404)) as (opened, _):
        assert opened.referrers(TOOL, of) == []
    with session(lambda _: says({"manifests": [{"digest": "nonsense"}]})) as (opened, _), pytest.raises(Unavailable):
        opened.referrers(TOOL, of)


@pytest.mark.parametrize("login", [None, ADA, TOKEN], ids=["nobody", "password", "identity token"])
def test_a_registry_that_lets_everybody_in_lists_to_everybody(login: Login | None) -> None:
    with session(lambda _: says({"repositories": ["lab/tool"]}), login) as (opened, _):
        assert opened.repositories() == ["lab/tool"]
