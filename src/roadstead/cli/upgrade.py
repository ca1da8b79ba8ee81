"""`roadstead db upgrade`."""

from __future__ import annotations

import asyncio

from roadstead.cli.remote import print_facts
from roadstead.metadata import migrations
from roadstead.settings import Settings


def run(settings: Settings, *, as_json: bool) -> None:
    """Migrate, and say so."""
    settings.make_data_directory()
    asyncio.run(migrations.upgrade(settings.database))
    print_facts({"schema": migrations.HEAD}, f"The database is at schema {migrations.HEAD}.", as_json)
