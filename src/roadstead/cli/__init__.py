"""The command line: a module per command; the only room that prints."""

from __future__ import annotations

from roadstead.cli.main import main

__all__ = ["main"]
