"""`roadstead key …`: the OpenPGP keys of the key server, seen and removed on the database itself."""

from __future__ import annotations

from typing import Annotated

import typer

from roadstead.access.actor import SYSTEM
from roadstead.cli.office import JsonOption, run_at_desk, say, show
from roadstead.cli.options import ConfigOption, DataOption

keys = typer.Typer(help="OpenPGP keys with which people sign.", no_args_is_help=True)


@keys.command("search")
def keys_search(
    words: Annotated[str, typer.Argument(help="A part of a name or address, a key id or a fingerprint.")],
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Find keys, as `apptainer key search` does."""
    show(run_at_desk(data, config, lambda desk: desk.openpgp_keys.search(words, exact=False)), as_json=as_json)


@keys.command("remove")
def keys_remove(fingerprint: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Remove a key. Its owner can push it again; a key that is revoked stays so for everybody, which is better where there is a choice."""
    run_at_desk(data, config, lambda desk: desk.openpgp_keys.remove(SYSTEM, fingerprint.removeprefix("0x")))
    say({"fingerprint": fingerprint}, f"The key {fingerprint} is removed.", as_json=as_json)
