"""`roadstead db upgrade`."""

from __future__ import annotations

import asyncio

import typer

from roadstead.metadata import migrations
from roadstead.settings import Settings


def run(settings: Settings) -> None:
    """Migrate, and say so."""
    settings.make_data_directory()
    asyncio.run(migrations.upgrade(settings.database))
    typer.echo(f"The database is at schema {migrations.HEAD}.")
