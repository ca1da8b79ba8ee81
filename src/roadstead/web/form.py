"""The fields of a form, as handlers read them."""

from __future__ import annotations

from typing import Final

from roadstead.errors import InvalidInput
from roadstead.serving.request import Request, parse_fields

LIMIT: Final = 512 * 1024
"""Bytes of a form: a description of 64 KiB is up to three times as long when it is percent-encoded."""


class Form:
    """What was sent. A field that is not there is empty."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def text(self, name: str, default: str = "") -> str:
        """A field's value without blanks around it, its lines ended by one character."""
        found = next((value for key, value in self._fields if key == name), default)
        return found.replace("\r\n", "\n").strip()

    def secret(self, name: str) -> str:
        """A field's value as it is: of a password every blank counts."""
        return next((value for key, value in self._fields if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a field that may be chosen several times."""
        return [value for key, value in self._fields if key == name]

    def flag(self, name: str) -> bool:
        """Whether a box is ticked."""
        return any(key == name for key, _ in self._fields)

    def number(self, name: str) -> int:
        """A whole number from 0. Raises InvalidInput."""
        value = self.text(name)
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise InvalidInput(f"{value[:40]!r} is no whole number.")
        return int(value)


async def read_form(request: Request) -> Form:
    """The form that a POST carries. Raises InvalidInput, TooLarge."""
    return Form(parse_fields(await request.whole_body(LIMIT), "The form"))
