"""The grammar of `q` and `sort`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.apis.harbor.query import parse_filters, parse_sort
from roadstead.errors import InvalidInput
from roadstead.registry.listing import Filter, Match, Sort

FIELDS = {"name": "name", "creation_time": "created_at"}
SIGNS = ",%+~[]{}()\\\"'= "
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters=SIGNS), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "match", "values"),
    [
        ("app", Match.EQUAL, ("app",)),
        ("a=b", Match.EQUAL, ("a=b",)),
        (r"\~odd", Match.EQUAL, ("~odd",)),
        ("~ap", Match.CONTAINS, ("ap",)),
        ("{a b}", Match.ANY, ("a", "b")),
        ("{a  'b'}", Match.ANY, ("a", "b")),
        ("{}", Match.ANY, ()),
        ("(a b)", Match.ALL, ("a", "b")),
        ("[a~f]", Match.BETWEEN, ("a", "f")),
        ("[1~]", Match.BETWEEN, ("1", "")),
        ("[~ 9 ]", Match.BETWEEN, ("", "9")),
        ("[2026-01-02 03:04:05~]", Match.BETWEEN, ("2026-01-02 03:04:05", "")),
    ],
)
def test_each_form_is_read(text: str, match: Match, values: tuple[str, ...]) -> None:
    assert parse_filters(f"creation_time={text}", FIELDS) == (Filter("created_at", match, values),)


def test_all_of_it_may_be_encoded_once_more() -> None:
    assert parse_filters("name%3D~a%2Fb", FIELDS) == (Filter("name", Match.CONTAINS, ("a/b",)),)


def test_conditions_are_joined() -> None:
    both = (Filter("name", Match.CONTAINS, ("a",)), Filter("created_at", Match.EQUAL, ("b",)))
    assert parse_filters("name=~a,creation_time=b", FIELDS) == both
    assert parse_filters("", FIELDS) == parse_filters(None, FIELDS) == ()


MALFORMED = ["", "~", "[a]", "[~]", "[a~b~c]", "[a~b", "{a", "(a]", "[", "a,"]


@pytest.mark.parametrize("text", ["name", "=a", "password=a", ",".join(["name=a"] * 51), *(f"name={value}" for value in MALFORMED)])
def test_what_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_filters(text, FIELDS)


@given(st.text(max_size=60) | st.text("name=~[]{}() ,%25\\", max_size=30).map("name=".__add__))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for found in parse_filters(text, FIELDS):
            assert found.field in FIELDS.values()
            assert found.match is not Match.BETWEEN or (len(found.values) == 2 and any(found.values))
        parse_sort(text, FIELDS)
    except InvalidInput:
        pass


def write(asked: Filter) -> str:
    """The grammar the other way round."""
    words = " ".join(asked.values)
    forms = {
        Match.EQUAL: words,
        Match.CONTAINS: f"~{words}",
        Match.BETWEEN: f"[{'~'.join(asked.values)}]",
        Match.ANY: "{" + words + "}",
        Match.ALL: f"({words})",
    }
    return f"name={forms[asked.match]}"


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Any condition on the name."""
    match = draw(st.sampled_from(Match))
    if match is Match.BETWEEN:
        ends = draw(st.tuples(WORDS | st.just(""), WORDS | st.just("")).filter(any))
        return Filter("name", match, ends)
    several = match in (Match.ANY, Match.ALL)
    return Filter("name", match, tuple(draw(st.lists(WORDS, min_size=0 if several else 1, max_size=4 if several else 1))))


@given(st.lists(filters(), min_size=1, max_size=5))
def test_what_is_written_is_read_again(asked: list[Filter]) -> None:
    assert parse_filters(",".join(map(write, asked)), FIELDS) == tuple(asked)


def test_sort() -> None:
    assert parse_sort("-creation_time,name", FIELDS) == (Sort("created_at", descending=True), Sort("name"))
    assert parse_sort(None, FIELDS) == ()
    with pytest.raises(InvalidInput, match="password"):
        parse_sort("-password", FIELDS)
