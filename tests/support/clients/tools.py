"""Running the container clients that `install-clients.sh` installs."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

INSTALLED = Path(os.environ.get("ROADSTEAD_CLIENTS", "/var/lib/roadstead-clients"))
INSTALLER = "tests/support/clients/install-clients.sh"
DEADLINE = 120.0  # Seconds that one command may take.


def program(client: str) -> Path:
    """Where the wrapper of `client` lies, installed or not."""
    return INSTALLED / "bin" / client


def require_client(client: str) -> None:
    """Skip the running test if `client` is not installed or cannot be run, or fail it if ROADSTEAD_REQUIRE_CLIENTS is 1."""
    if not program(client).exists():
        reason = f"{client} is not installed: run {INSTALLER} as root"
    elif os.geteuid() != 0:
        reason = f"{client} is run in a root directory of its own, which needs root"
    else:
        return
    if os.environ.get("ROADSTEAD_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Output(NamedTuple):
    """What a command printed."""

    out: str
    err: str


class Workplace:
    """A user's home directory, and the clients as that user runs them: nothing that one test stores is seen by another."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "TMPDIR": str(home / "tmp"),
            "DOCKER_CONFIG": str(home / ".docker"),
            # Podman and skopeo would keep these under /run, which is empty for each command.
            "REGISTRY_AUTH_FILE": str(home / "auth.json"),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
            "CONTAINERS_CONF": str(home / "containers.conf"),
            "COSIGN_PASSWORD": "",
        }
        (home / "tmp").mkdir()
        (home / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/images"\nrunroot = "{home}/running"\n')
        # Locks in files: those in shared memory would outlive the test.
        (home / "containers.conf").write_text(f'[engine]\nlock_type = "file"\ntmp_dir = "{home}/engine"\n')

    def path(self, name: str) -> Path:
        """A file of this home; commands run here, so `name` alone names it for them too."""
        return self.home / name

    def run(self, client: str, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> Output:
        """Run to success. Fails the test with everything that was printed otherwise."""
        finished = self._run(client, arguments, stdin, environment)
        assert finished.returncode == 0, report(client, arguments, finished)
        return Output(finished.stdout, finished.stderr)

    def refused(self, client: str, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> str:
        """Run to failure; everything that was printed. Fails the test if the command succeeds."""
        finished = self._run(client, arguments, stdin, environment)
        assert finished.returncode != 0, report(client, arguments, finished)
        return finished.stdout + finished.stderr

    def converse(self, answers: Mapping[str, str], client: str, *arguments: str) -> tuple[int, str]:
        """Run at a terminal and type each answer when its prompt appears; the exit status and what the terminal showed."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [str(program(client)), *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.home,
            env=self.environment,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            shown = answer_prompts(ours, answers)
            os.close(ours)
            return process.wait(DEADLINE), shown

    def _run(
        self, client: str, arguments: tuple[str, ...], stdin: str | None, environment: Mapping[str, str] | None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program(client)), *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            cwd=self.home,
            env={**self.environment, **(environment or {})},
            timeout=DEADLINE,
            check=False,
        )


def answer_prompts(terminal: int, answers: Mapping[str, str]) -> str:
    """Read the terminal until the program closes it, typing each answer once; what was shown."""
    shown, waiting, end = "", dict(answers), time.monotonic() + DEADLINE
    while select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
        try:
            shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # EIO: the program was the last to hold the other side.
            return shown
        for prompt in [prompt for prompt in waiting if prompt in shown]:
            os.write(terminal, f"{waiting.pop(prompt)}\n".encode())
    raise AssertionError(f"the program neither asked nor ended within {DEADLINE:.0f} s: {shown}")


def report(client: str, arguments: tuple[str, ...], finished: subprocess.CompletedProcess[str]) -> str:
    """What a failed expectation shows: the command, its status and its output."""
    return f"$ {shlex.join([client, *arguments])}\nstatus {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
