"""Conversions in a process of their own: the same bytes as in this one, what is wrong with an image, and what happens to a process."""

from __future__ import annotations

import asyncio
import io
import os
import re
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from isal import igzip

from roadstead.content.memory import MemoryStore
from roadstead.errors import ContentDamaged, DigestMismatch, ImageTooLarge, InvalidLayer, InvalidManifest, StoreFailed, Unavailable
from roadstead.sif.convert import Conversion, Source, convert
from roadstead.sif.inputs import Input, file_input, stored_input
from roadstead.sif.messages import PIECE, Ask, Failed, Task, encode, frame
from roadstead.sif.orders import Examine, Means, SifMade, ToSif
from roadstead.sif.process import Conversation, run
from tests.rooms.sif.archives import archive, entry
from tests.rooms.sif.test_convert import LOWER, UPPER, image

MEANS = Means(seconds=60)


@pytest.fixture
def output() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def given(*contents: bytes) -> list[Input]:
    """Inputs that lie in memory."""
    return [Input(len(content), _reader(content)) for content in contents]


def _reader(content: bytes) -> Callable[[int, int], Awaitable[bytes]]:
    async def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    return read


def layers_of(source: Source) -> list[bytes]:
    return [b"".join(opened()) for opened in source.layers]


def order_for(source: Source, how: Conversion | None = None) -> ToSif:
    return ToSif(source.digest, source.configuration, how or Conversion())


def written(output: BinaryIO) -> bytes:
    output.seek(0)
    return output.read()


def converted_here(source: Source) -> bytes:
    made = io.BytesIO()
    convert(source, made, Conversion())
    return made.getvalue()


BIG = archive([entry(f"file {number}", os.urandom(1 << 20)) for number in range(24)])


@pytest.mark.parametrize("tars", [(), (LOWER,), (LOWER, UPPER), (BIG, LOWER, BIG)])
async def test_the_bytes_are_those_of_a_conversion_in_this_process(output: BinaryIO, tars: Sequence[bytes]) -> None:
    source = image(*tars, store=igzip.compress)
    made = await run(order_for(source), given(*layers_of(source)), output, MEANS)
    assert written(output) == converted_here(source)
    assert made == SifMade(os.fstat(output.fileno()).st_size, "amd64", 1577930645)


# What is wrong with an image


async def test_what_is_wrong_is_raised_here_as_it_was_there(output: BinaryIO) -> None:
    source = image(LOWER, UPPER)
    with pytest.raises(DigestMismatch, match="which the image's configuration states"):
        await run(order_for(source), given(UPPER, LOWER), output, MEANS)
    with pytest.raises(InvalidManifest, match="has 1 layers, and its configuration tells of 2"):
        await run(order_for(source), given(LOWER), output, MEANS)
    with pytest.raises(InvalidLayer, match="Layer 2 of 2: The layer is not a sound tar archive"):
        await run(order_for(image(LOWER, b"no tar" * 200)), given(LOWER, b"no tar" * 200), output, MEANS)


async def test_an_input_that_cannot_be_read_ends_it(output: BinaryIO) -> None:
    async def fail(offset: int, length: int) -> bytes:
        raise StoreFailed

    with pytest.raises(StoreFailed):
        await run(order_for(image(LOWER)), [Input(len(LOWER), fail)], output, MEANS)
    assert children() == set()


async def test_an_input_that_is_shorter_than_it_was_is_damaged(output: BinaryIO, tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(LOWER)
    whole = file_input(path)
    path.write_bytes(LOWER[:-1])
    with pytest.raises(ContentDamaged):
        await run(order_for(image(LOWER)), [whole], output, MEANS)


async def test_content_of_a_store_is_an_input(output: BinaryIO) -> None:
    store = MemoryStore()
    writer = await store.resume((await store.begin()).state)
    await writer.write(BIG)
    sealed = await writer.seal()
    await run(order_for(image(BIG)), [stored_input(store, sealed.key, sealed.size)], output, MEANS)
    assert written(output) == converted_here(image(BIG))


# What it may cost


GREEDY = archive([entry("sparse", pax={"GNU.sparse.map": "1," * 500_000 + "1", "GNU.sparse.size": "1"})])
"""A map of half a million pieces, which are read before it is seen that they are not in order."""
MANY = archive([entry(f"{number:06}/{'x' * 200}") for number in range(20_000)])


@pytest.mark.parametrize(
    ("means", "tars", "reason"),
    [
        (Means(seconds=60, output=3 << 20), (BIG,), "more than the 3145728 bytes"),
        (Means(seconds=60, cpu_seconds=1), (MANY,) * 20, "more than 1 seconds of a processor"),
        (Means(seconds=1), (MANY,) * 20, "longer than 1 seconds"),
    ],
    ids=["output", "processor", "time"],
)
async def test_what_passes_its_means_is_too_large(output: BinaryIO, means: Means, tars: Sequence[bytes], reason: str) -> None:
    source = image(*tars)
    with pytest.raises(ImageTooLarge, match=reason):
        await run(order_for(source), given(*tars), output, means)
    assert children() == set()
    assert os.fstat(output.fileno()).st_size <= means.output


async def test_what_takes_too_much_memory_is_too_large(output: BinaryIO) -> None:
    """How much address space an interpreter takes by itself differs; a small image is tried until it can be converted."""
    for memory in range(64 << 20, 512 << 20, 16 << 20):
        means = Means(seconds=60, memory=memory)
        with suppress(ImageTooLarge, Unavailable):
            await run(order_for(image(LOWER)), given(LOWER), output, means)
            break
    with pytest.raises(ImageTooLarge, match=f"more than the {memory >> 20} MiB of memory"):
        await run(order_for(image(GREEDY)), given(GREEDY), output, means)
    assert children() == set()


async def test_no_more_memory_is_used_than_is_told(output: BinaryIO) -> None:
    told: list[str] = []
    await run(order_for(image(BIG)), given(BIG), output, MEANS, lambda done, line: told.append(line))
    used = int(next(line for line in told if "at most" in line).split()[5])
    assert 10 < used < 120


# What happens to the process


EARLIER: set[int] = set()
"""What other tests have started and not waited for."""


@pytest.fixture(autouse=True)
def earlier() -> None:
    EARLIER.clear()
    EARLIER.update(children())


def children() -> set[int]:
    """The converters that this test has started, and that have not been waited for."""
    started = {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}
    return {pid for pid in started - EARLIER if is_converter(pid)}


def is_converter(pid: int) -> bool:
    """Whether it is a converter, or was one: the command of a process that nobody has waited for is empty."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return not command or b"roadstead.sif.converter" in command


class Held:
    """An input that is never there; `asked` tells that it is waited for."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def read(self, offset: int, length: int) -> bytes:
        self.asked.set()
        await asyncio.Event().wait()
        return b""


async def test_cancelling_ends_the_process_at_once(output: BinaryIO) -> None:
    held = Held()
    running = asyncio.create_task(run(order_for(image(LOWER)), [Input(len(LOWER), held.read)], output, MEANS))
    await held.asked.wait()
    assert len(children()) == 1
    begun = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - begun < 1
    assert children() == set()


async def test_a_process_that_is_killed_is_told_of(output: BinaryIO) -> None:
    held = Held()
    running = asyncio.create_task(run(order_for(image(LOWER)), [Input(len(LOWER), held.read)], output, MEANS))
    await held.asked.wait()
    os.kill(children().pop(), signal.SIGKILL)
    with pytest.raises(Unavailable, match="killed from outside"):
        await running


async def test_the_process_ends_with_its_parent() -> None:
    script = Path(__file__).with_name("converting_process.py")
    parent = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    ended = os.pidfd_open(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    readable, _, _ = await asyncio.to_thread(select.select, [ended], [], [], 10)
    os.close(ended)
    assert readable


def seen_in(process: int) -> tuple[bytes, list[str]]:
    """The environment of a process, and what its descriptors lead to."""
    directory = Path(f"/proc/{process}")
    return (directory / "environ").read_bytes(), [str(path.readlink()) for path in (directory / "fd").iterdir()]


async def test_the_environment_stays_outside(output: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADSTEAD_ADMIN_PASSWORD", "do not tell")
    held = Held()
    running = asyncio.create_task(run(order_for(image(LOWER)), [Input(len(LOWER), held.read)], output, MEANS))
    await held.asked.wait()
    [child] = children()
    environment, descriptors = seen_in(child)
    running.cancel()
    await asyncio.wait({running})
    assert b"do not tell" not in environment
    known = r"/dev/null|/proc/\d+/status|/.* \(deleted\)|anon_inode:\[landlock-ruleset\]|pipe:.*|socket:.*"
    assert [leads_to for leads_to in descriptors if not re.fullmatch(known, leads_to)] == []
    assert sum(leads_to.startswith("socket:") for leads_to in descriptors) == 1


async def test_nothing_is_possible_behind_the_door(output: BinaryIO) -> None:
    examined = await run(Examine(), [], output, MEANS)
    if not examined.isolation.system_calls:
        pytest.skip("this kernel has no seccomp filters, or the processor is an unknown one")
    assert examined.isolation.no_new_privileges
    assert examined.possible == ()


@pytest.mark.parametrize(
    "ask",
    [Ask(1, 0, 1), Ask(-1, 0, 1), Ask(0, -1, 1), Ask(0, 0, 0), Ask(0, 0, PIECE + 1), Ask(0, 5, 6), Ask(0, 1 << 40, 1)],
    ids=str,
)
async def test_a_process_that_asks_for_what_is_not_there_is_not_served(ask: Ask) -> None:
    async with conversation_with(encode(ask)) as conversation:
        with pytest.raises(Unavailable, match="asked for"):
            await conversation.hold(TASK)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (frame(b"\xc1"), "cannot be understood"),
        (frame(b"\x81\xa4type\xa4evil"), "cannot be understood"),
        ((1 << 30).to_bytes(4, "little"), "1073741824 bytes at once"),
        (encode(Failed("SystemExit", "boo")), "failed: boo"),
        (encode(Failed("Unauthenticated", "log in")), "failed: log in"),
    ],
)
async def test_a_process_that_makes_no_sense_is_not_listened_to(said: bytes, reason: str) -> None:
    async with conversation_with(said) as conversation:
        with pytest.raises(Unavailable, match=reason):
            await conversation.hold(TASK)


TASK = Task(Examine(), MEANS, (10,))


@asynccontextmanager
async def conversation_with(said: bytes) -> AsyncIterator[Conversation]:
    """A conversation with a process that says this and nothing more."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(said)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        yield Conversation(reader, writer, given(b"0123456789"), lambda done, line: None)
        writer.close()
