"""A converter's process: `python -I -m roadstead.sif.converter SOCKET OUTPUT`, two descriptors that it inherits.

It reads its task from the socket, imports nothing after that, limits itself and shuts the door (see `isolation`), and only then looks at
the image, whose bytes it asks its parent for. It imports nothing of this project but this room's readers and writers, `oci` and `errors`.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import BinaryIO, Final, NoReturn

import msgspec
from isal import igzip

from roadstead.errors import ImageTooLarge, RoadsteadError, StorageFull
from roadstead.oci.digest import Digest
from roadstead.sif.compatibility.survey import survey_layers, survey_sif
from roadstead.sif.compression import Compression
from roadstead.sif.convert import Conversion, Source, convert
from roadstead.sif.decompression import NAMES, decompressor
from roadstead.sif.isolation import end_with_parent, limit, shut
from roadstead.sif.messages import AHEAD, LENGTH_BYTES, PIECE, Ask, Done, Failed, Task, Told, decode_task, encode
from roadstead.sif.orders import Answer, Examine, Examined, ImageMade, Isolation, SifMade, Survey, Surveyed, ToOci, ToSif
from roadstead.sif.to_oci import to_oci

_STACK: Final = 1 << 20  # Bytes of a thread's stack, which count as address space from the beginning.
_STEP: Final = 0.005  # Progress is told each time it grows by this much.


class Parent:
    """The other end of the socket. Any thread may ask; pieces come in the order of asking."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = Lock()
        self._asked = 0
        self._received = 0
        self._early: dict[int, bytes] = {}
        self._unwanted: set[int] = set()

    def task(self) -> Task:
        """What is to be done: the first message."""
        return decode_task(self._receive())

    def send(self, message: Ask | Told | Done | Failed) -> None:
        """Say something."""
        with self._lock:
            self._connection.sendall(encode(message))

    def wait(self) -> NoReturn:
        """Wait to be ended, which gives everything back that is held, at once."""
        self._connection.recv(1)
        os._exit(0)

    def ask(self, ask: Ask) -> int:
        """Ask for a piece; a number by which to take it, or to forget it."""
        with self._lock:
            self._connection.sendall(encode(ask))
            self._asked += 1
            return self._asked

    def take(self, number: int) -> bytes:
        """The piece, waited for."""
        with self._lock:
            while self._received < number:
                piece = self._receive()
                self._received += 1
                if self._received not in self._unwanted:
                    self._early[self._received] = piece
                self._unwanted.discard(self._received)
            return self._early.pop(number)

    def forget(self, number: int) -> None:
        """Let a piece go that was asked for."""
        with self._lock:
            if self._early.pop(number, None) is None:
                self._unwanted.add(number)

    def _receive(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(LENGTH_BYTES), "little"))

    def _exactly(self, length: int) -> bytes:
        received = self._connection.recv(length, socket.MSG_WAITALL)
        while len(received) < length:
            more = self._connection.recv(length - len(received), socket.MSG_WAITALL)
            if not more:
                os._exit(1)  # The parent is gone: nobody waits for anything.
            received += more
        return received


class Inputs:
    """The inputs as streams, and how far reading all of them `passes` times has come."""

    def __init__(self, parent: Parent, sizes: tuple[int, ...], passes: int) -> None:
        self._parent = parent
        self._sizes = sizes
        self._passes = passes
        self._opened = [0] * len(sizes)
        self._told = 0.0

    def open(self, number: int) -> Iterator[bytes]:
        """An input from its first byte, in pieces that are asked for ahead."""
        size, before = self._sizes[number], sum(self._sizes[:number])
        self._opened[number] += 1
        begun = (min(self._opened[number], self._passes) - 1) * sum(self._sizes) + before
        waiting: deque[int] = deque()
        asks = (Ask(number, offset, min(PIECE, size - offset)) for offset in range(0, size, PIECE))
        self._parent.send(Told(line=f"Reading {number + 1} of {len(self._sizes)}, {size} bytes, time {self._opened[number]}."))
        try:
            for ask in asks:
                waiting.append(self._parent.ask(ask))
                if len(waiting) == AHEAD:
                    yield self._taken(waiting, begun)
                    begun += PIECE
            while waiting:
                yield self._taken(waiting, begun)
                begun += PIECE
        finally:
            for one in waiting:
                self._parent.forget(one)

    def _taken(self, waiting: deque[int], done: int) -> bytes:
        share = done / (self._passes * sum(self._sizes))
        if share >= self._told + _STEP:
            self._told = share
            self._parent.send(Told(done=share))
        return self._parent.take(waiting.popleft())


class Ranges:
    """One input by ranges, wherever they lie. What follows a range behind the one before it is asked for ahead."""

    def __init__(self, parent: Parent, number: int, size: int) -> None:
        self._parent = parent
        self._number = number
        self._size = size
        self._end = 0
        self._furthest = 0
        self._told = 0.0
        self._waiting: dict[tuple[int, int], int] = {}

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, which lie within the input."""
        pieces = [self._piece(at, min(PIECE, offset + length - at)) for at in range(offset, offset + length, PIECE)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, offset: int, length: int) -> bytes:
        number = self._waiting.pop((offset, length), None) or self._parent.ask(Ask(self._number, offset, length))
        if offset == self._end:
            self._ask_ahead(offset + length)
        self._end = offset + length
        self._tell()
        return self._parent.take(number)

    def _ask_ahead(self, offset: int) -> None:
        following = [(at, min(PIECE, self._size - at)) for at in range(offset, min(offset + AHEAD * PIECE, self._size), PIECE)]
        for one in [one for one in self._waiting if one not in following]:
            self._parent.forget(self._waiting.pop(one))
        for at, length in following:
            if (at, length) not in self._waiting:
                self._waiting[at, length] = self._parent.ask(Ask(self._number, at, length))

    def _tell(self) -> None:
        """The tables are at the end, and are read first: what lies before them is most of it, and is read in order."""
        if self._end <= self._furthest + 2 * PIECE:
            self._furthest = max(self._furthest, self._end)
        share = self._furthest / self._size
        if share >= self._told + _STEP:
            self._told = share
            self._parent.send(Told(done=share))


def warm_up() -> None:
    """Make a small image, so that whatever is imported, opened or set up at first use is there before the door is shut."""
    layer = igzip.compress(bytes(1024))
    configuration = msgspec.json.encode({"architecture": "amd64", "rootfs": {"diff_ids": [str(Digest.of(bytes(1024)))]}})
    for name in ("gzip", "zstd"):
        convert(Source(Digest.of(b""), configuration, [lambda: [layer]]), io.BytesIO(), Conversion(Compression(name, 1)))
    for number in NAMES:
        with suppress(RoadsteadError):
            decompressor(number)(b"damaged", 1)
    threading.stack_size(_STACK)


def tried() -> Iterator[str]:
    """Which of the acts that should not be possible succeed, in words."""
    acts: Mapping[str, Callable[[], object]] = {
        "open a file": lambda: os.open("/", os.O_RDONLY),
        "make a file": lambda: os.open("/tmp", os.O_TMPFILE | os.O_RDWR),  # noqa: S108 - which has no name
        "make a socket": lambda: socket.socket(socket.AF_INET).fileno(),
        "start a process": lambda: os.fork() or os._exit(0),
        "signal another process": lambda: os.kill(os.getppid(), 0),
    }
    for what, act in acts.items():
        with suppress(OSError):
            act()
            yield what


def peak_memory() -> Callable[[], int]:
    """A function that tells the most memory in use so far, in bytes, behind the shut door too; it tells 0 where there is no /proc.

    What getrusage(2) tells would not do: it begins with what the parent had when it started this process.
    """
    try:
        status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return lambda: 0
    return lambda: next((int(line.split()[1]) << 10 for line in os.pread(status, 8192, 0).splitlines() if line.startswith(b"VmHWM")), 0)


def carry_out(task: Task, parent: Parent, output: BinaryIO, isolation: Isolation) -> Answer:
    """Do what is asked. Raises an error of the tree."""
    match task.order:
        case ToSif(digest, configuration, how):
            inputs = Inputs(parent, task.sizes, passes=2)
            image = Source(digest, configuration, [partial(inputs.open, number) for number in range(len(task.sizes))])
            sif = convert(image, output, msgspec.structs.replace(how, threads=task.means.threads))
            output.flush()
            return SifMade(output.seek(0, io.SEEK_END), sif.architecture, sif.created)
        case ToOci(how):
            source = Ranges(parent, 0, task.sizes[0])
            made = to_oci(source.read_at, task.sizes[0], output, msgspec.structs.replace(how, threads=task.means.threads))
            output.flush()
            return ImageMade(made.configuration, made.size, made.diff_id)
        case Survey(is_sif, configuration, limits):
            if is_sif:
                return Surveyed(survey_sif(Ranges(parent, 0, task.sizes[0]).read_at, task.sizes[0], limits))
            layers = Inputs(parent, task.sizes, passes=2)
            return Surveyed(survey_layers(configuration, [partial(layers.open, number) for number in range(len(task.sizes))], limits))
        case Examine():
            return Examined(isolation, tuple(tried()))


def _too_much_memory(task: Task) -> Failed:
    return Failed(ImageTooLarge.__name__, f"The conversion takes more than the {task.means.memory >> 20} MiB of memory that it may have.")


def outcome(task: Task, parent: Parent, output: BinaryIO, isolation: Isolation, peak: Callable[[], int]) -> Done | Failed:
    """Do what is asked; the answer, or why there is none."""
    try:
        answer = carry_out(task, parent, output, isolation)
    except RoadsteadError as error:
        return Failed(type(error).__name__, error.message)
    except MemoryError:
        return _too_much_memory(task)
    except RuntimeError as error:
        if "new thread" not in str(error):
            raise
        return _too_much_memory(task)  # Its stack is what there was no room for.
    except OSError as error:
        if error.errno == errno.EFBIG:
            return Failed(ImageTooLarge.__name__, f"The converted image takes more than the {task.means.output} bytes that it may have.")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Failed(StorageFull.__name__, "There is no space left for the converted image.")
        raise
    return Done(answer, peak())


def main(connection: int, output: int) -> None:
    """Carry out one task and end."""
    end_with_parent()
    with socket.socket(fileno=connection) as ours, os.fdopen(output, "r+b", buffering=PIECE) as file:
        parent = Parent(ours)
        task = parent.task()
        warm_up()
        limit(task.means)
        peak = peak_memory()
        parent.send(outcome(task, parent, file, shut(), peak))
        parent.wait()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
