"""A disk that writes down what is asked of it, and fails when it is told to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from roadstead.content.disk import Disk

WRITING = frozenset({"open", "pwrite", "truncate", "fsync", "fsync_directory", "close", "make_directory"})
"""The calls that a full disk or quota can make fail. (close: network file systems report it only then.)"""


class Call(NamedTuple):
    """One call: what, and on which path."""

    verb: str
    path: Path


class FaultyDisk(Disk):
    """The real disk, which writes down its calls, and from the n-th call after `fail` on raises an error until it is healed."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.longest_write: int | None = None
        self.met = False
        self._paths: dict[int, Path] = {}
        self._error: int | None = None
        self._countdown = 0
        self._failing: frozenset[str] = frozenset()

    def fail(self, error: int, at: int = 1, failing: frozenset[str] = WRITING) -> None:
        """Let the call of a kind in `failing` that comes `at`-th from now raise `error`, and all after it: a full disk stays full."""
        self._error, self._countdown, self._failing, self.met = error, at, failing, False

    def heal(self) -> None:
        """Fail no more."""
        self._error = None

    def made(self, *verbs: str) -> list[Call]:
        """The calls so far, in order, of these kinds."""
        return [call for call in self.calls if call.verb in verbs]

    @property
    def open_files(self) -> int:
        """How many files are open."""
        return len(self._paths)

    def _step(self, verb: str, path: Path) -> None:
        self.calls.append(Call(verb, path))
        if self._error is not None and verb in self._failing:
            self._countdown -= 1
            if self._countdown <= 0:
                self.met = True
                raise OSError(self._error, os.strerror(self._error), str(path))

    def open(self, path: Path, flags: int) -> int:
        if not path.exists():
            self._step("open", path)
        descriptor = super().open(path, flags)
        self._paths[descriptor] = path
        return descriptor

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._step("close", self._paths.pop(descriptor))

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        self._step("pread", self._paths[descriptor])
        return super().pread(descriptor, length, offset)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        self._step("pwrite", self._paths[descriptor])
        return super().pwrite(descriptor, data[: self.longest_write], offset)

    def truncate(self, descriptor: int, size: int) -> None:
        self._step("truncate", self._paths[descriptor])
        super().truncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        self._step("fsync", self._paths[descriptor])
        super().fsync(descriptor)

    def fsync_directory(self, path: Path) -> None:
        self._step("fsync_directory", path)
        super().fsync_directory(path)

    def make_directory(self, path: Path) -> None:
        self._step("make_directory", path)
        super().make_directory(path)
