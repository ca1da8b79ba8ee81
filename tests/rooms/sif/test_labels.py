"""What of an image's labels and annotations is kept for the search, whatever they are."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.labels import kept, labels_of


def configured(labels: Any) -> bytes:
    return json.dumps({"config": {"Labels": labels}}).encode()


def test_a_label_goes_before_an_annotation_of_its_name() -> None:
    found = labels_of(configured({"title": "Waves", "who": "Ada"}), {"title": "Seas", "source": "https://git.example"})
    assert found == {"title": "Waves", "who": "Ada", "source": "https://git.example"}


@pytest.mark.parametrize(
    "configuration", [b"", b"7", b"{", b"[]", b'{"config": 7}', b'{"config": {"Labels": ["x"]}}', b"\xff", b"[" * 5000]
)
def test_what_is_no_configuration_has_no_labels(configuration: bytes) -> None:
    assert labels_of(configuration, {"a": "b"}) == {"a": "b"}


def test_what_is_no_text_or_too_much_is_left_out() -> None:
    odd = {"list": ["x"], "nul": "a\0b", "long": "x" * 2000, "kept": "yes"}
    assert labels_of(configured(odd), {"half": "\ud800"}) == {"kept": "yes"}
    many = {f"label-{number}": "x" * 500 for number in range(100)}
    assert len(labels_of(configured(many), {})) == 15
    assert len(labels_of(configured(dict.fromkeys(map(str, range(500)), "")), {})) == 64


def test_facts_are_kept_with_what_is_searched_at_their_end() -> None:
    facts = ImageFacts("amd64", labels={"Title": 'The "WAVES"'})
    text = msgspec.json.encode(kept(facts)).decode()
    assert text.endswith(r'"folded":"title=the \"waves\""}')
    assert msgspec.json.decode(text, type=ImageFacts) == facts
    assert msgspec.json.decode(msgspec.json.encode(kept(ImageFacts(labels={}))), type=ImageFacts).labels == {}
