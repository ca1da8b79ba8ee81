from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.oci import media_type
from roadstead.oci.media_type import normalise_content_type


@pytest.mark.parametrize(
    ("header", "plain"),
    [
        ("", ""),
        (media_type.OCI_INDEX, media_type.OCI_INDEX),
        (" Application/Vnd.OCI.image.manifest.v1+JSON ; charset=UTF-8", media_type.OCI_MANIFEST),
        ("application/json;", "application/json"),
        (";charset=utf-8", ""),
    ],
)
def test_a_content_type_loses_parameters_case_and_spaces(header: str, plain: str) -> None:
    assert normalise_content_type(header) == plain


@given(st.text(st.characters()))
def test_any_header_is_normalised_without_error(header: str) -> None:
    assert ";" not in normalise_content_type(header)


def test_the_sets_do_not_contradict_each_other() -> None:
    assert media_type.INDEX_TYPES | media_type.IMAGE_TYPES | {media_type.OCI_ARTIFACT_MANIFEST} == media_type.MANIFEST_TYPES
    assert media_type.INDEX_TYPES.isdisjoint(media_type.IMAGE_TYPES)
    assert media_type.SCHEMA1_TYPES.isdisjoint(media_type.MANIFEST_TYPES)
    assert media_type.GENERIC_TYPES.isdisjoint(media_type.MANIFEST_TYPES)


def test_every_type_is_its_own_normal_form() -> None:
    types = [value for name, value in vars(media_type).items() if name.isupper() and isinstance(value, str)]
    assert len(types) == len(set(types))
    assert [normalise_content_type(value) for value in types] == types
