"""Exporting the audit log: to a file that is rotated, to syslog by datagram and stream, at least once whatever fails."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from roadstead.access.actor import SYSTEM, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.audit_export import LAG, WAITING, AuditExport, pass_over
from roadstead.access.audit_sinks import open_sink, syslog_message
from roadstead.metadata import audit as rows
from roadstead.metadata import leases
from roadstead.metadata.audit import AuditRow
from roadstead.metadata.database import Database
from roadstead.metadata.schema import audit_log
from tests.support.factories import BEGINNING, ManualClock
from tests.support.server import free_port

ADA = Actor(None, "ada", address="192.0.2.7")

# RFC 5424 §6: PRI, version, time, host, program, process, message id, one element of structured data, text.
MESSAGE = re.compile(
    r"<(?P<priority>\d+)>1 (?P<at>\S+Z) (?P<host>\S+) roadstead - (?P<kind>\S+)"
    r" \[audit@32473(?P<data>( [a-z_]+=\"([^\"\\\]]|\\[\"\\\]])*\")*)\] (?P<text>.*)",
    re.DOTALL,
)


def row(number: int = 1, **changed: object) -> AuditRow:
    new = audited(ADA, BEGINNING, Operation.DELETE, ResourceType.TAG, "climate/app:1", project_id=3, detail="from sha256:1")
    values = {name: getattr(new, name) for name in new.__struct_fields__}
    return AuditRow(id=number, **{**values, **changed})


async def happen(database: Database, number: int) -> None:
    new = [audited(ADA, BEGINNING, Operation.CREATE, ResourceType.PROJECT, f"p{one}") for one in range(number)]
    await database.write(lambda connection: rows.add(connection, *new))


class Recorder:
    """A sink that remembers, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.sent: list[str] = []
        self.failures = failures

    def send(self, rows: Sequence[AuditRow]) -> None:
        """Remember the resources."""
        if self.failures:
            self.failures -= 1
            raise OSError("nobody there")
        self.sent += [row.resource for row in rows]


# --- what is exported, and when --------------------------------------------------------------------------------------------------


async def test_each_row_is_exported_once_in_order(database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.access.audit_export._BATCH", 3)
    sink = Recorder()
    export = AuditExport(database, sink, clock)
    assert await export.run() == 0
    await happen(database, 7)
    assert await export.run() == 7
    assert await export.run() == 0
    assert sink.sent == [f"p{number}" for number in range(7)]
    marks = await database.read(lambda connection: connection.execute(select(audit_log.c.exported_at)).scalars().all())
    assert set(marks) == {BEGINNING}


async def test_a_sink_that_fails_gets_the_same_rows_again(database: Database, clock: ManualClock) -> None:
    sink = Recorder(failures=2)
    export = AuditExport(database, sink, clock)
    await happen(database, 2)
    clock.advance(timedelta(seconds=30))
    assert await export.run() == 0
    assert (WAITING._value.get(), LAG._value.get()) == (2, 30)
    assert await export.run() == 0
    assert sink.failures == 1  # it rests
    clock.advance(timedelta(seconds=1))
    assert await export.run() == 0
    clock.advance(timedelta(seconds=1))
    assert await export.run() == 0
    clock.advance(timedelta(seconds=1))
    assert await export.run() == 2
    assert sink.sent == ["p0", "p1"]
    assert (WAITING._value.get(), LAG._value.get()) == (0, 0)


async def test_a_row_that_commits_late_is_not_passed(database: Database, clock: ManualClock) -> None:
    """Ids become visible in the order of commits: a greater one may be exported before a smaller one is there."""
    sink = Recorder()
    export = AuditExport(database, sink, clock)
    await happen(database, 2)
    late = await database.read(lambda connection: connection.execute(select(audit_log).order_by(audit_log.c.id)).mappings().first())
    assert late is not None
    values = dict(late)
    await database.write(lambda connection: connection.execute(audit_log.delete().where(audit_log.c.id == values["id"])))
    await export.run()
    await database.write(lambda connection: connection.execute(audit_log.insert().values(values)))
    await export.run()
    assert sink.sent == ["p1", "p0"]


async def test_one_worker_at_a_time_exports(database: Database, clock: ManualClock) -> None:
    first, second = Recorder(), Recorder()
    one, other = AuditExport(database, first, clock), AuditExport(database, second, clock)
    await happen(database, 1)
    assert (await one.run(), await other.run()) == (1, 0)
    await happen(database, 1)
    assert await other.run() == 0
    clock.advance(timedelta(minutes=2))  # the first has died
    assert await other.run() == 1
    await happen(database, 1)
    assert await one.run() == 0
    await other.close()
    assert await one.run() == 1
    assert (len(first.sent), len(second.sent)) == (2, 1)


async def test_a_lease_is_held_by_one_until_it_ends(database: Database) -> None:
    async def take(holder: str, seconds: int) -> bool:
        now = BEGINNING + timedelta(seconds=seconds)
        return await database.write(lambda connection: leases.take(connection, "x", holder, now + timedelta(seconds=10), now))

    assert await take("a", 0)
    assert not await take("b", 9)
    assert await take("a", 9)
    assert not await take("b", 18)
    assert await take("b", 19)
    await database.write(lambda connection: leases.give_back(connection, "x", "a", BEGINNING))
    assert not await take("a", 20)


async def test_without_an_export_nothing_waits_for_one(database: Database, clock: ManualClock) -> None:
    await happen(database, 3)
    assert await pass_over(database) == 3
    assert await pass_over(database) == 0
    sink = Recorder()
    await happen(database, 1)
    assert await AuditExport(database, sink, clock).run() == 1
    assert sink.sent == ["p0"]


# --- a file ------------------------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[int]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_a_file_has_a_line_for_each_row(tmp_path: Path) -> None:
    path = tmp_path / "audit log.jsonl"
    open_sink(f"file://{tmp_path}/audit%20log.jsonl").send([row(1), row(2, detail=None)])
    assert path.stat().st_mode & 0o777 == 0o640
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["id"], first["at"], first["actor"], first["detail"]) == (1, "2026-01-01T00:00:00Z", "ada", "from sha256:1")
    assert set(first) == set(AuditRow.__struct_fields__)
    assert second["detail"] is None


def test_a_file_that_is_renamed_away_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = open_sink(f"file://{path}")
    sink.send([row(1)])
    path.rename(tmp_path / "audit.jsonl.1")
    sink.send([row(2)])
    os.truncate(path, 0)
    sink.send([row(3)])
    assert (read(tmp_path / "audit.jsonl.1"), read(path)) == ([1], [3])


def test_an_unfinished_line_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"id": 1}\n{"id": 2, "act')
    open_sink(f"file://{path}").send([row(2)])
    lines = path.read_text().splitlines()
    assert lines[1] == '{"id": 2, "act'
    assert [json.loads(line)["id"] for line in (lines[0], lines[2])] == [1, 2]


def test_a_file_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_sink(f"file://{tmp_path}/no-such-folder/audit.jsonl").send([row()])
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"):
            open_sink("file:///dev/full").send([row()])


# --- syslog ------------------------------------------------------------------------------------------------------------------------


def parameters(message: str) -> dict[str, str]:
    found = MESSAGE.fullmatch(message)
    assert found, message
    pairs = re.findall(r' ([a-z_]+)="((?:[^"\\\]]|\\.)*)"', found["data"])
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in pairs}


def test_a_message_is_structured() -> None:
    message = syslog_message(row(7, actor='a"b\\c]d', result="denied", detail=None), "node1").decode()
    found = MESSAGE.fullmatch(message)
    assert found
    assert (found["priority"], found["at"], found["host"]) == ("84", "2026-01-01T00:00:00.000000Z", "node1")
    assert (found["kind"], found["text"]) == ("delete-tag", 'a"b\\c]d delete tag climate/app:1: denied')
    assert parameters(message) == {
        "id": "7",
        "actor": 'a"b\\c]d',
        "address": "192.0.2.7",
        "action": "delete",
        "resource_type": "tag",
        "resource": "climate/app:1",
        "project_id": "3",
        "result": "denied",
        "amount": "1",
    }


@pytest.mark.parametrize("where", ["udp", "udp6", "local"])
def test_datagrams_arrive_one_a_row(where: str, tmp_path: Path) -> None:
    family = {"udp": socket.AF_INET, "udp6": socket.AF_INET6, "local": socket.AF_UNIX}[where]
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as receiver:
        receiver.settimeout(10)
        if where == "local":
            receiver.bind(str(tmp_path / "log"))
            url = f"syslog://{tmp_path}/log"
        else:
            receiver.bind(("127.0.0.1" if where == "udp" else "::1", 0))
            port = receiver.getsockname()[1]
            url = f"syslog://127.0.0.1:{port}" if where == "udp" else f"syslog://[::1]:{port}?protocol=udp"
        open_sink(url).send([row(1), row(2)])
        assert [parameters(receiver.recv(65536).decode())["id"] for _ in range(2)] == ["1", "2"]


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP receiver that serves one connection; its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(10)

        def run() -> None:
            connection, _ = server.accept()
            with closing(connection):
                connection.settimeout(10)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join()


def whole(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def unframed(stream: bytes) -> list[str]:
    """The messages of a stream with counted octets (RFC 6587 §3.4.1)."""
    messages = []
    while stream:
        length, _, rest = stream.partition(b" ")
        messages.append(rest[: int(length)].decode())
        stream = rest[int(length) :]
    return messages


def test_a_stream_counts_its_messages(tmp_path: Path) -> None:
    received: list[bytes] = []
    with listening(lambda connection: received.append(whole(connection))) as port:
        open_sink(f"syslog://localhost:{port}?protocol=tcp").send([row(1, actor="grüße"), row(2)])
    assert [parameters(message)["actor"] for message in unframed(received[0])] == ["grüße", "ada"]


def test_a_receiver_that_goes_away_has_not_received() -> None:
    def leave(connection: socket.socket) -> None:
        connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, as when a daemon is killed

    with listening(leave) as port, pytest.raises(OSError):
        open_sink(f"syslog://127.0.0.1:{port}?protocol=tcp").send([row(number) for number in range(1000)])


def test_nobody_there_is_a_failure(tmp_path: Path) -> None:
    for url in (f"syslog://127.0.0.1:{free_port()}?protocol=tcp", f"syslog://{tmp_path}/no-log"):
        with pytest.raises(OSError, match=r"(?i)refused|no such"):
            open_sink(url).send([row()])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "audit.jsonl",
        "file://audit.jsonl",
        "file://host/audit.jsonl",
        "file:///",
        "syslog://",
        "syslog:///",
        "syslog://host:514?protocol=tls",
        "syslog://host:514?protocol=",
        "syslog://host/dev/log",
        "syslog://host?facility=1",
        "syslog://host:99999",
        "https://host/",
    ],
)
def test_what_is_no_sink(url: str) -> None:
    with pytest.raises(ValueError):
        open_sink(url)


async def test_rows_go_from_the_database_to_a_receiver_that_was_away(database: Database, clock: ManualClock) -> None:
    await database.write(lambda connection: rows.add(connection, audited(SYSTEM, BEGINNING, Operation.CREATE, ResourceType.USER, "grace")))
    port = free_port()
    export = AuditExport(database, open_sink(f"syslog://127.0.0.1:{port}?protocol=tcp"), clock)
    assert await export.run() == 0
    clock.advance(timedelta(seconds=1))
    received: list[bytes] = []
    with listening(lambda connection: received.append(whole(connection))) as port:
        export._sink = open_sink(f"syslog://127.0.0.1:{port}?protocol=tcp")
        assert await export.run() == 1
    [message] = unframed(received[0])
    assert (parameters(message)["actor"], parameters(message)["resource"]) == ("system", "grace")
