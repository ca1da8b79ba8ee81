"""The ladder of rooms: the contract holds, and the page that describes it tells the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "roadstead"


def contract() -> dict[str, Any]:
    """The contract of layers in pyproject.toml."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["type"] == "layers" and contract["containers"] == ["roadstead"])


def contracted_rungs() -> list[set[str]]:
    """The contract's layers, top first; `a | b` are rooms on one rung."""
    return [{room.strip(" ()") for room in re.split(r"[|:]", layer)} for layer in contract()["layers"]]


def described_rungs() -> list[set[str]]:
    """The rows of the table in docs/architecture.md, top first."""
    rows = re.findall(r"^\| \d+ \| (.+?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    return [set(re.findall(r"`(\w+)`", row)) for row in rows]


def rooms_on_disk() -> set[str]:
    """Every package and module directly below `roadstead` that holds code."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return packages | {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}


def test_every_import_goes_down_the_ladder() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_draws_the_ladder_of_the_contract() -> None:
    assert described_rungs() == contracted_rungs()


def test_every_room_stands_on_a_rung() -> None:
    assert contract()["exhaustive"] is True
    assert rooms_on_disk() - set(contract().get("exhaustive_ignores", ())) == set().union(*contracted_rungs())


def test_no_room_is_named_for_leftovers() -> None:
    leftovers = {"utils", "util", "common", "helpers", "core", "models", "services", "misc"}
    found = [path for path in PACKAGE.rglob("*") if path.stem in leftovers and path.suffix in {"", ".py"}]
    assert found == []
