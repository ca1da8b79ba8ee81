"""What is searched for by what images need: `mpi:openmpi cuda:12 glibc>=2.31 arch:arm64`."""

from __future__ import annotations

import re
from typing import Final

from roadstead.errors import InvalidInput
from roadstead.metadata.compatibility import NUMBERS, Condition, Searched
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.compatibility.versions import Version, next_after, ordered, parse_version

_LONGEST: Final = 200
_NEED: Final = re.compile(r"([a-z]{1,20})(:|=|>=|<=|<|>)([a-z0-9._+-]{1,60})", re.ASCII)
_COLUMNS: Final = {"arch": "architecture", "os": "base", "base": "base", "mpi": "mpi", **{name: name for name in NUMBERS}}


def tells_needs(text: str) -> bool:
    """Whether every word of a text is a need, so that it is more than a name that has a colon in it."""
    words = text.lower().split()
    return bool(words) and all((found := _NEED.fullmatch(word)) is not None and found[1] in _COLUMNS for word in words)


def parse_needs(text: str) -> tuple[Condition, ...]:
    """The conditions, all of which must hold. Raises InvalidInput with what is not understood."""
    if len(text) > _LONGEST:
        raise InvalidInput(f"Search for at most {_LONGEST} characters.")
    conditions = tuple(_condition(word) for word in text.lower().split())
    if not conditions:
        raise InvalidInput("Say what to search for, as in cuda:12 mpi:openmpi glibc>=2.31 arch:arm64.")
    return conditions


def _condition(word: str) -> Condition:
    found = _NEED.fullmatch(word)
    column = _COLUMNS.get(found[1]) if found else None
    if found is None or column is None:
        raise InvalidInput(f"{word!r} is not understood; what is known is {', '.join(_COLUMNS)}, as in cuda:12 or glibc>=2.31.")
    operator, value = found[2], found[3]
    if column not in NUMBERS:
        if operator not in (":", "="):
            raise InvalidInput(f"{word!r}: {found[1]} is a word, and is compared by a colon.")
        return Condition(column, word=value)
    version = parse_version(value)
    if version is None:
        raise InvalidInput(f"{word!r}: {value!r} is no version.")
    return _number(column, operator, version[:2])


def _number(column: str, operator: str, version: Version) -> Condition:
    """`cuda:12` is every 12; `cuda<=12.2` has 12.2 in it."""
    first, behind = ordered(".".join(map(str, version))), next_after(version)
    match operator:
        case ":" | "=":
            return Condition(column, least=first, below=behind)
        case ">=":
            return Condition(column, least=first)
        case ">":
            return Condition(column, least=behind)
        case "<=":
            return Condition(column, below=behind)
    return Condition(column, below=first)


def searched(facts: ImageFacts) -> Searched:
    """What of the facts can be searched for."""
    mpi = " ".join(dict.fromkeys(word.lower() for one in facts.mpi for word in (one.family, one.abi)))
    return Searched(
        architecture=facts.architecture,
        level=ordered(None if facts.level is None else str(facts.level)),
        glibc=ordered(facts.glibc),
        cuda=ordered(facts.cuda),
        rocm=ordered(facts.rocm),
        mpi=f" {mpi} ",
        base=facts.base,
    )
