"""Transactions: how every query of this room runs, on SQLite and on PostgreSQL.

Queries are plain synchronous functions of a SQLAlchemy `Connection`. `Database.write(work)` runs one as a transaction,
`Database.read(work)` as a consistent read; a statement that must be fast is prepared once by `Database.hot(statement)`.

* SQLite: one writer thread per process takes all waiting transactions as one batch: BEGIN IMMEDIATE (a deferred BEGIN that turns into a
  writer fails with "database is locked" as soon as another process writes), a savepoint for each, one COMMIT with one fsync for all.
  What need not wait for the disk runs on the loop's own thread while nobody else writes: that is quicker than waking another thread.
  Reads run in a few threads, hot selects on a read-only connection on the loop itself, as they take some 5 µs.
* PostgreSQL: `write` and `read` run on SQLAlchemy's asyncpg engine, hot selects on a raw asyncpg pool.

`work` may be run again after a conflict, so it does nothing but talk to its connection.
"""

from __future__ import annotations

import asyncio
import fcntl
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, Dialect, Engine, Select, create_engine, event, exc
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.dialects.sqlite.pysqlite import dialect as pysqlite_dialect
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from roadstead.errors import DatabaseFailed, Misconfigured, RoadsteadError, StorageFull

T = TypeVar("T")
Work = Callable[[Connection], T]
Row = tuple[Any, ...]

_BUSY_SECONDS: Final = 60.0
_BATCH_LIMIT: Final = 256
_PG_ATTEMPTS: Final = 8
_RETRIED_SQLSTATES: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock detected


class HotSelect(Protocol):
    """A select that was compiled once. Values go in and come out as the database stores them (times in microseconds)."""

    async def all(self, **values: object) -> list[Row]:
        """Every row. Raises DatabaseFailed."""

    async def first(self, **values: object) -> Row | None:
        """The first row, or None. Raises DatabaseFailed."""


class Database(Protocol):
    """One database, opened by `open_database`. Safe to use from all tasks of one event loop."""

    @property
    def dialect(self) -> str:
        """Either "sqlite" or "postgresql"."""

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run `work` as one transaction and return its value once that is committed.

        With `durable` the commit has reached the disk; without, a power cut (not a crash of the process) may undo it: only for
        what nobody was promised, such as the progress of an upload. An exception from `work` undoes its changes alone and is raised.
        Raises StorageFull or DatabaseFailed for the database's own failures.
        """

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one snapshot, read-only."""

    def hot(self, statement: Select[Any]) -> HotSelect:
        """Compile `statement` (named bind parameters only) for the hot path."""

    async def check(self) -> None:
        """Prove that the database answers. Raises DatabaseFailed."""

    async def close(self) -> None:
        """Finish what is waiting and close every connection."""


async def open_database(url: str) -> Database:
    """Open `sqlite:///path` or `postgresql://user:password@host/name`; the schema must be there (see `migrations.upgrade`).

    Raises Misconfigured, DatabaseFailed.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        try:
            return SqliteDatabase(sqlite_path(url))
        except (exc.DBAPIError, sqlite3.Error) as error:
            raise translate(error) from error
    if parsed.get_backend_name() == "postgresql":
        return await PostgresDatabase.connect(url)
    raise Misconfigured(f"The database URL {parsed.render_as_string()} is neither sqlite:///… nor postgresql://….")


def sqlite_path(url: str) -> Path:
    """The file that a `sqlite:///…` URL names."""
    name = make_url(url).database
    if not name or name == ":memory:":
        raise Misconfigured("An SQLite database needs a file: write sqlite:///path/to/roadstead.sqlite.")
    return Path(name)


def translate(error: BaseException) -> RoadsteadError:
    """A driver's or SQLAlchemy's exception in words of the error tree."""
    cause = getattr(error, "orig", None) or error
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", None) == "53100":
        return StorageFull("The disk under the database is full.")
    return DatabaseFailed(f"The registry's database failed: {cause}.")


# --- SQLite ---------------------------------------------------------------------------------------------------------------------


def sqlite_engine(path: Path, *, write: bool, begin: bool = True, **options: Any) -> Engine:
    """An engine on the file: its transactions are BEGIN IMMEDIATE if they `write`, and read-only snapshots if not.

    Without `begin` it begins none: its user does.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}, **options)

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        _prepare_sqlite(connection, write=write)

    if begin:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _prepare_sqlite(connection: sqlite3.Connection, *, write: bool) -> None:
    connection.isolation_level = None  # the module's own implicit BEGIN is deferred and comes too late
    pragmas = ["foreign_keys=ON", "cache_size=-16384", "temp_store=MEMORY"]
    pragmas += ["journal_mode=WAL", "synchronous=FULL"] if write else ["query_only=ON", "mmap_size=268435456"]
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


class _Waiting(NamedTuple):
    work: Work[Any]
    durable: bool
    done: asyncio.Future[Any]


class _Outcome(NamedTuple):
    done: asyncio.Future[Any]
    value: Any
    failure: Exception | None


def _is_of_database(error: Exception) -> bool:
    """Whether the database itself failed, and not what was asked of it."""
    return isinstance(error, (exc.DBAPIError, sqlite3.Error)) and not isinstance(error, exc.IntegrityError)


class _SqlitePen:
    """A connection that writes. Transactions are begun and ended on the driver's connection, which costs a tenth of what SQLAlchemy's own
    bookkeeping of them does; for SQLAlchemy its connection stays in one transaction for ever.
    """

    def __init__(self, path: Path) -> None:
        self._engine = sqlite_engine(path, write=True, begin=False)
        self._connection = self._engine.connect()
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        self._driver = driver

    def pragma(self, text: str) -> None:
        self._driver.execute(f"PRAGMA {text}")

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def commit(self, batch: list[_Waiting]) -> list[_Outcome]:
        """Run a batch as one transaction; if the database itself fails, run its members one by one, so that each gets its own answer."""
        try:
            self._driver.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(waiting, alone=len(batch) == 1) for waiting in batch]
            self._driver.execute("COMMIT")
        except Exception as error:  # a future that is never resolved would hang its request
            self._roll_back()
            if len(batch) > 1:
                return [outcome for waiting in batch for outcome in self.commit([waiting])]
            return [_Outcome(batch[0].done, None, translate(error) if _is_of_database(error) else error)]
        return outcomes

    def _attempt(self, waiting: _Waiting, *, alone: bool) -> _Outcome:
        """Run one transaction of a batch so that its failure undoes its own changes only; a failure of the database itself is raised."""
        if alone:
            return _Outcome(waiting.done, waiting.work(self._connection), None)
        self._driver.execute("SAVEPOINT one")
        try:
            outcome = _Outcome(waiting.done, waiting.work(self._connection), None)
        except Exception as error:
            if _is_of_database(error):
                raise
            self._driver.execute("ROLLBACK TO one")
            outcome = _Outcome(waiting.done, None, error)
        self._driver.execute("RELEASE one")
        return outcome

    def _roll_back(self) -> None:
        """Undo what is open. SQLite does so by itself after some failures (a full disk), so there may be nothing."""
        with suppress(sqlite3.Error):
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")


class Turnstile:
    """One writer at a time, among the threads of this process and the processes on this file.

    SQLite waits for its own lock by sleeping and looking again, for up to a tenth of a second; the kernel wakes who waits for a file's
    lock at once.
    """

    def __init__(self, path: Path) -> None:
        self._threads = threading.Lock()
        self._file = path.with_name(f"{path.name}-turn").open("ab")

    @contextmanager
    def pass_through(self, *, wait: bool) -> Iterator[bool]:
        """Hold the turn; without `wait`, say whether it was free."""
        if not self._threads.acquire(blocking=wait):
            yield False
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            try:
                yield True
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except BlockingIOError:
            yield False
        finally:
            self._threads.release()

    def close(self) -> None:
        """Close its file."""
        self._file.close()


class _SqliteWriter(threading.Thread):
    """The one thread of a process that writes to the SQLite file; see the module's docstring."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="sqlite-writer", daemon=True)
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        # Opened here and not in the thread, where a failure would leave every request waiting.
        self._pen = _SqlitePen(path)
        self._light_pen = _SqlitePen(path)
        self._light_pen.pragma("synchronous=NORMAL")
        self._light_pen.pragma("wal_autocheckpoint=0")  # a checkpoint waits for the disk
        self._turnstile = Turnstile(path)
        self._loop = asyncio.get_running_loop()
        self.start()

    def submit(self, waiting: _Waiting) -> None:
        self._queue.put(waiting)

    def try_at_once(self, waiting: _Waiting) -> _Outcome | None:
        """Run a transaction that waits for no disk on the loop's own thread; None if anybody else writes, or waits to."""
        if not self._queue.empty():
            return None
        with self._turnstile.pass_through(wait=False) as free:
            return self._light_pen.commit([waiting])[0] if free else None

    def stop(self) -> None:
        self._queue.put(None)
        self.join()
        self._light_pen.close()
        self._turnstile.close()

    def run(self) -> None:
        while (first := self._queue.get()) is not None:
            with self._turnstile.pass_through(wait=True):
                batch = self._gather(first)
                self._pen.pragma(f"synchronous={'FULL' if any(waiting.durable for waiting in batch) else 'NORMAL'}")
                outcomes = self._pen.commit(batch) if batch else []
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_resolve, outcomes)
        self._pen.close()

    def _gather(self, first: _Waiting) -> list[_Waiting]:
        """All that is waiting, but for whose requests have given up; from here on giving up cancels nothing."""
        batch = [first]
        while len(batch) < _BATCH_LIMIT:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                self._queue.put(None)  # stop after this batch
                break
            batch.append(waiting)
        return [waiting for waiting in batch if not waiting.done.cancelled()]


def _resolve(outcomes: list[_Outcome]) -> None:
    for done, value, failure in outcomes:
        if done.done():
            continue  # the request was cancelled meanwhile
        if failure is None:
            done.set_result(value)
        else:
            done.set_exception(failure)


class SqliteDatabase:
    """See `Database`."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = _SqliteWriter(path)
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="sqlite-read")
        self._engine = sqlite_engine(path, write=False, pool_size=4)
        self._hot = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
        _prepare_sqlite(self._hot, write=False)

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """See `Database.write`."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(work, durable, done)
        outcome = None if durable else self._writer.try_at_once(waiting)
        if outcome is None:
            self._writer.submit(waiting)
        else:
            _resolve([outcome])
        return await done

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)

    def _read(self, work: Work[T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (exc.DBAPIError, sqlite3.Error) as error:
            raise translate(error) from error

    def hot(self, statement: Select[Any]) -> HotSelect:
        """See `Database.hot`."""
        return _SqliteHot(self._hot, *_compiled(statement, pysqlite_dialect()))

    async def check(self) -> None:
        """See `Database.check`."""
        await self.read(lambda connection: connection.exec_driver_sql("SELECT 1"))

    async def close(self) -> None:
        """See `Database.close`."""
        await asyncio.to_thread(self._writer.stop)
        self._threads.shutdown()
        self._engine.dispose()
        self._hot.close()


_Hot = tuple[str, tuple[str, ...]]
"""A select in a database's words, and the names of its parameters in their order."""

_compiled_before: Final[dict[tuple[str, object], _Hot]] = {}


def _compiled(statement: Select[Any], dialect: Dialect) -> _Hot:
    """Compiled once a process: a registry with gates and one without ask for the same."""
    structure = statement._generate_cache_key()
    assert structure is not None  # it holds nothing of our own making
    key = (dialect.name, structure.key)
    found = _compiled_before.get(key)
    if found is None:
        compiled: Any = statement.compile(dialect=dialect)
        if set(compiled.params) - set(compiled.positiontup) or any(value is not None for value in compiled.params.values()):
            raise ValueError("a hot select takes named bind parameters only")
        found = _compiled_before[key] = str(compiled), tuple(compiled.positiontup)
    return found


class _SqliteHot:
    def __init__(self, connection: sqlite3.Connection, sql: str, positions: tuple[str, ...]) -> None:
        self._execute = connection.execute
        self._sql = sql
        self._positions = positions

    async def all(self, **values: object) -> list[Row]:
        try:
            return self._execute(self._sql, [values[name] for name in self._positions]).fetchall()
        except sqlite3.Error as error:
            raise translate(error) from error

    async def first(self, **values: object) -> Row | None:
        rows = await self.all(**values)
        return rows[0] if rows else None


# --- PostgreSQL -----------------------------------------------------------------------------------------------------------------


class PostgresDatabase:
    """See `Database`."""

    dialect = "postgresql"

    def __init__(self, engine: AsyncEngine, pool: Any) -> None:
        self._engine = engine
        self._pool = pool

    @classmethod
    async def connect(cls, url: str) -> PostgresDatabase:
        """Open the pools; raises DatabaseFailed when the server cannot be reached."""
        import asyncpg  # noqa: PLC0415 - an SQLite site never pays for it

        try:
            pool = await asyncpg.create_pool(str(url), min_size=1, max_size=10, command_timeout=60)
        except postgres_failures() as error:
            raise translate(error) from error
        return cls(postgres_engine(url), pool)

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """See `Database.write`."""
        for attempt in range(_PG_ATTEMPTS):
            try:
                async with self._engine.begin() as connection:
                    if not durable:
                        await connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
                    return await connection.run_sync(work)
            except exc.IntegrityError:
                raise
            except exc.DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _RETRIED_SQLSTATES or attempt == _PG_ATTEMPTS - 1:
                    raise translate(error) from error
            except postgres_failures() as error:
                raise translate(error) from error
        raise AssertionError("unreachable")

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                return await connection.run_sync(work)
        except postgres_failures() as error:
            raise translate(error) from error

    def hot(self, statement: Select[Any]) -> HotSelect:
        """See `Database.hot`."""
        return _PostgresHot(self._pool, *_compiled(statement, asyncpg_dialect()))  # type: ignore[no-untyped-call]

    async def check(self) -> None:
        """See `Database.check`."""
        try:
            await self._pool.fetchval("SELECT 1")
        except Exception as error:
            raise translate(error) from error

    async def close(self) -> None:
        """See `Database.close`."""
        await self._pool.close()
        await self._engine.dispose()


class _PostgresHot:
    def __init__(self, pool: Any, sql: str, positions: tuple[str, ...]) -> None:
        self._pool = pool
        self._sql = sql
        self._positions = positions

    async def all(self, **values: object) -> list[Row]:
        try:
            rows = await self._pool.fetch(self._sql, *(values[name] for name in self._positions))
        except postgres_failures() as error:
            raise translate(error) from error
        return [tuple(row) for row in rows]

    async def first(self, **values: object) -> Row | None:
        rows = await self.all(**values)
        return rows[0] if rows else None


def postgres_engine(url: str) -> AsyncEngine:
    """SQLAlchemy's engine for a `postgresql://…` URL, which asyncpg reads as libpq would: `?sslmode=…` and the like may be in it.

    A connection that the server has ended while it lay in the pool is replaced when it is taken out: a restart of PostgreSQL costs no
    request that comes after it. That is known here without asking the server, which `pool_pre_ping` would do before each transaction.
    """

    def connect() -> Any:
        import asyncpg  # noqa: PLC0415 - an SQLite site never pays for it

        return asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_size=10, max_overflow=10, pool_pre_ping=False)

    @event.listens_for(engine.sync_engine, "checkout")
    def _checkout(connection: Any, _record: object, _proxy: object) -> None:
        if connection.driver_connection.is_closed():
            raise exc.DisconnectionError

    return engine


@cache
def postgres_failures() -> tuple[type[Exception], ...]:
    """What SQLAlchemy, asyncpg and the network raise when PostgreSQL fails; asyncpg's own errors come unwrapped while it connects."""
    import asyncpg  # noqa: PLC0415 - an SQLite site never pays for it

    # The last is what a connection raises that breaks while another task lets go of it.
    ours = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    return exc.DBAPIError, exc.TimeoutError, OSError, *ours
