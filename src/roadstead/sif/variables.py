"""What scripts of shell assignments set, as far as that can be told without running them.

Apptainer keeps an image's environment as scripts, Docker as a list. Of a script is understood what people write there: assignments of plain
and quoted words in which variables stand that are known by then (POSIX.1-2017, Shell Command Language, 2.2, 2.6.2, 2.9.1). At the first
line that is anything else, reading ends: whatever follows may depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNSET: Final[Mapping[str, str]] = MappingProxyType({"PATH": DEFAULT_PATH, "LD_LIBRARY_PATH": ""})
"""What these are where no script has set them."""

_SPACE: Final = re.compile(r"\s*")
_COMMENT: Final = re.compile(r"\s*(?:#.*)?")
_EXPORT: Final = re.compile(r"\s*export\s+")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_END: Final = re.compile(r"\s*(?:;\s*)?(?:#.*)?$|\s*;\s*|\s+")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:,@%+=\-]+")
_SINGLE: Final = re.compile(r"'([^']*)'")
_INSIDE: Final = re.compile(r'[^"\\$`]+')  # Between double quotes.
_LONGEST_SCRIPT: Final = 64 << 10
_LONGEST_VALUE: Final = 16 << 10  # A few lines that double a variable would make it as long as they like.
_MOST_VARIABLES: Final = 1000


class _NotUnderstood(Exception):
    """The text is no assignment of the kind that is read here."""


def assigned(script: str, known: Mapping[str, str]) -> dict[str, str]:
    """The variables that a script sets, where those of `known` are set before it."""
    found = dict(known)
    for line in script[:_LONGEST_SCRIPT].splitlines():
        if not _COMMENT.fullmatch(line):
            try:
                found = _Line(line, found).read()
            except _NotUnderstood:
                break
    return found


def is_empty(script: str) -> bool:
    """Whether a script has nothing but comments."""
    return all(_COMMENT.fullmatch(line) for line in script.splitlines())


class _Line:
    """One line of assignments, read from left to right."""

    def __init__(self, text: str, found: dict[str, str]) -> None:
        self._text = text
        self._found = dict(found)
        self._at = 0

    def read(self) -> dict[str, str]:
        """What is set behind the line. Raises _NotUnderstood."""
        self._take(_SPACE)
        exported = False
        while self._at < len(self._text):
            exported |= self._take(_EXPORT) is not None
            name = self._name()
            if self._next("="):
                self._set(name, self._word())
            elif not exported:
                raise _NotUnderstood
            end = self._take(_END)
            if end is None:
                raise _NotUnderstood
            exported &= ";" not in end[0]
        return self._found

    def _set(self, name: str, value: str) -> None:
        if len(value) > _LONGEST_VALUE or len(self._found) >= _MOST_VARIABLES:
            raise _NotUnderstood
        self._found[name] = value

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _next(self, mark: str) -> bool:
        is_next = self._text.startswith(mark, self._at)
        self._at += len(mark) * is_next
        return is_next

    def _name(self) -> str:
        match = self._take(_NAME)
        if match is None:
            raise _NotUnderstood
        return match[0]

    def _word(self) -> str:
        """Plain, quoted and variable parts that stand next to each other."""
        parts: list[str] = []
        while self._at < len(self._text):
            if match := self._take(_PLAIN):
                parts.append(match[0])
            elif match := self._take(_SINGLE):
                parts.append(match[1])
            elif self._next('"'):
                parts.append(self._quoted())
            elif self._next("$"):
                parts.append(self._variable())
            else:
                break
        return "".join(parts)

    def _quoted(self) -> str:
        parts: list[str] = []
        while not self._next('"'):
            if match := self._take(_INSIDE):
                parts.append(match[0])
            elif self._next("$"):
                parts.append(self._variable())
            elif self._next("\\") and self._text[self._at : self._at + 1] in tuple('"\\$`'):
                parts.append(self._text[self._at])
                self._at += 1
            else:
                raise _NotUnderstood
        return "".join(parts)

    def _variable(self) -> str:
        """The value of a variable that is known; ``${NAME:-word}`` is the word where it is not, or is empty."""
        if not self._next("{"):
            return self._value(self._name())
        name = self._name()
        if self._next(":-"):
            otherwise = self._word()
            value = self._found.get(name) or otherwise
        else:
            value = self._value(name)
        if not self._next("}"):
            raise _NotUnderstood
        return value

    def _value(self, name: str) -> str:
        if name in self._found:
            return self._found[name]
        if name not in _UNSET:
            raise _NotUnderstood
        return _UNSET[name]
