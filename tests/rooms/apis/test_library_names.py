"""Names and ids of the library API."""

from __future__ import annotations

import pytest

from roadstead.apis.library import names
from roadstead.errors import InvalidInput, RoadsteadError
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName

FILE = Digest.of(b"a file")


@pytest.mark.parametrize(
    ("text", "name", "reference"),
    [
        ("ubuntu", "library/ubuntu", "latest"),
        ("lab/ubuntu:24.04", "lab/ubuntu", "24.04"),
        ("lab/tools/gromacs:1.0_gpu", "lab/tools/gromacs", "1.0_gpu"),
        (f"lab/tools/gromacs:sha256.{FILE.encoded}", "lab/tools/gromacs", str(FILE)),
        ("lab/gromacs:sha256.short", "lab/gromacs", "sha256.short"),
    ],
)
def test_an_image_is_named_by_tag_or_by_hash(text: str, name: str, reference: str) -> None:
    assert names.parse_image(text) == (name, reference)


@pytest.mark.parametrize(
    "text", ["", ":1", "Lab/ubuntu", "lab//ubuntu", "lab/ubuntu:a:b", "lab/ubuntu:-", "lab/../x", "lab/%75buntu", "lab~x/y"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        names.parse_image(text)


@pytest.mark.parametrize("name", ["library/ubuntu", "lab/tools/gromacs", "lab/a.b/c_d/e--f"])
def test_an_id_says_what_it_is_of(name: str) -> None:
    identifier = names.image_id(RepositoryName(name), FILE)
    assert "/" not in identifier
    assert names.parse_image_id(identifier) == (name, FILE)
    assert names.parse_id(names.written_id(name)) == name


@pytest.mark.parametrize(
    "text", ["", "lab", "lab~x", "lab~x~sha256.ab", f"lab~x~sha256:{FILE.encoded}", f"~sha256.{FILE.encoded}", "lab~X~1"]
)
def test_what_is_no_id_of_an_image_is_refused(text: str) -> None:
    with pytest.raises(RoadsteadError):
        names.parse_image_id(text)


@pytest.mark.parametrize(
    ("name", "parts"), [("lab/x", ("lab", "", "x")), ("lab/a/x", ("lab", "a", "x")), ("lab/a/b/x", ("lab", "a/b", "x"))]
)
def test_a_name_has_three_parts(name: str, parts: tuple[str, str, str]) -> None:
    assert names.parts(RepositoryName(name)) == parts
