"""What every database does, whatever it is: one suite, run on SQLite and on PostgreSQL; then what only SQLite promises."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import IntegrityError

from roadstead.errors import DatabaseFailed, StorageFull
from roadstead.metadata.database import Database, open_database, translate
from roadstead.metadata.schema import projects, repositories
from tests.contracts.writing_process import PROCESSES, WRITES, write_many
from tests.support.factories import BEGINNING
from tests.support.server import free_port


def add(name: str, connection: Connection) -> int:
    values = {"name": name, "created_at": BEGINNING}
    row_id: int = connection.execute(projects.insert().values(values).returning(projects.c.id)).scalar_one()
    return row_id


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(projects.c.name).order_by(projects.c.name)).scalars())


BY_NAME = select(projects.c.id, projects.c.name).where(projects.c.name == bindparam("name"))


# --- one transaction ----------------------------------------------------------------------------------------------------------------


async def test_a_write_returns_its_value_and_is_seen_by_every_kind_of_read(database: Database) -> None:
    made = await database.write(partial(add, "x"))
    assert await database.read(names) == ["x"]
    assert await database.hot(BY_NAME).first(name="x") == (made, "x")
    assert await database.hot(BY_NAME).all(name="x") == [(made, "x")]
    assert await database.hot(BY_NAME).first(name="y") is None
    assert await database.hot(BY_NAME).all(name="y") == []


async def test_a_write_that_need_not_be_durable_is_seen_at_once_and_by_others(database: Database, database_url: str) -> None:
    await database.write(partial(add, "x"), durable=False)
    assert await database.hot(BY_NAME).first(name="x") is not None
    assert await database.read(names) == ["x"]
    another = await open_database(database_url)
    try:
        assert await another.hot(BY_NAME).first(name="x") is not None
        assert await another.read(names) == ["x"]
    finally:
        await another.close()


async def test_a_failure_undoes_its_own_changes_and_is_raised_as_it_is(database: Database) -> None:
    def fail(connection: Connection) -> None:
        add("x", connection)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await database.write(fail)
    assert await database.read(names) == []


async def test_a_broken_rule_of_the_schema_is_an_integrity_error(database: Database) -> None:
    await database.write(partial(add, "x"))
    with pytest.raises(IntegrityError):
        await database.write(partial(add, "x"))
    assert await database.read(names) == ["x"]


async def test_an_integrity_error_may_be_caught_inside(database: Database) -> None:
    """A savepoint of the caller's own keeps what came before."""

    def work(connection: Connection) -> str:
        add("x", connection)
        try:
            with connection.begin_nested():
                add("x", connection)
        except IntegrityError:
            add("y", connection)
        return "went on"

    assert await database.write(work) == "went on"
    assert await database.read(names) == ["x", "y"]


async def test_a_statement_that_the_database_refuses_is_a_failure_of_the_database(database: Database) -> None:
    broken: Callable[[Connection], object] = lambda connection: connection.exec_driver_sql("SELECT * FROM nowhere")  # noqa: E731
    for act in (database.write, database.read):
        with pytest.raises(DatabaseFailed, match="nowhere"):
            await act(broken)
    with pytest.raises(DatabaseFailed):
        await database.hot(select(projects.c.id).where(projects.c.name == func.nowhere(bindparam("x")))).all(x="x")
    await database.write(partial(add, "x"))
    assert await database.read(names) == ["x"]


async def test_a_read_changes_nothing(database: Database) -> None:
    with pytest.raises(DatabaseFailed):
        await database.read(partial(add, "x"))
    assert await database.read(names) == []


async def test_a_read_sees_one_snapshot(database: Database) -> None:
    started, changed = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    await database.write(partial(add, "x"))

    def twice(connection: Connection) -> tuple[list[str], list[str]]:
        first = names(connection)
        if database.dialect == "sqlite":
            loop.call_soon_threadsafe(changed.set)
            assert started.wait(10)
        return first, names(connection)

    if database.dialect == "sqlite":
        reading = asyncio.create_task(database.read(twice))
        await changed.wait()
        await database.write(partial(add, "y"))
        started.set()
        assert await reading == (["x"], ["x"])
    else:
        # There `work` runs on the loop, so that nothing can come between by this way: ask the server which isolation it was given.
        level = await database.read(lambda connection: connection.exec_driver_sql("SHOW transaction_isolation").scalar())
        assert level == "repeatable read"
    assert await database.read(names) in (["x"], ["x", "y"])


async def test_the_database_answers(database: Database) -> None:
    await database.check()


async def test_a_hot_select_takes_named_parameters_only(database: Database) -> None:
    with pytest.raises(ValueError, match="named bind parameters"):
        database.hot(select(projects.c.id).where(projects.c.name == "x"))


# --- many at once -------------------------------------------------------------------------------------------------------------------


async def test_neighbours_of_a_failing_write_are_not_affected(database: Database) -> None:
    """On SQLite waiting writes are committed together; a failure of each kind must stay with the one who caused it."""

    def fail(number: int, connection: Connection) -> None:
        add(f"failed {number}", connection)
        if number % 3 == 0:
            raise LookupError(str(number))
        if number % 3 == 1:
            add("taken", connection)
        connection.exec_driver_sql("SELECT * FROM nowhere")

    await database.write(partial(add, "taken"))
    mixed = [partial(fail, number) if number % 4 == 0 else partial(add, f"n{number:02}") for number in range(40)]
    answers = await asyncio.gather(*(database.write(work) for work in mixed), return_exceptions=True)
    kinds = [type(answer) for number, answer in enumerate(answers) if number % 4 == 0]
    assert kinds == [{0: LookupError, 1: IntegrityError, 2: DatabaseFailed}[number % 3] for number in range(0, 40, 4)]
    assert all(isinstance(answer, int) for number, answer in enumerate(answers) if number % 4)
    assert await database.read(names) == sorted(["taken", *(f"n{number:02}" for number in range(40) if number % 4)])


async def test_counters_do_not_lose_increments(database: Database) -> None:
    project = await database.write(partial(add, "x"))
    row = {"project_id": project, "path": "x", "created_at": BEGINNING}
    await database.write(lambda connection: connection.execute(repositories.insert().values(row)))
    more = repositories.update().values(pull_count=repositories.c.pull_count + 1)
    await asyncio.gather(*(database.write(lambda connection: connection.execute(more)) for _ in range(50)))
    assert await database.read(lambda connection: connection.execute(select(repositories.c.pull_count)).scalar_one()) == 50


async def test_reads_do_not_wait_for_a_writer(database: Database) -> None:
    if database.dialect == "postgresql":
        pids = await asyncio.gather(*(database.read(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar()) for _ in range(3)))
        assert len(set(pids)) == 3
        return
    inside, leave = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        add("x", connection)
        inside.set()
        assert leave.wait(10)

    writing = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(inside.wait)
    assert await database.read(names) == []
    assert await database.hot(BY_NAME).all(name="x") == []
    leave.set()
    await writing
    assert await database.read(names) == ["x"]


async def test_a_cancelled_write_leaves_the_others_at_work(database: Database) -> None:
    tasks = [asyncio.create_task(database.write(partial(add, f"n{number:02}"))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, int) for answer in answers[1::2])
    await database.write(partial(add, "after"))
    found = await database.read(names)
    assert {f"n{number:02}" for number in range(1, 20, 2)} | {"after"} <= set(found)


async def test_closing_finishes_what_waits(database: Database, database_url: str) -> None:
    another = await open_database(database_url)
    tasks = [asyncio.create_task(another.write(partial(add, f"n{number}"))) for number in range(5)]
    await asyncio.gather(*tasks)
    await another.close()
    assert await database.read(names) == [f"n{number}" for number in range(5)]


# --- what a driver says, in our words -----------------------------------------------------------------------------------------------


async def test_a_full_disk_is_said_to_be_full(sqlite_url: str) -> None:
    """A real SQLITE_FULL: the file may not grow beyond the pages that it has."""
    database = await open_database(sqlite_url)

    def grow(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for number in range(2000):
            add(f"project {number} {'x' * 200}", connection)

    try:
        with pytest.raises(StorageFull, match="full"):
            await database.write(grow)
        assert await database.read(names) == []
        await database.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1073741823"))
        await database.write(partial(add, "x"))
        assert await database.read(names) == ["x"]
    finally:
        await database.close()


def test_a_full_disk_of_postgresql_is_said_to_be_full() -> None:
    import asyncpg

    assert isinstance(translate(asyncpg.DiskFullError("could not extend file")), StorageFull)
    assert isinstance(translate(asyncpg.TooManyConnectionsError("sorry, too many clients already")), DatabaseFailed)


async def test_a_server_that_is_not_there_is_a_failure_of_the_database() -> None:
    with pytest.raises(DatabaseFailed):
        await open_database(f"postgresql://roadstead@127.0.0.1:{free_port()}/none")


async def test_a_file_that_cannot_be_opened_is_a_failure_of_the_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseFailed):
        await open_database(f"sqlite:///{tmp_path}/no/such/directory/roadstead.sqlite")


async def test_a_file_that_is_no_database_is_a_failure_of_the_database(tmp_path: Path) -> None:
    path = tmp_path / "roadstead.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(DatabaseFailed):
        await open_database(f"sqlite:///{path}")


# --- SQLite alone -------------------------------------------------------------------------------------------------------------------


async def test_sqlite_writes_ahead_and_waits_for_the_disk(sqlite_url: str) -> None:
    database = await open_database(sqlite_url)

    def pragmas(connection: Connection) -> tuple[object, ...]:
        wanted = ("journal_mode", "synchronous", "foreign_keys")
        return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted)

    try:
        full, normal = 2, 1
        assert await database.write(pragmas) == ("wal", full, 1)
        assert await database.write(pragmas, durable=False) == ("wal", normal, 1)
        assert await database.write(pragmas) == ("wal", full, 1)
    finally:
        await database.close()


async def test_sqlite_takes_the_write_lock_before_it_reads(sqlite_url: str) -> None:
    database = await open_database(sqlite_url)

    def other_cannot_write(_connection: Connection) -> bool:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            return "locked" in str(error)
        finally:
            other.close()
        return False

    try:
        assert await database.write(other_cannot_write)
    finally:
        await database.close()


async def test_a_lock_that_is_held_too_long_fails_one_write_and_not_the_next(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.metadata.database._BUSY_SECONDS", 0.05)
    database = await open_database(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        answers = await asyncio.gather(*(database.write(partial(add, name)) for name in "abc"), return_exceptions=True)
        assert [type(answer) for answer in answers] == [DatabaseFailed] * 3
        other.execute("ROLLBACK")
        await database.write(partial(add, "x"))
        assert await database.read(names) == ["x"]
    finally:
        other.close()
        await database.close()


def test_processes_that_write_at_once_see_no_lock_error(sqlite_url: str) -> None:
    """Transactions that read before they write, as a deferred BEGIN would have let fail: 4 processes, 200 each."""
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(PROCESSES)
    failures = context.Queue()
    workers = [context.Process(target=write_many, args=(sqlite_url, number, gate, failures)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    said = [failures.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(30)
    assert said == [""] * PROCESSES
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        rows = connection.execute("SELECT name FROM projects ORDER BY id").fetchall()
    assert {name for (name,) in rows} == {f"p{process}-{number}" for process in range(PROCESSES) for number in range(WRITES)}
