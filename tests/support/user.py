"""Somebody who types the commands of users."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support import program

INTERRUPTIBLE = ("env", "--default-signal=INT")
"""Before a command that is broken off with Ctrl-C: a shell that runs the tests in its background ignores that signal, and so would that."""


class User:
    """Somebody with a home of their own."""

    def __init__(self, home: Path, host: str) -> None:
        self.home = home
        self.host = host
        self.plain = True
        clean = {name: value for name, value in program.without_settings().items() if not name.startswith("DOCKER_")}
        self.environment = {**clean, "HOME": str(home)}

    def command(self, *words: str) -> list[str]:
        plain = ["--plain-http"] if self.plain and words[0] != "logout" else []
        return [str(program.PROGRAM), *words, *plain]

    def run(self, *words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
        _, *arguments = self.command(*words)
        return program.run(tuple(arguments), self.environment, said=said or "", directory=self.home)

    def done(self, *words: str, said: str | None = None) -> str:
        ended = self.run(*words, said=said)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def told(self, *words: str) -> Any:
        return json.loads(self.done(*words, "--json"))

    def refused(self, status: int, *words: str, said: str | None = None) -> str:
        ended = self.run(*words, said=said)
        assert ended.returncode == status, (ended.returncode, ended.stderr)
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.stderr

    def login(self) -> None:
        self.done("login", self.host, "-u", "admin", "--password-stdin", said="correct horse battery\n")

    def file(self, name: str, content: bytes) -> Path:
        (self.home / name).write_bytes(content)
        return self.home / name

    def names(self) -> set[str]:
        """The files that lie in the home, apart from docker's folder."""
        return {path.name for path in self.home.iterdir()} - {".docker"}


def logged_in(home: Path, host: str) -> User:
    """Somebody in a new home who has logged in."""
    somebody = User(home, host)
    somebody.home.mkdir()
    somebody.login()
    return somebody
