"""The ladder of rooms: the contract holds, and the page that describes it tells the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "roadstead"


def contracted_rungs() -> list[set[str]]:
    """The layers of the import contract in pyproject.toml, top first; `a | b` are rooms on one rung, `(a)` may be missing."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    ladder = next(contract for contract in contracts if contract["type"] == "layers" and contract["containers"] == ["roadstead"])
    assert ladder["exhaustive"] is True
    return [{room.strip(" ()") for room in re.split(r"[|:]", layer)} for layer in ladder["layers"]]


def described_rungs() -> list[str]:
    """The rooms' column of the table in docs/architecture.md, top first. Rooms to come are in italics."""
    return re.findall(r"^\| \d+ \| (.+?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)


def rooms_on_disk() -> set[str]:
    """Every package and module directly below `roadstead` that holds code."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return packages | {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}


def test_every_import_goes_down_the_ladder() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_draws_the_ladder_of_the_contract() -> None:
    assert [set(re.findall(r"`(\w+)`", rung)) for rung in described_rungs()] == contracted_rungs()


def test_the_page_tells_rooms_that_are_there_from_rooms_to_come() -> None:
    to_come = set(re.findall(r"\*`(\w+)`\*", " ".join(described_rungs())))
    assert rooms_on_disk() == set().union(*contracted_rungs()) - to_come


def test_no_room_is_named_for_leftovers() -> None:
    leftovers = {"utils", "util", "common", "helpers", "core", "models", "services", "misc"}
    found = [path for path in PACKAGE.rglob("*") if path.stem in leftovers and path.suffix in {"", ".py"}]
    assert found == []
