"""The program `roadstead`, each command in a process of its own, which is forked where everything is imported already.

Loading costs a command half a second or more, and the tests run hundreds. How the program starts by itself, is broken off, and what it
loads has its own tests, which run the installed script (`PROGRAM`).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

PROGRAM: Final = Path(sys.executable).with_name("roadstead")
_DEADLINE: Final = 120.0
_MESSAGE: Final = 1 << 20


def without_settings() -> dict[str, str]:
    """This process's environment, less what would set up Roadstead: the tests' settings come from the tests alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROADSTEAD_")}


def run(
    arguments: tuple[str, ...], environment: Mapping[str, str], *, said: str = "", directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with `said` on its standard input."""
    order = {"arguments": arguments, "environment": dict(environment), "directory": str(directory or Path.cwd())}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(said.encode())
        given.seek(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(_DEADLINE)
            line.connect(_warm(*(Path(f"/proc/thread-self/ns/{kind}").readlink() for kind in ("net", "mnt"))))
            socket.send_fds(line, [json.dumps(order).encode()], [file.fileno() for file in (given, out, err)])
            status = int(line.recv(16))
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([str(PROGRAM), *arguments], status, out.read().decode(), err.read().decode())


@cache
def _warm(_network: Path, _mounts: Path) -> bytes:
    """The address of the process that forks. The first command on a network and among its mounts starts it there; it ends with this one."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")  # the kernel's choice, in no directory
    listener.listen(64)
    code = f"from tests.support.program import take_orders; take_orders({listener.fileno()})"
    root = Path(__file__).parents[2]
    warm = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, env=without_settings(), stdin=subprocess.PIPE, pass_fds=[listener.fileno()]
    )
    atexit.register(warm.terminate)
    address: bytes = listener.getsockname()
    listener.close()
    return address


def take_orders(descriptor: int) -> None:
    """Fork for each order, and in the fork run its command; returns there, and when standard input ends."""

    import roadstead.cli.desk
    import roadstead.client.layouts
    import roadstead.client.management
    import roadstead.client.upload  # noqa: F401
    from roadstead.cli import main

    gc.freeze()
    with socket.socket(fileno=descriptor) as listener:
        while select.select([descriptor, 0], [], [])[0] == [descriptor]:
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                break
            line.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        else:
            return
    message, files, _, _ = socket.recv_fds(line, _MESSAGE, 3)
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        _, ended = os.waitpid(child, 0)
        line.send(str(os.waitstatus_to_exitcode(ended)).encode())
        os._exit(0)
    line.close()
    order = json.loads(message)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["directory"])
    sys.argv = [str(PROGRAM), *order["arguments"]]
    main()
