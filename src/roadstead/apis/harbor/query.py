"""The `q` and `sort` of listings, in Harbor's grammar.

    q=name=lib              is                  q=push_time=[2026-01-01 00:00:00~]    from … to, either side may be left out
    q=name=~li              contains            q=name={a b}                          one of
    q=tags=(a b)            all of              q=name=~a,public=true                 and
    sort=-creation_time,name

Conditions are separated by commas, so a value holds none. A value that begins with one of the signs above is written after a backslash.
Times are RFC 3339, or `2026-01-01 00:00:00` in UTC. The whole may be percent-encoded once more than the URL asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_plus

from roadstead.errors import InvalidInput
from roadstead.registry.listing import Filter, Match, Sort

_MOST: Final = 50

Fields = Mapping[str, str]
"""What a listing may be asked for: Harbor's name of a field → the room's."""

NO_FIELDS: Final[Fields] = {}


def parse_filters(text: str | None, fields: Fields) -> tuple[Filter, ...]:
    """Read a `q`. Raises InvalidInput where it is malformed, or names a field that is not in `fields`."""
    if not text:
        return ()
    parts = unquote_plus(text).split(",")
    if len(parts) > _MOST:
        raise InvalidInput(f"A query has at most {_MOST} conditions.")
    return tuple(_filter(part, fields) for part in parts)


def _filter(part: str, fields: Fields) -> Filter:
    name, _, pattern = part.partition("=")
    if not name or not pattern:
        raise InvalidInput(f"The condition {part[:80]!r} of the query is not valid: write field=value.")
    match, values = _condition(pattern)
    return Filter(_field(name, fields), match, values)


def _condition(pattern: str) -> tuple[Match, tuple[str, ...]]:
    match pattern[0], pattern[-1]:
        case "~", _ if len(pattern) > 1:
            return Match.CONTAINS, (pattern[1:],)
        case "[", "]":
            return Match.BETWEEN, _ends(pattern)
        case "{", "}":
            return Match.ANY, _several(pattern)
        case "(", ")":
            return Match.ALL, _several(pattern)
        case (("~" | "[" | "{" | "("), _):
            raise _malformed(pattern)
    return Match.EQUAL, (pattern.removeprefix("\\"),)


def _ends(pattern: str) -> tuple[str, ...]:
    ends = tuple(_bare(part.strip(" ")) for part in pattern[1:-1].split("~"))
    if len(ends) != 2 or not any(ends):
        raise _malformed(pattern)
    return ends


def _several(pattern: str) -> tuple[str, ...]:
    return tuple(_bare(part) for part in pattern[1:-1].split(" ") if part)


def _bare(text: str) -> str:
    return text.strip("\"'")


def _malformed(pattern: str) -> InvalidInput:
    return InvalidInput(f"The value {pattern[:80]!r} of the query is not valid: write v, ~v, [a~b], {{a b}} or (a b).")


def parse_sort(text: str | None, fields: Fields) -> tuple[Sort, ...]:
    """Read a `sort`. Raises InvalidInput for a field that is not in `fields`."""
    if not text:
        return ()
    return tuple(Sort(_field(part.removeprefix("-"), fields), part.startswith("-")) for part in text.split(",")[:_MOST])


def _field(name: str, fields: Fields) -> str:
    if name not in fields:
        raise InvalidInput(f"There is no field {name[:80]!r} to ask for here; there are: {', '.join(fields) or 'none'}.")
    return fields[name]
