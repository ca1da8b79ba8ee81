"""A large site: its data, written straight into the database before the server starts (`tests.support.many`), and browsers' sessions."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from urllib.parse import urlencode

from bench.client import Connection, expect
from bench.servers import ROADSTEAD
from roadstead.metadata.database import open_database
from tests.support import many


def fill(data: Path) -> None:
    """Make the directory with its database."""
    data.mkdir(parents=True)
    subprocess.run([ROADSTEAD, "db", "upgrade", "--data", str(data)], check=True, capture_output=True)
    asyncio.run(_write(f"sqlite:///{data / 'roadstead.sqlite'}"))


async def _write(url: str) -> None:
    database = await open_database(url)
    try:
        await database.write(many.fill)
    finally:
        await database.close()


def session(connection: Connection, name: str, password: str) -> str:
    """Log in by the form; the Cookie header of a browser that has."""
    headers = ["Content-Type: application/x-www-form-urlencoded", "Accept: text/html", "Sec-Fetch-Site: same-origin"]
    form = urlencode({"name": name, "password": password}).encode()
    answer = expect(connection.request("POST", "/login", headers, form), 303, f"login of {name} by the form")
    return f"Cookie: {answer.headers['set-cookie'].partition(';')[0]}"
