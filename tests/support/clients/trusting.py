"""A user's machine that knows nothing of the registry's authority yet, and what its page /trust tells the user to do."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.clients.images import base, tar
from tests.support.clients.namespace import overlaid, own_network
from tests.support.clients.tools import INSTALLED, Workplace
from tests.support.server import RoadsteadServer

UNTRUSTED = re.compile(r"x509|certificate signed by unknown authority|failed to verify certificate", re.IGNORECASE)


NAME, ADDRESS = "lab.test", "10.99.0.1"


@contextmanager
def registry_with_tls(directory: Path, name: str = NAME, **options: Any) -> Iterator[RoadsteadServer]:
    """A server with an authority of its own at https://NAME, on a network of its own; its data below `directory`. By default port 443."""
    environment = {"ROADSTEAD_TLS": "self", "ROADSTEAD_TLS_NAMES": name}
    there = {"address": ADDRESS, "name": name, "port": 443, **options}
    with own_network({name: ADDRESS}), RoadsteadServer(directory / "data", environment, **there) as server:
        yield server


@contextmanager
def newcomer() -> Iterator[Workplace]:
    """A home on a machine whose files may be changed: the clients' tree, and this system's own certificates. Inside `own_network`."""
    places = (INSTALLED / "root", Path("/etc"), Path("/usr/local/share"))
    with overlaid(*places), tempfile.TemporaryDirectory(prefix="roadstead-", dir="/tmp") as name:
        home = Path(name)
        (home / "sh").symlink_to(INSTALLED / "bin" / "apptainer")  # the wrapper runs what it is called
        yield Workplace(home)


def fetch_script(workplace: Workplace, registry: RoadsteadServer) -> None:
    """What the page /trust tells a user to do, step by step."""
    here(workplace, "curl", "-fsSk", "-o", "ca.crt", f"{registry.url}/ca.crt")
    printed = here(workplace, "openssl", "x509", "-in", "ca.crt", "-noout", "-fingerprint", "-sha256").partition("=")[2].strip()
    assert f"SHA-256 fingerprint of the authority: {printed}\n" in registry.log.read_text()
    here(workplace, "curl", "-fsS", "--cacert", "ca.crt", "-o", "trust.sh", f"{registry.url}/trust.sh")


def here(workplace: Workplace, *command: str, environment: Mapping[str, str] | None = None) -> str:
    """Run one of this system's own programs in the user's home, to success; what it printed."""
    variables = {**workplace.environment, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, cwd=workplace.home, env=variables, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def trust(workplace: Workplace, registry: RoadsteadServer, *options: str) -> str:
    """Run the script where the clients are, as root; what it said."""
    fetch_script(workplace, registry)
    return workplace.run(str(workplace.home / "sh"), "trust.sh", *options).out


def make_sif(workplace: Workplace) -> bytes:
    """Build it.sif, an image that runs; its bytes."""
    with tarfile.open(fileobj=io.BytesIO(tar({**base(), "etc/seed": b"over TLS"}))) as files:
        files.extractall(workplace.path("rootfs"), filter="tar")
    workplace.run("apptainer", "build", "it.sif", "rootfs")
    return workplace.path("it.sif").read_bytes()
