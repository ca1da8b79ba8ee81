"""The one pattern of the distribution API's paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.apis.distribution.door import HANDLERS
from roadstead.apis.distribution.routes import ACTIONS, Match, match, scope
from roadstead.errors import InvalidName, NotFound, RoadsteadError

DIGEST = "sha256:" + "0" * 64

PATHS = {
    "/v2": Match("base", "", ""),
    "/v2/": Match("base", "", ""),
    "/v2/_catalog": Match("catalog", "", ""),
    "/v2/ubuntu/manifests/22.04": Match("manifest", "ubuntu", "22.04"),
    "/v2/a/b/c/d/manifests/x": Match("manifest", "a/b/c/d", "x"),
    f"/v2/a/b/manifests/{DIGEST}": Match("manifest", "a/b", DIGEST),
    "/v2/a/b/manifests/sha256%3A00": Match("manifest", "a/b", "sha256:00"),
    f"/v2/a/b/blobs/{DIGEST}": Match("blob", "a/b", DIGEST),
    "/v2/a/b/blobs/uploads": Match("uploads", "a/b", ""),
    "/v2/a/b/blobs/uploads/": Match("uploads", "a/b", "/"),
    "/v2/a/b/blobs/uploads/0123": Match("upload", "a/b", "0123"),
    "/v2/a/b/tags/list": Match("tags", "a/b", "list"),
    f"/v2/a/b/referrers/{DIGEST}": Match("referrers", "a/b", DIGEST),
    # A name may be made of the words that end a path: the longest name wins.
    "/v2/a/manifests/b/manifests/c": Match("manifest", "a/manifests/b", "c"),
    "/v2/blobs/uploads/blobs/uploads/": Match("uploads", "blobs/uploads", "/"),
    "/v2/tags/list/tags/list": Match("tags", "tags/list", "list"),
    "/v2/_catalog/tags/list": Match("tags", "_catalog", "list"),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_taken_apart(path: str) -> None:
    assert match(path) == PATHS[path]


@pytest.mark.parametrize(
    "path", ["", "/", "/v1/", "/v2x", "/v2/a", "/v2/a/manifests/", "/v2/manifests/x", "/v2/a/tags/", "/v2/_catalog/", "/v2/a/tags/list/"]
)
def test_any_other_path_is_not_there(path: str) -> None:
    with pytest.raises(NotFound):
        match(path)


@pytest.mark.parametrize("path", ["/v2/a%2fb/tags/list", "/v2/%61/tags/list", "/v2/a%00/manifests/x", "/v2/a/blobs/uploads/%00"])
def test_a_name_is_never_percent_encoded_nor_is_anything_u_0000(path: str) -> None:
    with pytest.raises(InvalidName):
        match(path)


PIECES = st.sampled_from(
    ["", "a", "..", "%2f", "%", "%00", "manifests", "blobs", "uploads", "tags", "list", "referrers", "_catalog", DIGEST]
)


@given(st.one_of(st.lists(PIECES, max_size=12).map("/".join), st.text(max_size=60)))
def test_whatever_the_path_it_matches_or_raises_from_the_tree(rest: str) -> None:
    try:
        found = match(f"/v2/{rest}")
    except RoadsteadError:
        return
    assert found.kind in ACTIONS
    assert "%" not in found.name
    assert "\0" not in found.value or "\0" in rest


def test_every_kind_and_method_has_a_handler_and_a_permission() -> None:
    table = {(kind, method) for kind, methods in ACTIONS.items() for method in methods}
    assert table == {*HANDLERS, ("base", "GET"), ("base", "HEAD")}


SCOPES = {
    ("/v2/", "GET"): None,
    ("/v2/_catalog", "GET"): "registry:catalog:*",
    ("/v2/a/b/manifests/x", "HEAD"): "repository:a/b:pull",
    ("/v2/a/b/manifests/x", "PUT"): "repository:a/b:pull,push",
    ("/v2/a/b/manifests/x", "DELETE"): "repository:a/b:delete",
    ("/v2/a/b/manifests/x", "BREW"): None,
}


@pytest.mark.parametrize(("path", "method"), SCOPES)
def test_the_scope_that_a_request_needs(path: str, method: str) -> None:
    assert scope(match(path), method) == SCOPES[path, method]
