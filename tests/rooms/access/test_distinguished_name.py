"""Names of entries in one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.access.distinguished_name import normalise


@pytest.mark.parametrize(
    "spelled",
    [
        "cn=climate models,ou=groups,dc=example,dc=org",
        "CN=Climate Models,OU=Groups,DC=example,DC=ORG",
        " cn = climate  models , ou = groups , dc=example , dc=org ",
        "cn=climate\\20models,ou=groups,dc=example,dc=org",
        "cn=\\63limate models,ou=groups,dc=example,dc=org",
    ],
)
def test_spellings_of_one_name(spelled: str) -> None:
    assert normalise(spelled) == "cn=climate models,ou=groups,dc=example,dc=org"


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("cn=a\\,b,dc=x", "cn=a\\2cb,dc=x"),
        ("cn=a\\+b,dc=x", "cn=A\\2Bb,dc=x"),
        ("cn=M\\c3\\bcller,dc=x", "cn=müller,dc=x"),
        ("cn=a\\\\b,dc=x", "cn=a\\5cb,dc=x"),
        ("cn=a\\ ,dc=x", "cn=a,dc=x"),
        ("cn=a+uid=b,dc=x", "CN=a + UID=b, dc=x"),
    ],
)
def test_escapes_in_either_form(one: str, same: str) -> None:
    assert normalise(one) == normalise(same)


@pytest.mark.parametrize(
    ("one", "other"), [("cn=a\\,b,dc=x", "cn=a,b=c,dc=x"), ("cn=a,dc=x", "cn=a\\,dc=x"), ("cn=ab,dc=x", "cn=a b,dc=x")]
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize("bad", ["", "x", "cn", "=x", "cn=a,", ",cn=a", "cn=a,,dc=x", "cn=a\\"])
def test_what_is_no_name_is_refused(bad: str) -> None:
    with pytest.raises(ValueError) as raised:
        normalise(bad)
    assert str(raised.value) == bad


@given(st.lists(st.tuples(st.sampled_from(["cn", "OU", "dc"]), st.text(min_size=1, max_size=12)), min_size=1, max_size=4))
def test_one_spelling_is_its_own(parts: list[tuple[str, str]]) -> None:
    def escaped(value: str) -> str:
        return "".join(f"\\{octet:02x}" for octet in value.encode("utf-8", "replace"))

    once = normalise(",".join(f"{attribute}={escaped(value)}" for attribute, value in parts))
    assert normalise(once) == once
