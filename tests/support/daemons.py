"""Docker daemons that the tests start for themselves: out of the clients' tree, with throw-away data, gone with the test run."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.clients.tools import program
from tests.support.server import poll

CLASSIC_STORE: Mapping[str, object] = {"storage-driver": "vfs"}
CONTAINERD_STORE: Mapping[str, object] = {"storage-driver": "native", "features": {"containerd-snapshotter": True}}
# Neither a firewall nor a bridge: the daemon only pulls and pushes here, and must leave the machine's network as it is.
CONFIGURATION = {"iptables": False, "ip6tables": False, "bridge": "none", "live-restore": False, "shutdown-timeout": 1}


@contextmanager
def docker_daemon(directory: Path, store: Mapping[str, object]) -> Iterator[str]:
    """A dockerd with everything that it writes under `directory` (short, under /tmp: it holds sockets); gives its DOCKER_HOST.

    It is the first process of its own process namespace, so that its death, and likewise the death of the test run however
    that ends, takes containerd and everything else below it along; its mounts are in a namespace that goes the same way.
    """
    socket, log = directory / "docker.sock", directory / "dockerd.log"
    configuration = directory / "daemon.json"
    configuration.write_text(json.dumps({**CONFIGURATION, **store}))
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [str(program("dockerd")), "--config-file", str(configuration), "--host", f"unix://{socket}"]
    command += ["--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"), "--pidfile", str(directory / "pid")]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        ready = poll(lambda: process.poll() is not None or b"API listen on" in log.read_bytes())
        assert ready and process.poll() is None, f"dockerd did not start:\n{log.read_text(errors='replace')[-4000:]}"
        yield f"unix://{socket}"
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop the daemon below `process` (unshare, which ignores SIGTERM): politely, then not. Returns when nothing of it is left."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split() if process.poll() is None else ():
        daemon = os.pidfd_open(int(child))
        signal.pidfd_send_signal(daemon, signal.SIGTERM)
        if not select.select([daemon], [], [], 10.0)[0]:
            signal.pidfd_send_signal(daemon, signal.SIGKILL)
        select.select([daemon], [], [])  # The first process of a process namespace ends after all others in it.
        os.close(daemon)
    process.wait()
