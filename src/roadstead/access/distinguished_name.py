"""Names of entries in directories (RFC 4514), in one spelling, so that two spellings of a name are seen to be the same."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"((?:[^\\,+=]|\\.)+)=((?:[^\\,+]|\\.)*)([,+]|\Z)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([0-9a-fA-F]{2})|\\(.)", re.DOTALL)
_SPECIAL: Final = re.compile(r'[,+"\\<>;=]')


def normalise(name: str) -> str:
    """The name in lower case, without spaces around its parts and with one kind of escape. Raises ValueError for what is no name."""
    position, parts = 0, []
    while position < len(name):
        part = _PART.match(name, position)
        if part is None:
            raise ValueError(name)
        attribute, value, separator = part.groups()
        parts.append(f"{attribute.strip().lower()}={_value(value)}{separator}")
        position = part.end()
        if separator and position == len(name):
            raise ValueError(name)
    if not parts:
        raise ValueError(name)
    return "".join(parts)


def _value(text: str) -> str:
    """A value, unescaped, in lower case with single spaces (as caseIgnoreMatch, RFC 4517 §4.2.11), and escaped anew."""
    plain = _unescape(_without_outer_spaces(text))
    folded = re.sub(" +", " ", plain.lower()).strip(" ")
    return _SPECIAL.sub(lambda found: "\\" + found[0], folded)


def _without_outer_spaces(text: str) -> str:
    """Spaces at the ends count only where they are escaped, and then the comparison does not count them either."""
    return re.sub(r"(?<!\\) +\Z", "", text.lstrip(" "))


def _unescape(text: str) -> str:
    """Resolve escapes; those in hexadecimal are bytes of UTF-8."""
    content, position = bytearray(), 0
    for found in _ESCAPED.finditer(text):
        content += text[position : found.start()].encode()
        content += bytes.fromhex(found[1]) if found[1] else found[2].encode()
        position = found.end()
    return (content + text[position:].encode()).decode("utf-8", "replace")
