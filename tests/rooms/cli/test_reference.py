"""The pages of commands and settings say what the program has, and every command can be read by programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from roadstead.cli.main import app
from roadstead.cli.reference import PAGES, walk, write
from roadstead.cli.remote import EXITS

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PAGE = REFERENCE / "cli.md"
COMMANDS = dict(walk(typer.main.get_command(app), ()))
FOR_EVER = {("serve",), ("worker",)}  # They end only when they are stopped.


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_program_declares(name: str) -> None:
    page = (REFERENCE / name).read_text()
    assert write(page, PAGES[name]()) == page, "run `make reference`"


def test_the_page_names_every_command_and_option() -> None:
    page = PAGE.read_text()
    assert len(COMMANDS) > 50
    for path, command in COMMANDS.items():
        section = re.search(rf"### `roadstead {' '.join(path)}(?: [^`]*)?`\n(.*?)(?=\n###|\Z)", page, re.DOTALL)
        assert section, path
        for option in (word for one in command.params if one.param_type_name == "option" for word in one.opts):
            assert f"`{option}`" in section[1], (path, option)


def test_the_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        write("# Commands\n", iter(()))


def test_every_command_but_those_that_never_end_prints_json() -> None:
    assert {path for path, command in COMMANDS.items() if not any("--json" in one.opts for one in command.params)} == FOR_EVER


def test_every_command_and_option_has_a_sentence() -> None:
    silent = [
        (path, one.name) for path, command in COMMANDS.items() for one in command.params if one.param_type_name == "option" and not one.help
    ]
    assert [path for path, command in COMMANDS.items() if not command.help] == []
    assert silent == []


def test_every_exit_status_is_told() -> None:
    told = set(re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE))
    assert {str(status) for _, status in EXITS} <= told
