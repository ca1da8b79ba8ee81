"""Load by wrk: requests a second over kept-alive connections."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import Final

from bench.failure import BenchError
from bench.images import MANIFEST_TYPE
from bench.servers import Server

SECONDS: Final = 5
WARM_UP_SECONDS: Final = 1
_RATE: Final = re.compile(r"Requests/sec:\s+([\d.]+)")
_FAULT: Final = re.compile(r"Non-2xx or 3xx responses.*|Socket errors.*")


def manifest_gets(server: Server, repository: str, headers: Sequence[str] = (), seconds: int = SECONDS) -> float:
    """GETs a second of the manifest `latest` of `repository`; see `requests_a_second`."""
    return requests_a_second(server, f"/v2/{repository}/manifests/latest", [f"Accept: {MANIFEST_TYPE}", *headers], seconds)


def requests_a_second(server: Server, target: str, headers: Sequence[str] = (), seconds: int = SECONDS) -> float:
    """GETs a second of `target` with 2 threads and 32 connections. Raises BenchError if one answer is not a success."""
    url = f"http://{server.address.host}:{server.address.port}{target}"
    command = ["wrk", "-t2", "-c32", f"-d{seconds}s", *(part for header in headers for part in ("-H", header)), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    fault, rate = _FAULT.search(output), _RATE.search(output)
    if fault or not rate:
        raise BenchError(f"wrk against {server.name}: {fault.group() if fault else output}")
    return float(rate.group(1))
