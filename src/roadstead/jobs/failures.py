"""Which failures are tried again, and when.

What the error tree says of the request or of the state of things would be the same the next time: such a job has failed at once. What it
says of this moment is tried again, and so is what it does not know: there the fault may be anywhere.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from roadstead.errors import ClientFault, RoadsteadError, TooManyRequests, Unavailable

PASSING: Final[tuple[type[RoadsteadError], ...]] = (Unavailable, ClientFault, TooManyRequests)
"""The errors of the tree, with what is below them, that may be gone the next time."""

_LONGEST: Final = 1000


class BackOff(msgspec.Struct, frozen=True):
    """How long a job waits after a failure: `first`, then twice as long each time, at most `longest`; by chance up to half as long again or
    as little as half, so that those that failed together do not come back together.
    """

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(hours=1)

    def after(self, failures: int, chance: float) -> timedelta:
        """The pause after this many failures, from 1; `chance` is from 0 to 1."""
        doubled = self.first * (1 << min(failures - 1, 20))
        return min(doubled, self.longest) * (0.5 + chance)


def is_passing(error: Exception) -> bool:
    """Whether the next attempt may succeed."""
    return isinstance(error, PASSING) or not isinstance(error, RoadsteadError)


def asked_pause(error: Exception) -> timedelta:
    """How long the error itself says to wait."""
    seconds = error.detail.get("retry_after") if isinstance(error, RoadsteadError) else None
    return timedelta(seconds=float(seconds)) if isinstance(seconds, int | float) else timedelta()


def reason(error: Exception) -> str:
    """The error in a sentence for those who see the job. An unexpected one may say anything, so only the server's log has its text."""
    if isinstance(error, RoadsteadError):
        return plain(error.message)
    return f"Unexpected failure ({type(error).__name__}); the log of the server says more."


def plain(text: str) -> str:
    """The text as every database takes it, and not too long."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
