"""Conversions in a process of their own, seen from the process that has them made.

What the child may do is said in `converter`; here it is started, served with pieces of its inputs, listened to and ended. Nothing that it
says is believed: pieces outside of the inputs, messages that are too long or make no sense end it.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import BinaryIO, Final, overload

import msgspec

from roadstead.errors import (
    DigestMismatch,
    ImageTooLarge,
    InvalidDigest,
    InvalidLayer,
    InvalidManifest,
    InvalidSif,
    NotConvertible,
    RoadsteadError,
    StorageFull,
    Unavailable,
    UnsupportedAlgorithm,
)
from roadstead.sif.inputs import Input
from roadstead.sif.messages import (
    LARGEST_MESSAGE,
    LENGTH_BYTES,
    MOST_ASKED,
    PIECE,
    Ask,
    Done,
    Failed,
    FromChild,
    Task,
    Told,
    decode_message,
    encode,
)
from roadstead.sif.orders import Answer, Examine, Examined, ImageMade, Means, Order, SifMade, Survey, Surveyed, ToOci, ToSif

Tell = Callable[[float | None, str], object]
"""Takes how far it is (0 to 1, None where nobody knows) and a line for the log, which may be empty."""

ERRORS: Final[Mapping[str, type[RoadsteadError]]] = MappingProxyType(
    {
        error.__name__: error
        for error in (
            DigestMismatch,
            ImageTooLarge,
            InvalidDigest,
            InvalidLayer,
            InvalidManifest,
            InvalidSif,
            NotConvertible,
            StorageFull,
            UnsupportedAlgorithm,
        )
    }
)
"""What a child may fail with. Anything else that it says is its own fault, and Unavailable."""

_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}  # Nothing of ours: there may be secrets in it.
_LAST_WORDS: Final = 2000


@overload
async def run(order: ToSif, inputs: Sequence[Input], output: BinaryIO, means: Means, tell: Tell = ...) -> SifMade: ...
@overload
async def run(order: ToOci, inputs: Sequence[Input], output: BinaryIO, means: Means, tell: Tell = ...) -> ImageMade: ...
@overload
async def run(order: Survey, inputs: Sequence[Input], output: BinaryIO, means: Means, tell: Tell = ...) -> Surveyed: ...
@overload
async def run(order: Examine, inputs: Sequence[Input], output: BinaryIO, means: Means, tell: Tell = ...) -> Examined: ...
async def run(order: Order, inputs: Sequence[Input], output: BinaryIO, means: Means, tell: Tell = lambda done, line: None) -> Answer:
    """Carry out an order in a process of its own, which writes to `output`: an empty file that has a descriptor and can be read and sought.

    Cancelling this ends the process. The process is gone when this returns or raises, and `output` is nobody else's then. Raises what is
    wrong with the image (InvalidLayer, DigestMismatch, InvalidManifest, InvalidSif, NotConvertible), ImageTooLarge with the limit or the
    means that it passes, what reading an input raises, StorageFull, and Unavailable if the process fails for any other reason.
    """
    ours, theirs = socket.socketpair()
    try:
        child = await _start(theirs, output)
    except OSError as error:
        ours.close()
        raise Unavailable(f"A converter cannot be started: {error.strerror}.") from error
    finally:
        theirs.close()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    try:
        async with asyncio.timeout(means.seconds):
            return await Conversation(reader, writer, inputs, tell).hold(Task(order, means, tuple(one.size for one in inputs)))
    except TimeoutError:
        raise ImageTooLarge(f"The conversion took longer than {means.seconds} seconds, and was ended.") from None
    except EOFError:
        raise _fate(await child.wait(), await _last_words(child), means) from None
    finally:
        await _end(child)
        writer.close()


async def _start(connection: socket.socket, output: BinaryIO) -> Process:
    descriptors = (connection.fileno(), output.fileno())
    command = (sys.executable, "-I", "-m", "roadstead.sif.converter", *map(str, descriptors))
    return await asyncio.create_subprocess_exec(
        *command, pass_fds=descriptors, env=_ENVIRONMENT, cwd="/", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, start_new_session=True
    )


async def _end(child: Process) -> None:
    """End a process, which waits for that when it has answered."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.kill()
    await child.wait()


async def _last_words(child: Process) -> str:
    """The end of what a dead process wrote to its standard error."""
    assert child.stderr is not None
    words = await child.stderr.read(64 << 10)
    return words.decode("utf-8", "replace").strip()[-_LAST_WORDS:]


def _fate(status: int, words: str, means: Means) -> RoadsteadError:
    """Why the process ended without an answer."""
    match -status:
        case signal.SIGXCPU:
            return ImageTooLarge(f"The conversion took more than {means.cpu_seconds} seconds of a processor, and was ended.")
        case signal.SIGKILL:
            return Unavailable("The converter was killed from outside; most often because the machine ran out of memory.")
        case number if number > 0:
            return Unavailable(f"The converter was ended by the signal {signal.Signals(number).name}.", log=words)
    last = words.rpartition("\n")[2][:200]
    return Unavailable(f"The converter ended without an answer, with status {status}{last and ': '}{last}.", log=words)


class Conversation:
    """What is said to and by one process. `hold` raises EOFError where the process says nothing more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inputs: Sequence[Input], tell: Tell) -> None:
        self._reader = reader
        self._writer = writer
        self._inputs = inputs
        self._tell = tell
        self._pieces: asyncio.Queue[asyncio.Task[bytes]] = asyncio.Queue(MOST_ASKED)
        self._reading: set[asyncio.Task[bytes]] = set()

    async def hold(self, task: Task) -> Answer:
        """Give the task and serve until it is answered."""
        self._writer.write(encode(task))
        listening = asyncio.create_task(self._listen(), name="converter: listen")
        sending = asyncio.create_task(self._send(), name="converter: send")
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                await sending  # It ends early only by an error, or because the process has hung up and the listener will notice.
            return await listening
        finally:
            tasks = (listening, sending, *self._reading)
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self) -> None:
        with suppress(ConnectionError):
            while True:
                await self._writer.drain()
                piece = await (await self._pieces.get())
                self._writer.write(len(piece).to_bytes(LENGTH_BYTES, "little"))
                self._writer.write(piece)

    async def _listen(self) -> Answer:
        while True:
            match await self._next():
                case Ask() as ask:
                    await self._pieces.put(self._read(ask))
                case Told(done, line):
                    self._tell(done, line)
                case Done(answer, peak):
                    self._tell(1.0, f"The converter used at most {peak >> 20} MiB of memory.")
                    return answer
                case Failed(kind, message):
                    raise ERRORS[kind](message) if kind in ERRORS else Unavailable(f"The converter failed: {message}")

    async def _next(self) -> FromChild:
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "little")
            if length <= LARGEST_MESSAGE:
                return decode_message(await self._reader.readexactly(length))
        except ConnectionError:
            raise EOFError from None
        except msgspec.MsgspecError as error:
            raise Unavailable(f"The converter said what cannot be understood: {error}.") from error
        raise Unavailable(f"The converter said {length} bytes at once.")

    def _read(self, ask: Ask) -> asyncio.Task[bytes]:
        if not 0 <= ask.input < len(self._inputs):
            raise Unavailable(f"The converter asked for input {ask.input} of {len(self._inputs)}.")
        source = self._inputs[ask.input]
        if ask.offset < 0 or not 0 < ask.length <= PIECE or ask.offset + ask.length > source.size:
            raise Unavailable(f"The converter asked for {ask.length} bytes at {ask.offset} of an input of {source.size}.")
        reading = asyncio.create_task(_exactly(source, ask), name="converter: read")
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        return reading


async def _exactly(source: Input, ask: Ask) -> bytes:
    return await source.read(ask.offset, ask.length)
