"""Options that commands share, and how they become settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from roadstead.settings import Settings

DataOption = Annotated[Path | None, typer.Option(help="Directory of the registry's data (default: ./roadstead-data).")]
ConfigOption = Annotated[Path | None, typer.Option(help="Configuration file (default: ./roadstead.toml, if there is one).")]


def apply(config: Path | None = None, **options: Path | str | int | None) -> Settings:
    """Put the options that were given into the environment, for this process and its workers, and read the settings."""
    from roadstead.settings import CONFIG_VARIABLE, PREFIX, load  # noqa: PLC0415 - commands that ask another registry have none

    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    for name, value in options.items():
        if value is not None:
            os.environ[PREFIX + name.upper()] = str(value.absolute() if isinstance(value, Path) else value)
    return load()
