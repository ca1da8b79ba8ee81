"""What shuts a process in: limits, and everything that the Linux kernel offers to those who are not root.

A converter reads what strangers made. If one of the libraries that it does so with is broken by its input, what runs then can compute,
talk to its parent and write to its output: nothing else. Four things see to that, each alone and as far as the kernel grants it:

* no new privileges (prctl(2), PR_SET_NO_NEW_PRIVS), which the next two need;
* a network namespace of its own, without any network (unshare(2));
* Landlock (landlock(7)) without a rule: no file is opened, no port connected, no process outside is signalled;
* a seccomp filter (seccomp(2)) that knows the few system calls that a conversion makes, and fails every other one with EPERM.

Memory, processor time, size of the output and open files are bounded by setrlimit(2). The number of processes is not: the kernel counts
those of the whole account there, and the filter lets only threads begin.

Everything here must be called while the process has a single thread.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import resource
import signal
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

import msgspec

from roadstead.sif.orders import Isolation, Means

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000
_OPEN_FILES: Final = 16

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # The same on every architecture.
_LANDLOCK_VERSION: Final = 1
_FILE_RIGHTS: Final[Mapping[int, int]] = MappingProxyType({1: 13, 2: 14, 3: 15, 5: 16})
"""From this version of Landlock on, how many rights to files it knows; each is a bit, from the lowest."""
_NET_RIGHTS, _SCOPES = (4, 2), (6, 2)  # The same for rights to ports and for what reaches other processes.


class _Machine(msgspec.Struct, frozen=True):
    """An architecture: its number for audit (linux/audit.h), the system calls that are needed by number, and two of them by name."""

    audit: int
    calls: tuple[int, ...]
    clone: int
    seccomp: int


_CLONE3: Final = 435
_MACHINES: Final[Mapping[str, _Machine]] = MappingProxyType(
    {
        # read write close fstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn pread64 pwrite64 readv writev
        # sched_yield mremap madvise dup nanosleep getpid sendto recvfrom shutdown exit fcntl fsync fdatasync ftruncate gettimeofday
        # getrusage sysinfo times sigaltstack gettid futex sched_getaffinity restart_syscall clock_gettime clock_getres clock_nanosleep
        # exit_group set_robust_list ppoll getrandom membarrier rseq
        "x86_64": _Machine(
            0xC000003E,
            (
                *(0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20),
                *(24, 25, 28, 32, 35, 39, 44, 45, 48, 60, 72, 74, 75, 77, 96),
                *(98, 99, 100, 131, 186, 202, 204, 219, 228, 229, 230),
                *(231, 273, 271, 318, 324, 334),
            ),
            clone=56,
            seccomp=317,
        ),
        # The same without poll, which this architecture has not.
        "aarch64": _Machine(
            0xC00000B7,
            (
                *(63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 67, 68, 65, 66),
                *(124, 216, 233, 23, 101, 172, 206, 207, 210, 93, 25, 82, 83, 46, 169),
                *(165, 179, 153, 132, 178, 98, 123, 128, 113, 114, 115),
                *(94, 99, 73, 278, 283, 293),
            ),
            clone=220,
            seccomp=277,
        ),
    }
)


def limit(means: Means) -> None:
    """Bound this process by its means, as far as it is not bounded closer already."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, means.output),
        (resource.RLIMIT_CPU, means.cpu_seconds),
        (resource.RLIMIT_AS, means.memory),
    ):
        _, hard = resource.getrlimit(kind)
        # Of processor time the soft limit kills by a signal that tells why, the hard one a second later by one that does not.
        bounds = (most, most + 1 if kind == resource.RLIMIT_CPU else most)
        resource.setrlimit(kind, bounds if hard == resource.RLIM_INFINITY else (min(bounds[0], hard), min(bounds[1], hard)))


def end_with_parent() -> None:
    """Ask for SIGKILL when the parent dies: whatever is being computed then, nobody waits for it."""
    with suppress(AttributeError, OSError):
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def shut() -> Isolation:
    """Shut this process in for good; what the kernel granted. It can open, connect, start and signal nothing afterwards."""
    try:
        libc = _libc()
        is_new = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        is_alone = any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))
        version = _landlock(libc)
        return Isolation(is_new, is_alone, _filter(libc), version)
    except (AttributeError, OSError):  # No Linux, or a C library without these.
        return Isolation()


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    libc.syscall.restype = ctypes.c_long
    return libc


def _call(libc: ctypes.CDLL, number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """A system call that the C library has no function for."""
    longs = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return int(libc.syscall(ctypes.c_long(number), *longs))


def _landlock(libc: ctypes.CDLL) -> int:
    """Give up every right that this kernel's Landlock knows; its version, 0 where there is none."""
    version = _call(libc, _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return 0
    files = max(rights for since, rights in _FILE_RIGHTS.items() if version >= since)
    handled = [(1 << files) - 1]
    for since, rights in (_NET_RIGHTS, _SCOPES):
        if version >= since:
            handled.append((1 << rights) - 1)
    attributes = ctypes.create_string_buffer(struct.pack(f"={len(handled)}Q", *handled), 8 * len(handled))
    ruleset = _call(libc, _LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    # The set's descriptor stays open: it gives nothing, and the process is short.
    return version if ruleset >= 0 and _call(libc, _LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0 else 0


# A seccomp filter is a program for the packet filter of old (linux/filter.h): operation, two distances to jump, operand.
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # Where struct seccomp_data has them.
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_SET_MODE_FILTER, _KEEP_SPECULATION = 1, 4
_X32: Final = 0x40000000  # A second set of numbers for the same calls.


def _filter(libc: ctypes.CDLL) -> bool:
    """Install the filter. Speculation stays as it was: on old kernels a filter would otherwise make the conversion a good deal slower."""
    machine = _MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:
        return False
    steps = b"".join(struct.pack("=HBBI", *step) for step in _program(machine))
    held = ctypes.create_string_buffer(steps, len(steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps) // 8, ctypes.addressof(held)))
    return any(_call(libc, machine.seccomp, _SET_MODE_FILTER, flags, program) == 0 for flags in (_KEEP_SPECULATION, 0))


def _program(machine: _Machine) -> Iterable[tuple[int, int, int, int]]:
    """The filter. clone3 "does not exist", so that the C library falls back to clone, whose flags can be seen: only threads begin."""
    deny = (_RETURN, 0, 0, _FAIL | errno.EPERM)
    yield (_LOAD, 0, 0, _ARCHITECTURE)
    yield (_JUMP_EQUAL, 1, 0, machine.audit)
    yield deny
    yield (_LOAD, 0, 0, _NUMBER)
    yield (_JUMP_FROM, 0, 1, _X32)
    yield deny
    yield (_JUMP_EQUAL, 0, 1, _CLONE3)
    yield (_RETURN, 0, 0, _FAIL | errno.ENOSYS)
    for left, number in zip(range(len(machine.calls), 0, -1), machine.calls, strict=True):
        yield (_JUMP_EQUAL, left - 1 + 4, 0, number)  # Over the rest of these and over four more steps, to the end.
    yield (_JUMP_EQUAL, 0, 2, machine.clone)
    yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
    yield (_JUMP_SET, 1, 0, _CLONE_THREAD)
    yield deny
    yield (_RETURN, 0, 0, _ALLOW)
