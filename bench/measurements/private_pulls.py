"""What a pull of a private image costs: manifest GET with a bearer token and with a CLI secret, and the token itself.

docker-registry is measured without any authentication, which is the most favourable case for it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bench.client import Address, Connection
from bench.images import fresh_image, push_image, push_scope
from bench.load import WARM_UP_SECONDS, manifest_gets, requests_a_second
from bench.results import Row
from bench.rounds import Arena, interleave
from bench.servers import ROADSTEAD, Server

_USER: Final = "reader"
_PASSWORD: Final = "an anchor of iron"
_REPOSITORY: Final = "closed/manifest-get"
_TOKENS_A_CORE: Final = 300.0


def measure(arena: Arena) -> list[Row]:
    """One image on each server, ours in a private project of which the reader is a guest; then wrk in turns."""
    with ExitStack() as stack:
        subject, rival = stack.enter_context(arena.start_subject()), stack.enter_context(arena.start_rival())
        basic = _open_to_reader(arena.directory / "subject" / "data")
        for server in (subject, rival):
            _fill(server)
        bearer = _bearer(subject, basic)
        manifest_gets(rival, _REPOSITORY, seconds=WARM_UP_SECONDS)
        manifest_gets(subject, _REPOSITORY, [basic], seconds=WARM_UP_SECONDS)
        target = f"/service/token?service=roadstead&scope={quote(f'repository:{_REPOSITORY}:pull')}"
        found = interleave(
            arena,
            [
                lambda: {"bearer": manifest_gets(subject, _REPOSITORY, [bearer])},
                lambda: {"basic": manifest_gets(subject, _REPOSITORY, [basic])},
                lambda: {"rival": manifest_gets(rival, _REPOSITORY)},
                lambda: {"tokens": requests_a_second(subject, target, [basic]) / len(os.sched_getaffinity(0))},
            ],
        )
    title = "private manifest GET by tag, 32 connections"
    goal = [_TOKENS_A_CORE] * arena.rounds
    return [
        Row(f"{title}, bearer token", "requests/s", found["bearer"], f"{rival.name} without auth", found["rival"], at_least=8.0),
        Row(f"{title}, CLI secret", "requests/s", found["basic"], f"{rival.name} without auth", found["rival"], at_least=5.0),
        Row("tokens, CLI secret, a core", "tokens/s", found["tokens"], "the goal", goal, at_least=1.0),
    ]


def _open_to_reader(data: Path) -> str:
    """Make the project and its reader; the Authorization line of the reader's CLI secret."""
    _tell(data, "user", "add", _USER, said=_PASSWORD)
    _tell(data, "project", "add", _REPOSITORY.partition("/")[0])
    _tell(data, "project", "member", _REPOSITORY.partition("/")[0], _USER, "--role", "guest")
    secret = json.loads(_tell(data, "user", "secret", _USER))["secret"]
    return "Authorization: Basic " + base64.b64encode(f"{_USER}:{secret}".encode()).decode()


def _tell(data: Path, *arguments: str, said: str = "") -> str:
    command = [str(ROADSTEAD), *arguments, "--data", str(data), "--json"]
    return subprocess.run(command, check=True, input=said, capture_output=True, text=True).stdout


def _fill(server: Server) -> None:
    with Connection(server.address) as connection:
        connection.authorise([push_scope(_REPOSITORY)])
        push_image(connection, _REPOSITORY, "latest", fresh_image())


def _bearer(server: Server, basic: str) -> str:
    """The Authorization line of a token for the repository, got as a client gets it."""
    credentials = base64.b64decode(basic.rpartition(" ")[2]).decode()
    with Connection(Address(server.address.host, server.address.port, credentials)) as connection:
        connection.authorise([f"repository:{_REPOSITORY}:pull"])
        return f"Authorization: {connection.authorization}"
