"""What a project converts, as people set it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

import msgspec

from roadstead.errors import InvalidInput

_MOST_PLATFORMS: Final = 16
_PLATFORM: Final = re.compile(r"linux/[a-z0-9_]{1,20}(/v[0-9]{1,3})?")


class When(StrEnum):
    """When an image is converted."""

    PUSH = "push"
    """As soon as it is pushed."""
    DEMAND = "demand"
    """When somebody asks for it."""
    OFF = "off"
    """Not at all; what was converted before can still be pulled."""


class ConversionSettings(msgspec.Struct, frozen=True):
    """What of a project's conversion policy to set; None leaves it as it is. See `metadata.projects.ConversionPolicy`."""

    when: When | None = None
    anonymous: bool | None = None
    platforms: tuple[str, ...] | None = None
    sif_as_image: bool | None = None

    def columns(self) -> dict[str, Any]:
        """The columns to set. Raises InvalidInput for platforms that are none."""
        wanted = {
            "conversion": None if self.when is None else str(self.when),
            "anonymous_conversion": self.anonymous,
            "conversion_platforms": None if self.platforms is None else ",".join(_checked(self.platforms)),
            "sif_as_image": self.sif_as_image,
        }
        return {column: value for column, value in wanted.items() if value is not None}


def parse_when(text: str) -> When:
    """When to convert, as people write it. Raises InvalidInput."""
    try:
        return When(text)
    except ValueError:
        raise InvalidInput(f"Conversion happens on 'push' or on 'demand', or is 'off'; not {text[:40]!r}.") from None


def parse_platforms(text: str) -> tuple[str, ...]:
    """Platforms separated by commas, each once. Raises InvalidInput."""
    return _checked(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _checked(platforms: Iterable[str]) -> tuple[str, ...]:
    found = tuple(platforms)
    wrong = next((one for one in found if not _PLATFORM.fullmatch(one)), None)
    if wrong is not None:
        raise InvalidInput(f"{wrong[:40]!r} is no platform: write linux/architecture or linux/architecture/variant, as in linux/arm64/v8.")
    if not 1 <= len(found) <= _MOST_PLATFORMS:
        raise InvalidInput(f"A project converts for 1 to {_MOST_PLATFORMS} platforms; to convert nothing, set its conversion to 'off'.")
    return found
