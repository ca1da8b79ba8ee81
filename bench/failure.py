"""The one exception of the bench: its message is what the user reads."""

from __future__ import annotations


class BenchError(Exception):
    """A measurement cannot be made or would not be true; the message says why in one sentence."""
