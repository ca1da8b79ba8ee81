"""What pages are made of lies in the package, so that the wheel has it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_templates_and_files_are_in_the_package() -> None:
    room = resources.files("roadstead.web")
    for name in ("templates/base.html", "templates/projects/list.html", "static/app.css", "static/app.js", "static/htmx.js"):
        assert room.joinpath(name).is_file(), name
    assert "Zero-Clause BSD" in room.joinpath("static/htmx.LICENSE.txt").read_text()


@pytest.mark.slow
def test_the_wheel_has_them(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    here = ROOT / "src"
    wanted = {str(one.relative_to(here)) for end in ("templates", "static") for one in (here / "roadstead/web" / end).rglob("*.*")}
    assert wanted
    assert wanted <= names
