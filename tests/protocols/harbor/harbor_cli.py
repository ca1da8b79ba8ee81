"""The command-line client `harbor-cli` in an environment of its own, as it needs another Typer than we do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.server import RoadsteadServer

ROOT = Path(__file__).parents[3]
PINNED = ROOT / "requirements" / "harbor-cli.txt"
HOME = ROOT / ".cache" / "harbor-cli"


class ClientMissing(Exception):
    """The client could not be installed here."""


def install() -> Path:
    """The client's program, installed unless this checkout has what is pinned. Raises ClientMissing with what went wrong."""
    program, done = HOME / "bin" / "harbor", HOME / "pinned.txt"
    if done.exists() and done.read_text() == PINNED.read_text():
        return program
    _run([sys.executable, "-m", "venv", "--clear", str(HOME)])
    pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(PINNED)])
    shutil.copy(PINNED, done)
    return program


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClientMissing(f"{' '.join(command[:4])} … failed:\n{done.stderr[-2000:]}")


class HarborCli:
    """The client, set up for a server, with a home of its own."""

    def __init__(self, program: Path, server: RoadsteadServer, home: Path) -> None:
        self._program = program
        self._home = home
        self._config = home / "config.toml"
        sample = self._plain("sample-config").stdout
        for key, value in {"url": f"{server.url}/api/v2.0", "username": "admin", "secret": server.admin_password}.items():
            sample = re.sub(rf'^{key} = ".*"$', f'{key} = "{value}"', sample, flags=re.MULTILINE)
        # No questions, no waiting for a second try, no log.
        sample = re.sub(r"^(confirm_\w+|enabled) = true$", r"\1 = false", sample, flags=re.MULTILINE)
        self._config.write_text(sample)

    def _plain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), "COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.run(
            [str(self._program), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            stdin=subprocess.DEVNULL,
        )

    def run(self, *arguments: str) -> Any:
        """What a command prints as JSON; it must succeed."""
        done = self._plain("--config", str(self._config), "--format", "json", *arguments)
        assert done.returncode == 0, f"harbor {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def fail(self, *arguments: str) -> str:
        """What a command says that must fail."""
        done = self._plain("--config", str(self._config), *arguments)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr
