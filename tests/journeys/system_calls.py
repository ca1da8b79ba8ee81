"""What a process asks of the kernel, as strace writes it down, and what that proves about durability.

A killed process loses nothing that the kernel has taken, so no crash test can show that an fsync is missing. The order of the calls can.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support.server import RoadsteadServer, poll

TRACED = "fsync,fdatasync,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sync_file_range"
ATTACH_SECONDS = 20.0
DETACH_SECONDS = 20.0

_CALL = re.compile(r"(?P<name>\w+)\((?:\d+<(?P<path>[^>]*)>)?(?P<rest>.*)", re.DOTALL)
_LINE = re.compile(r"(?P<thread>\d+) +[\d.]+ (?P<text>.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)", re.DOTALL)
_RESULT = re.compile(r"\) += (?P<result>-?\d+)")
_UNFINISHED = " <unfinished ...>"
_CONTENT = re.compile(r"/content/[0-9a-f]{2}/[0-9a-f]{32}$")
_SYNCS = frozenset({"fsync", "fdatasync"})
_WRITES = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2"})


class Call(msgspec.Struct, frozen=True):
    """One system call: what it was done to, the rest of its arguments, and the lines of the trace at which it began and ended."""

    name: str
    path: str
    rest: str
    result: int
    began: int
    ended: int


class NotProven(AssertionError):
    """The trace does not show the order that makes an acknowledgement durable; the message names the missing link."""


def parse(lines: Iterable[str]) -> list[Call]:
    """The finished calls of a trace by `strace -f -y -ttt`, in the order of their beginnings; interrupted ones are put together."""
    calls, open_calls = [], dict[str, tuple[int, str]]()
    for number, line in enumerate(lines):
        if (found := _LINE.fullmatch(line.rstrip("\n"))) is None:
            continue
        thread, text, began = found["thread"], found["text"], number
        if text.endswith(_UNFINISHED):
            open_calls[thread] = (number, text.removesuffix(_UNFINISHED))
            continue
        if resumed := _RESUMED.fullmatch(text):
            began, start = open_calls.pop(thread, (number, ""))
            text = start + resumed["rest"]
        if call := _finished(text, began, number):
            calls.append(call)
    return sorted(calls, key=lambda call: call.began)


def _finished(text: str, began: int, ended: int) -> Call | None:
    found, results = _CALL.fullmatch(text), _RESULT.findall(text)
    if found is None or not results:
        return None
    return Call(found["name"], found["path"] or "", found["rest"], int(results[-1]), began, ended)


def prove_blob(calls: Sequence[Call]) -> list[Call]:
    """The chain from a blob's last byte to its 201: fsync of the file, of its directory, of the database's log, the answer.

    Each begins when the one before has ended, and nothing is written in between that is not synced. Raises NotProven.
    """
    answer = _answer(calls)
    written = [call for call in _before(calls, answer) if call.name in _WRITES and _CONTENT.search(call.path)]
    if not written:
        raise NotProven("no byte of the blob was written before the 201")
    file_synced = _sync(calls, written[-1].path, after=max(call.ended for call in written))
    directory_synced = _sync(calls, str(Path(written[-1].path).parent), after=file_synced.ended)
    return [file_synced, directory_synced, *_prove_commit(calls, directory_synced.ended, answer)]


def prove_manifest(calls: Sequence[Call]) -> list[Call]:
    """The chain from a manifest's commit to its 201: sync of the database's log, the answer. Raises NotProven."""
    return _prove_commit(calls, -1, _answer(calls))


def _prove_commit(calls: Sequence[Call], after: int, answer: Call) -> list[Call]:
    log = [call for call in _before(calls, answer) if call.name in _WRITES and call.path.endswith(".sqlite-wal") and call.began > after]
    if not log:
        raise NotProven("nothing was committed between the bytes' being durable and the 201")
    synced = _sync(calls, log[-1].path, after=max(call.ended for call in log))
    if synced.ended > answer.began:
        raise NotProven("the 201 was sent before the commit was durable")
    return [synced, answer]


def _answer(calls: Sequence[Call]) -> Call:
    found = next((call for call in calls if '"HTTP/1.1 201' in call.rest), None)
    if found is None:
        raise NotProven("no 201 was sent")
    return found


def _before(calls: Sequence[Call], answer: Call) -> list[Call]:
    return [call for call in calls if call.began < answer.began]


def _sync(calls: Sequence[Call], path: str, *, after: int) -> Call:
    wanted = (call for call in calls if call.name in _SYNCS and call.path == path and call.began > after and call.result == 0)
    if (found := next(wanted, None)) is None:
        raise NotProven(f"{path} was not synced when it had to be")
    return found


@contextmanager
def traced(server: RoadsteadServer, output: Path) -> Iterator[None]:
    """Write down the system calls of every process of a running server, until the end of the block.

    Skips the test if strace is missing or may not trace, or fails it if ROADSTEAD_REQUIRE_CLIENTS is 1.
    """
    if shutil.which("strace") is None:
        _do_without("strace is not installed")
    targets = [f"--attach={process}" for process in _group(server.pid)]
    command = ["strace", "-f", "-y", "-ttt", "-s", "40", "-o", str(output), "-e", f"trace={TRACED}", *targets]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as strace:
        try:
            _await_attached(strace, len(targets))
            yield
        finally:
            _end(strace)


def _await_attached(strace: subprocess.Popen[bytes], processes: int) -> None:
    """Return when strace says that it holds every process."""
    assert strace.stderr is not None
    said = b""
    while said.count(b" attached") < processes:
        ready, _, _ = select.select([strace.stderr], [], [], ATTACH_SECONDS)
        news = os.read(strace.stderr.fileno(), 65536) if ready else b""
        if not news:
            _do_without(f"strace cannot trace the server: {said.decode(errors='replace')}")
        said += news


def _end(strace: subprocess.Popen[bytes]) -> None:
    """Let strace detach. It can hang while it waits for a thread that has just ended; killed, the kernel detaches for it."""
    strace.terminate()
    try:
        strace.wait(DETACH_SECONDS)
    except subprocess.TimeoutExpired:
        strace.kill()


def _group(leader: int) -> list[int]:
    """The processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(group) == leader and state != "Z":
                members.append(int(entry.name))
    return members


def _do_without(reason: str) -> None:
    if os.environ.get("ROADSTEAD_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def recorded(output: Path) -> list[Call]:
    """The calls of a trace that ends with a sent 201; waits for strace to have written that down."""

    def answered() -> bool:
        return any('"HTTP/1.1 201' in call.rest for call in parse(output.read_text(errors="replace").splitlines()))

    assert poll(answered, 10.0), "the trace shows no 201"
    return parse(output.read_text(errors="replace").splitlines())
