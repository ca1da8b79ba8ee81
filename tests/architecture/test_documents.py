"""What the documents promise is there: commands, links, decisions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roadstead.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")])


def make_targets() -> set[str]:
    """The targets that `make help` lists."""
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_command_of_a_page_exists(page: Path) -> None:
    told = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    assert told <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_into_the_project_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!\w+:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_documentation_lists_every_page_once() -> None:
    told = re.findall(r'"([^"]+\.md)"', (ROOT / "zensical.toml").read_text())
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if ROOT / "docs" in page.parents]
    records = [page for page in pages if re.match(r"decisions/\d", page)]  # listed on the page of decisions
    assert sorted(told) == sorted(set(pages) - set(records))


def test_the_readme_gives_the_two_commands() -> None:
    assert {"serve", "test"} <= set(re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))


def test_the_ci_run_uses_the_readmes_test_command() -> None:
    assert re.search(r"^stage \w+ make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_every_decision_is_numbered_listed_and_complete() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    assert [name(path) for path in records if f"({path.name})" not in (folder / "README.md").read_text()] == []
    parts = ("**Context.**", "**Choice.**", "**Consequences.**")
    assert [name(path) for path in records if not all(part in path.read_text() for part in parts)] == []


def test_every_change_note_says_its_kind() -> None:
    notes = [path for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"]
    kind = re.compile(r"kind: (added|changed|fixed|removed|security)\n\n\S")
    assert notes
    assert [name(path) for path in notes if not (re.match(r"\d{4}-[a-z0-9-]+\.md$", path.name) and kind.match(path.read_text()))] == []


def test_the_commands_that_stay_are_those_of_the_program() -> None:
    row = r"^\| `roadstead ((?:[a-z][a-z-]* ?)+?)(?: (?:[\[A-Z]|--).*)?` \|"
    told = re.findall(row, (ROOT / "docs" / "reference" / "contracts.md").read_text(), re.MULTILINE)
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {
        f"{group.name} {command.name or command.callback.__name__}"
        for group in app.registered_groups
        if group.typer_instance
        for command in group.typer_instance.registered_commands
        if command.callback
    }
    known |= {
        str(group.name) for group in app.registered_groups if group.typer_instance and group.typer_instance.info.invoke_without_command
    }
    assert set(told) == known
