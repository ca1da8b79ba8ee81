"""A network and a machine of the tests' own: names and addresses that are not loopback for docker, files that programs may change.

Docker takes every registry on 127.0.0.0/8 for an insecure one, so whether it checks certificates is only seen at another address.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_SIOCSIFFLAGS, _SIOCSIFADDR, _IFF_UP = 0x8914, 0x8916, 1


@contextmanager
def own_network(names: Mapping[str, str]) -> Iterator[None]:
    """Take this thread, and what it starts, to a new network in which `names` (name → IPv4 address of this machine) are known.

    Mounts that are made meanwhile, such as /etc, which may be changed freely, are gone afterwards. Needs root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    here, directory = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")], Path.cwd()
    _check(libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS))
    try:
        _mount("--make-rprivate", "/")
        with overlaid(Path("/etc")):
            for number, (name, address) in enumerate(names.items(), 1):
                _add_address(f"lo:{number}", address)
                with Path("/etc/hosts").open("a") as hosts:
                    hosts.write(f"\n{address} {name}\n")
            yield
    finally:
        for namespace in here:
            _check(libc.setns(namespace, 0))
            os.close(namespace)
        os.chdir(directory)


@contextmanager
def overlaid(*places: Path) -> Iterator[None]:
    """Let everything below `places` be changed, and be as before afterwards. Only inside `own_network`."""
    with ExitStack() as stack:
        layers = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roadstead-", dir="/tmp")))
        _mounted(stack, layers, "-t", "tmpfs", "layers")
        for number, place in enumerate(places):
            upper, work = layers / f"upper{number}", layers / f"work{number}"
            upper.mkdir()
            work.mkdir()
            _mounted(stack, place, "-t", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={work}", "overlay")
        yield


def _mounted(stack: ExitStack, place: Path, *options: str) -> None:
    _mount(*options, str(place))
    # Lazily, because a program that was started meanwhile may not be quite gone.
    stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _add_address(interface: str, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
        request = struct.pack("16sHH4s8x", interface.encode(), socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(control, _SIOCSIFADDR, request)


def _check(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
