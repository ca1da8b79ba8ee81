from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import InvalidDigest, InvalidInput, InvalidName, InvalidTag, UnsupportedAlgorithm
from roadstead.oci.digest import ALGORITHMS, Digest
from roadstead.oci.reference import NAME_LIMIT, RepositoryName, TagName, parse_reference, referrers_tag

# Both written as distribution-spec has them, "Pulling manifests", to be held against the room's own.
SPECIFIED_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
SPECIFIED_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

any_text = st.text(st.characters())
name_like = st.text(st.sampled_from("aZ0._-/%é"), max_size=20)
words = st.text(st.sampled_from("az09"), min_size=1, max_size=4)
separators = st.sampled_from([".", "_", "__", "-", "--", "---", "/"])
specified_names = st.lists(st.tuples(separators, words), max_size=8).flatmap(
    lambda rest: words.map(lambda first: first + "".join(separator + word for separator, word in rest))
)
tags = st.from_regex(SPECIFIED_TAG, fullmatch=True)


@given(specified_names)
def test_every_specified_name_is_taken_and_normalised_once(text: str) -> None:
    name = RepositoryName.parse(text)
    assert f"{name.project}/{name.path}" == name
    assert name == (text if "/" in text else f"library/{text}")
    assert RepositoryName.parse(name) == name


@given(any_text | name_like)
def test_any_text_is_a_name_or_refused_with_a_short_reason(text: str) -> None:
    try:
        RepositoryName.parse(text)
    except InvalidName as error:
        assert not SPECIFIED_NAME.fullmatch(text) or len(text) > NAME_LIMIT - len("library/")
        assert error.message.endswith(".")
    else:
        assert SPECIFIED_NAME.fullmatch(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "it is empty"),
        ("/", "begins or ends with '/'"),
        ("/a", "begins or ends with '/'"),
        ("a/", "begins or ends with '/'"),
        ("a//b", "an empty component ('//') at character 2"),
        ("Foo/bar", "the upper case letter 'F' at character 1; names are in lower case"),
        ("foo/bAr", "the upper case letter 'A' at character 6"),
        ("a/../b", "'..' is not a component"),
        ("..", "'..' is not a component"),
        ("a/./b", "'.' is not a component"),
        ("a%2fb", "a percent sign at character 2"),
        ("a/b c", "the character ' ' at character 4"),
        ("a/b\x00", "the character '\\x00' at character 4"),
        ("a/b\n", "the character '\\n' at character 4"),
        ("a/\udcff", "the character '\\udcff' at character 3"),
        ("a/é", "the character 'é' at character 3"),
        ("a:5000/b", "the character ':' at character 2"),
        (".a/b", "'.a' begins with the separator '.'"),
        ("a/-b", "'-b' begins with the separator '-'"),
        ("a/b_", "'b_' ends with the separator '_'"),
        ("a/b..c", "'..' does not separate words"),
        ("a/b___c", "'___' does not separate words"),
        ("a/b._c", "'._' does not separate words"),
        ("a/" + "b" * 298, "it has 300 characters, 45 more than the 255 allowed"),
        ("b" * 250, "it has 258 characters with its project 'library/', 3 more than the 255 allowed"),
    ],
)
def test_a_refused_name_says_which_rule_broke(text: str, rule: str) -> None:
    with pytest.raises(InvalidName) as refusal:
        RepositoryName.parse(text)
    assert rule in refusal.value.message


@pytest.mark.parametrize("text", ["a/b", "a.b/c_d", "a__b/c", "a-----b/c", "0/1/2/3", "a/" + "b" * 253, "b" * 247])
def test_names_at_the_edges_of_the_rules_are_taken(text: str) -> None:
    assert RepositoryName.parse(text).endswith(text)


@given(tags)
def test_every_specified_tag_is_taken_as_it_is(text: str) -> None:
    assert TagName.parse(text) == text
    assert isinstance(parse_reference(text), TagName)


@given(any_text)
def test_any_text_is_a_tag_or_refused(text: str) -> None:
    try:
        TagName.parse(text)
    except InvalidTag:
        assert not SPECIFIED_TAG.fullmatch(text)
    else:
        assert SPECIFIED_TAG.fullmatch(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "it is empty"),
        (".hidden", "it begins with '.'"),
        ("-x", "it begins with '-'"),
        ("a/b", "the character '/' at character 2"),
        ("a\n", "the character '\\n' at character 2"),
        ("1.0+build", "the character '+' at character 4"),
        ("a" * 130, "it has 130 characters, 2 more than the 128 allowed"),
    ],
)
def test_a_refused_tag_says_which_rule_broke(text: str, rule: str) -> None:
    with pytest.raises(InvalidTag) as refusal:
        TagName.parse(text)
    assert rule in refusal.value.message


@given(any_text | st.text(st.sampled_from("sha256:0")))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidInput as error:
        assert isinstance(error, InvalidDigest if ":" in text else InvalidTag)
    else:
        assert reference == text


def test_a_colon_makes_a_reference_a_digest() -> None:
    digest = Digest.of(b"")
    assert isinstance(parse_reference(digest), Digest)
    assert isinstance(parse_reference("latest"), TagName)
    with pytest.raises(UnsupportedAlgorithm):
        parse_reference("md5:" + "0" * 32)
    with pytest.raises(InvalidDigest):
        parse_reference("sha256:baddigeststring")


@pytest.mark.parametrize(
    ("digest", "tag"),
    [  # The examples of distribution-spec, "Referrers Tag Schema".
        ("sha256:" + "a" * 64, "sha256-" + "a" * 64),
        ("sha512:" + "b" * 128, "sha512-" + "b" * 64),
        (
            "test+algorithm+using+algorithm+separators+and+lots+of+characters+to+excercise+overall+truncation:"
            "alsoSome=InTheEncodedSectionToShowHyphenReplacementAndLotsAndLotsOfCharactersToExcerciseEncodedTruncation",
            "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShowHyphenReplacementAndLotsAndLot",
        ),
    ],
)
def test_the_referrers_tag_is_as_specified(digest: str, tag: str) -> None:
    assert referrers_tag(Digest(digest)) == tag


@given(st.binary(), st.sampled_from(sorted(ALGORITHMS)))
def test_a_referrers_tag_is_a_valid_tag(content: bytes, algorithm: str) -> None:
    tag = referrers_tag(Digest.of(content, algorithm))
    assert TagName.parse(tag) == tag
