"""The project stands alone: no file names where some machine gets its packages from, or where somebody keeps the checkout."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pip._internal.models.index import PyPI

ROOT = Path(__file__).parents[2]
SHARED_FOLDERS = {Path("/"), Path("/home"), Path("/opt"), Path("/root"), Path("/srv"), Path("/tmp"), Path("/usr/src"), Path("/var/tmp")}


def project_files() -> Iterator[Path]:
    """What git keeps, and what it would keep of new files."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    return (ROOT / name for name in names if name and (ROOT / name).is_file())


def package_sources() -> set[str]:
    """The hosts that pip, apt and Go of this machine are set up to ask, pip's own default included."""
    sources = [
        PyPI.url,
        f"https://{PyPI.file_storage_domain}",
        os.environ.get("PIP_INDEX_URL", ""),
        *os.environ.get("GOPROXY", "").split(","),
    ]
    for configuration in [*Path("/etc/apt").glob("sources.list*"), *Path("/etc/apt/sources.list.d").glob("*"), Path("/etc/pip.conf")]:
        if configuration.is_file():
            sources += re.findall(r"https?://\S+", configuration.read_text(errors="replace"))
    return {host for source in sources if (host := urlsplit(source).hostname)} - {"127.0.0.1", "localhost"}


def places() -> set[str]:
    """The folder of this checkout, and the one around it if that is somebody's own."""
    return {str(ROOT)} | ({f"{ROOT.parent}/"} if ROOT.parent not in SHARED_FOLDERS else set())


def lines_that_name(words: set[str]) -> list[str]:
    pattern = re.compile("|".join(rf"(?<![\w.]){re.escape(word)}" for word in sorted(words)))
    found = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {line.strip()[:120]}" for line in text.splitlines() if pattern.search(line)]
    return found


def test_no_file_names_a_package_index() -> None:
    assert lines_that_name(package_sources()) == []


def test_requirements_leave_the_index_to_the_machine() -> None:
    options = re.compile(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f|--trusted-host)\b|@ (https?|file)://", re.MULTILINE)
    assert [path.name for path in (ROOT / "requirements").glob("*.txt") if options.search(path.read_text())] == []


def test_no_file_names_the_folder_of_a_checkout() -> None:
    assert lines_that_name(places()) == []
