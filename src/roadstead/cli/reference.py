"""`python -m roadstead.cli.reference DIR`: commands and settings as the program declares them, written into the pages of that directory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from roadstead.cli.main import app
from roadstead.settings import PREFIX, Settings

BEGIN: Final = "<!-- begin: written by `make reference` -->"
END: Final = "<!-- end -->"
_KINDS: Final = {Path: "`PATH`", int: "`NUMBER`"}


def write(page: str, made: Iterator[str]) -> str:
    """The page with the part between its two marks made anew. Raises ValueError if it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("The page has no marks between which this belongs.")
    return f"{before}{begin}\n{''.join(made)}\n{end}{after}"


def sections() -> Iterator[str]:
    """A section for each command, in the order in which `--help` lists them."""
    for path, command in walk(typer.main.get_command(app), ()):
        usage = " ".join(["roadstead", *path, *(_argument(one) for one in _arguments(command))])
        yield f"\n### `{usage}`\n\n{_sentence(command.help)}\n"
        if rows := [_row(one) for one in _options(command)]:
            yield "\n| option | |\n|---|---|\n" + "".join(rows)
        yield from (f"\n`{one.name.upper()}`: {_cell(one.help)}\n" for one in _arguments(command) if getattr(one, "help", None))


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    if path and (not hasattr(command, "commands") or command.invoke_without_command):
        yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def settings() -> Iterator[str]:
    """A table of all settings, in the order in which they are declared."""
    yield "\n| setting | default | meaning |\n|---|---|---|\n"
    for name, field in Settings.model_fields.items():
        yield f"| `{PREFIX}{name.upper()}` | {_default(field)} | {_cell(field.description)} |\n"


PAGES: Final[Mapping[str, Callable[[], Iterator[str]]]] = {"cli.md": sections, "settings.md": settings}
"""What is written into each page."""


def _default(field: FieldInfo) -> str:
    """As one writes it; empty where the description tells it."""
    if field.default_factory is not None or field.default in (None, ()):
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _arguments(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "argument"]


def _options(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "option" and not one.hidden and one.name != "help"]


def _argument(argument: Any) -> str:
    name = argument.name.upper()
    return name if argument.required else f"[{name}]"


def _row(option: Any) -> str:
    words = ", ".join(f"`{word}`" for word in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {_metavar(option)}"
    needed = " Needed." if option.required else ""
    variable = f" From `{option.envvar}` where it is not given." if option.envvar else ""
    return f"| {words}{value} | {_cell(option.help)}{needed}{variable} |\n"


def _metavar(option: Any) -> str:
    kind = option.type_descriptor.annotation
    return " or ".join(f"`{one}`" for one in get_args(kind)) if get_origin(kind) is Literal else _KINDS.get(kind, "`TEXT`")


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def main(directory: Path) -> None:
    """Write the pages anew."""
    for name, made in PAGES.items():
        page = directory / name
        page.write_text(write(page.read_text(), made()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
