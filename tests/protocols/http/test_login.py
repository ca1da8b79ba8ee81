"""Logging in and out with a browser, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.protocols.http.exchange import client, refused
from tests.support.server import RoadsteadServer

CSRF = "X-Harbor-CSRF-Token"


@pytest.fixture
def browser(registry: RoadsteadServer) -> Iterator[httpx2.Client]:
    """A client that keeps cookies and has no credentials."""
    with client(registry, anonymous=True) as made:
        yield made


def turned_away(answer: httpx2.Response, status: int, code: str) -> str:
    """The message of a refusal in Harbor's form."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    (error,) = answer.json()["errors"]
    assert error["code"] == code
    return str(error["message"])


def log_in(browser: httpx2.Client, registry: RoadsteadServer, **more: str) -> httpx2.Response:
    return browser.post("/c/login", data={"principal": "admin", "password": registry.admin_password, **more})


def test_a_login_sets_a_cookie_that_no_script_reads(browser: httpx2.Client, registry: RoadsteadServer) -> None:
    answer = log_in(browser, registry)
    assert answer.status_code == 200
    name, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert name.startswith("roadstead-session=rsd_s_")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} == set(attributes)
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(answer.headers[CSRF]) > 40


def test_a_wrong_password_says_so_and_begins_nothing(browser: httpx2.Client) -> None:
    answers = [browser.post("/c/login", data={"principal": name, "password": "wrong"}) for name in ("somebody", "nobody")]
    answers += [browser.post("/c/login", data=data) for data in ({}, {"principal": "admin"}, {"password": "x"})]
    assert [turned_away(answer, 401, "UNAUTHORIZED") for answer in answers[:2]] == ["The user name or password is wrong."] * 2
    assert all(answer.status_code == 401 and "Set-Cookie" not in answer.headers for answer in answers)


def test_a_login_makes_a_new_session_whatever_the_browser_had(browser: httpx2.Client, registry: RoadsteadServer) -> None:
    """Session fixation: a cookie that somebody planted does not become the session, and the session before ends."""
    form = {"principal": "admin", "password": registry.admin_password}
    cookies = ["roadstead-session=rsd_s_planted"]
    for _ in range(2):
        answer = httpx2.post(f"{registry.url}/c/login", data=form, headers={"Cookie": cookies[-1]}, trust_env=False)
        cookies.append(answer.headers["Set-Cookie"].partition(";")[0])
    assert len(set(cookies)) == 3
    # Who still has a session needs its CSRF token to end it.
    assert [browser.post("/c/log_out", headers={"Cookie": cookie}).status_code for cookie in cookies] == [200, 200, 403]


def test_logging_out_needs_the_token_and_ends_the_session(browser: httpx2.Client, registry: RoadsteadServer) -> None:
    token = log_in(browser, registry).headers[CSRF]
    for wrong in ({}, {CSRF: "wrong"}):
        assert "CSRF" in turned_away(browser.post("/c/log_out", headers=wrong), 403, "FORBIDDEN")
    answer = browser.post("/c/log_out", headers={CSRF: token})
    assert (answer.status_code, "Max-Age=0" in answer.headers["Set-Cookie"]) == (200, True)
    assert "roadstead-session" not in browser.cookies


def test_the_token_may_be_a_field_of_the_form(browser: httpx2.Client, registry: RoadsteadServer) -> None:
    token = log_in(browser, registry).headers[CSRF]
    assert browser.post("/c/log_out", data={"csrf_token": token}).status_code == 200


def test_pages_of_other_sites_log_nobody_in_or_out(browser: httpx2.Client, registry: RoadsteadServer) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        browser.headers.update(headers)
        turned_away(log_in(browser, registry), 403, "FORBIDDEN")
        turned_away(browser.get("/c/log_out"), 403, "FORBIDDEN")
        for name in headers:
            del browser.headers[name]
    assert browser.get("/c/log_out").status_code == 200


def test_a_browser_goes_on_to_the_page_it_wanted_and_to_no_other_site(browser: httpx2.Client, registry: RoadsteadServer) -> None:
    answer = log_in(browser, registry, redirect_url="/projects?page=2")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/projects?page=2")
    browser.cookies.clear()
    answer = log_in(browser, registry, redirect_url="//evil.example/")
    turned_away(answer, 400, "BAD_REQUEST")
    assert "Set-Cookie" not in answer.headers


def test_a_cookie_is_no_credential_of_the_distribution_api(browser: httpx2.Client, registry: RoadsteadServer) -> None:
    log_in(browser, registry)
    refused(browser.get("/v2/"), 401, "UNAUTHORIZED")
    refused(browser.post("/v2/library/x/blobs/uploads/"), 401, "UNAUTHORIZED")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/c/login", 405), ("PUT", "/c/log_out", 405), ("GET", "/c/other", 404)])
def test_what_is_not_there(method: str, path: str, status: int, browser: httpx2.Client) -> None:
    answer = browser.request(method, path)
    assert answer.status_code == status
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_form_that_is_too_large(browser: httpx2.Client) -> None:
    assert browser.post("/c/login", data={"principal": "x" * 70_000}).status_code == 413
