"""`roadstead convert HOST/…`: have the registry convert what it holds, and wait for it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from roadstead.cli.remote import print_facts, session_at
from roadstead.errors import InvalidInput, NotConvertible

if TYPE_CHECKING:
    from roadstead.client.management import Conversion

_POLL: Final = 0.5  # Seconds between two questions how far it is.
_REMOTE: Final = re.compile(r"^(https?://|docker://|oras://)?(localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:\d))(:\d+)?/.+")
_FILES: Final = (".sif", ".tar")


def is_remote(source: str) -> bool:
    """Whether the text names something at a registry; what is there as a file is a file."""
    return bool(_REMOTE.match(source)) and not source.endswith(_FILES) and not Path(source).exists()


def convert_there(source: str, *, plain_http: bool, ca: Path | None, as_json: bool) -> None:
    """Have it converted; returns when all its conversions are made. Raises NotConvertible with the registry's reason."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - each command pays only for what it uses
    from roadstead.client.management import begin_conversions, conversions  # noqa: PLC0415 - see above

    place = parse_location(source)
    with session_at(place.host, plain_http, ca) as session:
        rows = begin_conversions(session, place)
        while any(row.state in ("waiting", "running") for row in rows):
            _tell(rows)
            time.sleep(_POLL)
            rows = conversions(session, place)
    if not rows:
        raise InvalidInput(f"{place.text} is nothing that can be converted.")
    if failed := [row for row in rows if row.state != "converted"]:
        raise NotConvertible(f"{place.text} is not converted: {failed[0].reason or failed[0].state}")
    lines = [f"{place.host}/{place.repository}@{row.digest}: {row.form} of {row.size} bytes {row.platform or ''}".rstrip() for row in rows]
    print_facts([row.facts for row in rows], "\n".join(lines), as_json)


def refuse_file_options(output: Path | None, force: bool) -> None:
    """What the registry converts stays there."""
    if output is not None or force:
        raise typer.BadParameter("an image at a registry is converted there; `roadstead pull` fetches it then.")


def _tell(rows: Sequence[Conversion]) -> None:
    if sys.stderr.isatty():
        done = sum(row.progress or 0.0 for row in rows) / len(rows)
        doing = next((row.doing for row in rows if row.doing), "waiting")
        typer.echo(f"\r\033[K{done:.0%} {doing}", nl=False, err=True)
