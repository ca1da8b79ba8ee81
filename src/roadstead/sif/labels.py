"""The labels of images, kept to be searched: those of the configuration, and beside them the annotations of the manifest.

Whoever may push writes them. What is too long, or too much, to be searched is left out; the page of the image shows it all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from roadstead.sif.compatibility.image_facts import ImageFacts

_MOST: Final = 64
_LONGEST: Final = 1000  # characters of a label with its name
_TOGETHER: Final = 8000


class _Section(msgspec.Struct, frozen=True):
    labels: Any = msgspec.field(default=None, name="Labels")


class _Configured(msgspec.Struct, frozen=True):
    config: _Section | None = None


class Kept(ImageFacts, frozen=True, omit_defaults=True):
    """Facts as they are kept. `folded` is what the search looks at first: every label as `name=value` in small letters, last of all."""

    folded: str = ""


def kept(facts: ImageFacts) -> Kept:
    """The facts with what is searched of their labels."""
    labels = (facts.labels or {}).items()
    return Kept(**msgspec.structs.asdict(facts), folded="\n".join(f"{name}={value}".lower() for name, value in labels))


def labels_of(configuration: bytes, annotations: Mapping[str, str]) -> dict[str, str]:
    """What of an image is searched besides its names; of a label and an annotation of one name the label."""
    found: dict[str, str] = {}
    left = _TOGETHER
    for name, value in (*_told(configuration), *annotations.items()):
        length = len(name) + len(value)
        if name not in found and length <= min(left, _LONGEST) and len(found) < _MOST and _is_text(name + value):
            found[name] = value
            left -= length
    return found


def _told(configuration: bytes) -> Iterable[tuple[str, str]]:
    try:
        section = msgspec.json.decode(configuration, type=_Configured).config
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return
    labels = section.labels if section is not None else None
    if isinstance(labels, dict):
        yield from ((name, value) for name, value in labels.items() if isinstance(name, str) and isinstance(value, str))


def _is_text(value: str) -> bool:
    """Whether both databases can hold and read it: neither half a character nor U+0000."""
    try:
        return "\0" not in value and bool(value.encode())
    except UnicodeEncodeError:
        return False
