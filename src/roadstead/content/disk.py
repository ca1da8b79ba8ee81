"""Every system call that the filesystem store makes, and nothing that decides anything.

Tests put a disk in its place that is full at the n-th call, or that writes down the order of the calls.
All methods block, and raise OSError.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

SYNC_FILE_RANGE_WRITE = 2
"""Linux's sync_file_range(2): begin to write dirty pages, and do not wait."""


class Disk:
    """The operating system's own file calls."""

    def open(self, path: Path, flags: int) -> int:
        """Open or make a regular file; returns its descriptor."""
        return os.open(path, flags | os.O_CLOEXEC, 0o640)

    def open_unnamed(self, directory: Path) -> int:
        """Make a regular file without a name, which is gone when its last descriptor is; Linux' O_TMPFILE (open(2))."""
        return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o640)

    def name(self, descriptor: int, path: Path) -> None:
        """Give a file without a name this one, which nothing has yet. Needs /proc."""
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With a directory's descriptor Python calls linkat(2) with AT_SYMLINK_FOLLOW; without one it links the symbolic link itself.
            os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=directory, follow_symlinks=True)
        finally:
            os.close(directory)

    def close(self, descriptor: int) -> None:
        """Give the descriptor back, also if this raises."""
        os.close(descriptor)

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        """Read up to `length` bytes from `offset`; b"" at the end."""
        return os.pread(descriptor, length, offset)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write some of `data`; returns how many bytes (at least 1)."""
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(descriptor, size)

    def stat(self, descriptor: int) -> os.stat_result:
        """Size, times and link count of an open file."""
        return os.fstat(descriptor)

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Have the kernel begin to write this range, so that a later fsync finds little left to do. A hint: it promises nothing."""
        _sync_file_range()(descriptor, offset, length, SYNC_FILE_RANGE_WRITE)

    def fsync(self, descriptor: int) -> None:
        """Return when the file's bytes would survive a power cut."""
        os.fsync(descriptor)

    def fsync_directory(self, path: Path) -> None:
        """Return when the names in a directory would survive a power cut."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directory(self, path: Path) -> None:
        """Make `path` and its parents where they are missing."""
        path.mkdir(mode=0o750, parents=True, exist_ok=True)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        path.unlink()

    def list_directory(self, path: Path) -> list[tuple[str, os.stat_result]]:
        """The regular files of a directory; one that vanishes meanwhile is left out."""
        with os.scandir(path) as entries:
            return [(entry.name, stat) for entry in entries if entry.is_file(follow_symlinks=False) and (stat := _stat(entry)) is not None]


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int]:
    """The C library's function; where it has none (it is Linux's own), one that does nothing."""
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return lambda descriptor, offset, length, flags: 0
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


def boot_id() -> str:
    """A text that changes when the machine starts anew; "" where the system has none, which equals no other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
