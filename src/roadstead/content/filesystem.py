"""Content in files of a local or shared file system.

    <root>/
    └── content/
        ├── 00/ … ff/                                  made and fsynced at start, never removed
        └── ab/
            └── ab4f0c…                                one key: 32 random hexadecimal digits, at its final path from the first byte on

There is nothing else: no temporary names, no renames, no index, no side files. Whether a file is a finished blob or an upload
that still grows is said by the database alone.

A scratch file has no name in `content/` (O_TMPFILE) until `take` gives it a key's. Where the file system has no such files, as NFS, it
lies under its key from the beginning, and is removed in the end unless it was taken.

What is durable when. `seal` fsyncs the file, then its directory. `suspend` fsyncs nothing: its state carries the machine's boot id, and a
state from another boot (or another machine on a shared file system) is not trusted. Its hashes are thrown away, so that `seal` reads
the whole content again, and a file that came out shorter than the state says is UploadUnknown.
An fsync that failed can not be repeated: the kernel may have dropped the pages, and the next fsync would report success. The
upload is lost then.

Memory. A writer gathers chunks to pieces of 1 MiB or more; while a thread writes and hashes one piece the next one gathers, and `write`
waits when that one reaches 2 MiB. So at most 4 MiB wait, plus what the caller's last two chunks exceed that by.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import msgspec

from roadstead.content.behind import Behind
from roadstead.content.disk import Disk, boot_id
from roadstead.content.hashing import Hashes, HashStates, wanted
from roadstead.content.keys import is_key, new_key
from roadstead.content.scratch import copied, finished_size
from roadstead.content.state import decode, progress
from roadstead.content.store import LocalFile, Opened, Progress, Sealed, Span, StoredKey, UploadState
from roadstead.content.threads import thread_pool
from roadstead.errors import ContentDamaged, StorageFull, StoreFailed, Unavailable, UploadUnknown
from roadstead.oci.digest import Digest

MIB = 1 << 20
PIECE = 1 * MIB
"""A piece is handed to a thread when it has this many bytes."""
GATHERED = 2 * MIB
"""The writer's caller waits when this many bytes are gathered and the thread is still busy."""
WRITEBACK = 8 * MIB
"""Have the kernel begin to write to the medium each time this many bytes are dirty. Measured on a two-core machine: 512 MiB written, hashed
and fsynced in 0.50 s; in 0.64 to 1.1 s without; 4 and 16 MiB are alike."""
THREADS = 32
"""Threads of one store. A thread is busy only while bytes are there to be written, or an fsync runs; more uploads than these take turns."""

ERRORS: dict[int, type[Unavailable]] = {
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
    errno.EFBIG: StorageFull,
}
"""What the system's errors mean here. Any other one means StoreFailed."""

P = ParamSpec("P")
R = TypeVar("R")

NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""How open(2) answers O_TMPFILE where the file system or the kernel has none."""
CANNOT_NAME = frozenset({errno.ENOENT, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP})
"""How linkat(2) answers where /proc is not to be seen, or may not be used so."""


class FileState(msgspec.Struct, frozen=True):
    """What an UploadState of this store says. `boot` is the boot id of the machine whose page cache holds the bytes."""

    key: str
    offset: int
    algorithms: frozenset[str]
    boot: str = ""
    hashes: HashStates = HashStates()


class FilesystemStore:
    """A content store in the directory `root`. Any number of processes may use the same root at once."""

    def __init__(self, root: Path, *, disk: Disk | None = None, threads: int = THREADS, boot: str | None = None) -> None:
        self._content = root.absolute() / "content"
        self.disk = disk or Disk()
        self.boot = boot_id() if boot is None else boot
        self._threads = thread_pool(threads, "content")
        self._named_scratch: dict[BinaryIO, str] = {}

    @property
    def name(self) -> str:
        """ "file"."""
        return "file"

    def path(self, key: str) -> Path:
        """Where `key` lies."""
        return self._content / key[:2] / key

    async def prepare(self) -> None:
        """Make the directories, durably. Call it once before anything else; repeating it is cheap. Raises StorageFull or StoreFailed."""
        await self.run(self._prepare)

    async def begin(self, algorithms: Collection[str] = ()) -> Progress:
        """Choose a key; the file is made when a writer is opened on it."""
        return progress(FileState(new_key(), 0, wanted(algorithms)))

    def key(self, state: UploadState) -> str:
        """The key that the state names."""
        return decode(state, FileState).key

    async def resume(self, state: UploadState, expected: int | None = None) -> FileWriter:
        """Open the file and cut it to the state's offset; a new upload's file is opened with its first bytes."""
        decoded = decode(state, FileState)
        if not decoded.offset:
            return FileWriter(self, decoded, None)
        opening = self.start(self.open_upload, decoded)
        try:
            return FileWriter(self, decoded, await asyncio.shield(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(self._close_unwanted)
            raise

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[BinaryIO]:
        """A file without a name, or under the key that it will have."""
        opening = self.start(self._open_scratch)
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._end_unwanted)
            raise
        try:
            yield file
        finally:
            await self.run(self._end_scratch, file)

    async def take(self, file: BinaryIO, algorithms: Collection[str] = ()) -> Sealed:
        """Read for the digests, fsync, name the file, and fsync its directory. Copies the bytes only where naming it is not possible."""
        sealed = await self.run(self._take, file, wanted(algorithms))
        return sealed or await copied(self, file, algorithms)

    async def open(self, key: str, size: int, span: Span | None = None, *, elsewhere: bool = False) -> Opened:
        """Always a LocalFile, which was opened once to prove that it can be."""
        if await self.run(self._measure, key) != size:
            raise ContentDamaged(key=key)
        return LocalFile(self.path(key), size, span)

    async def holds(self, key: str, size: int) -> bool:
        """Whether the file is there, readable, with `size` bytes."""
        return await self.run(self._measure, key) == size

    async def delete(self, key: str) -> None:
        """Unlink the file."""
        await self.run(self.unlink, key)

    async def keys(self) -> AsyncIterator[StoredKey]:
        """One of the 256 directories is in memory at a time."""
        for prefix in prefixes():
            for name, stat in await self.run(self.disk.list_directory, self._content / prefix):
                if is_key(name):
                    yield StoredKey(name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    async def check(self) -> None:
        """Write, fsync, read and remove a small file."""
        await self.run(self._probe)

    async def close(self) -> None:
        """Wait for the threads to end."""
        await asyncio.to_thread(self._threads.shutdown)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call in the store's threads, errors translated. It runs to its end even if the awaiting task is cancelled."""
        return await asyncio.shield(self.start(call, *args, **kwargs))

    def start(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """Begin a blocking call in the store's threads, errors translated."""
        return asyncio.wrap_future(self._threads.submit(translated, partial(call, *args, **kwargs)))

    def unlink(self, key: str) -> None:
        """Remove the file of `key` if there is one. Blocks."""
        if is_key(key):
            with suppress(FileNotFoundError):
                self.disk.unlink(self.path(key))

    def _close_unwanted(self, opening: asyncio.Future[int]) -> None:
        if opening.exception() is None:
            self.disk.close(opening.result())

    def _open_scratch(self) -> BinaryIO:
        try:
            return os.fdopen(self.disk.open_unnamed(self._content), "r+b")
        except OSError as error:
            if error.errno not in NO_UNNAMED:
                raise
        key = new_key()
        file = os.fdopen(self.disk.open(self.path(key), os.O_RDWR | os.O_CREAT | os.O_EXCL), "r+b")
        self._named_scratch[file] = key
        return file

    def _take(self, file: BinaryIO, algorithms: frozenset[str]) -> Sealed | None:
        """None where the file cannot be given a name."""
        size, descriptor = finished_size(file), file.fileno()
        self.disk.start_writeback(descriptor, 0, size)
        digests = read_digests(self.disk, descriptor, algorithms)
        self.disk.fsync(descriptor)
        key = self._named_scratch.get(file)
        if key is None:
            key = new_key()
            try:
                self.disk.name(descriptor, self.path(key))
            except OSError as error:
                if error.errno not in CANNOT_NAME:
                    raise
                return None
        self.disk.fsync_directory(self.path(key).parent)
        self._named_scratch.pop(file, None)
        return Sealed(key, size, digests)

    def _end_scratch(self, file: BinaryIO) -> None:
        key = self._named_scratch.pop(file, None)
        if key is not None:
            self.unlink(key)
        with suppress(OSError):  # What could not be written is not wanted any more.
            file.close()

    def _end_unwanted(self, opening: asyncio.Future[BinaryIO]) -> None:
        if opening.exception() is None:
            self._end_scratch(opening.result())

    def _prepare(self) -> None:
        for prefix in prefixes():
            self.disk.make_directory(self._content / prefix)
        for directory in (self._content, self._content.parent, self._content.parent.parent):
            self.disk.fsync_directory(directory)

    def _measure(self, key: str) -> int | None:
        """The size of `key`, proven readable; None if it is not there."""
        if not is_key(key):
            return None
        try:
            with opened(self.disk, self.path(key), os.O_RDONLY) as descriptor:
                return self.disk.stat(descriptor).st_size
        except FileNotFoundError:
            return None

    def open_upload(self, state: FileState) -> int:
        """The descriptor of the upload's file, cut to the state's offset. The file is made only for the upload's first byte."""
        if not state.offset:
            return self._cut(self.disk.open(self.path(state.key), os.O_RDWR | os.O_CREAT), 0)
        try:
            return self._cut(self.disk.open(self.path(state.key), os.O_RDWR), state.offset)
        except FileNotFoundError:
            raise UploadUnknown from None

    def _cut(self, descriptor: int, offset: int) -> int:
        """Cut the file to `offset` bytes and return its descriptor; close it if that fails. Raises UploadUnknown if the file is shorter."""
        try:
            size = self.disk.stat(descriptor).st_size
            if size > offset:
                self.disk.truncate(descriptor, offset)
        except OSError:
            self.disk.close(descriptor)
            raise
        if size < offset:
            self.disk.close(descriptor)
            raise UploadUnknown
        return descriptor

    def _probe(self) -> None:
        """Write, sync, read and remove one small file, named like any key: one that a crash leaves is collected like any other."""
        key = new_key()
        try:
            with opened(self.disk, self.path(key), os.O_RDWR | os.O_CREAT) as descriptor:
                write_all(self.disk, descriptor, key.encode(), 0)
                self.disk.fsync(descriptor)
                if self.disk.pread(descriptor, len(key), 0) != key.encode():
                    raise StoreFailed
        finally:
            self.unlink(key)


class FileWriter:
    """An upload into one file. Methods without `async` whose name ends in `_now` run in a thread of the store, one at a time."""

    def __init__(self, store: FilesystemStore, state: FileState, descriptor: int | None) -> None:
        self._store = store
        self._disk = store.disk
        self._state = state
        self._descriptor: int | None = descriptor
        exported = state.hashes if state.boot == store.boot != "" else HashStates()
        self._hashes = Hashes.restore(state.offset, state.algorithms, exported)
        self._accepted = self._written = self._writeback_from = state.offset
        self._gathered: list[bytes] = []
        self._waiting = 0
        self._behind = Behind()
        self._lost = False
        self._ended = False

    @property
    def offset(self) -> int:
        """Bytes accepted, whether or not they are written yet."""
        return self._accepted

    async def write(self, chunk: bytes) -> None:
        """Gather; hand a piece to a thread when there is one."""
        self._gathered.append(chunk)
        self._waiting += len(chunk)
        self._accepted += len(chunk)
        if self._waiting >= GATHERED or not self._behind.busy:
            await self._behind.ready()
            if self._waiting >= PIECE:
                self._behind.start(self._store.start(self._write_now, self._take()))

    async def suspend(self) -> Progress:
        """Write what is gathered and close the file, without fsync."""
        if not await self._behind.failed():
            await self._behind.finish(self._store.start(self._suspend_now, self._take()))
        elif self._lost:
            await self._behind.ready()
        else:
            await self._store.run(self._close_now)
        return progress(msgspec.structs.replace(self._state, offset=self._written, boot=self._store.boot, hashes=self._hashes.export()))

    async def seal(self, algorithms: Collection[str] = ()) -> Sealed:
        """Write what is gathered, fsync file and directory, and read again for the digests not computed on the way."""
        await self._behind.ready()
        every = wanted({*self._state.algorithms, *algorithms})
        return await self._behind.finish(self._store.start(self._seal_now, self._take(), every))

    async def discard(self) -> None:
        """Close and unlink the file."""
        await self._behind.settle()
        await self._store.run(self._drop_now)

    def _take(self) -> list[bytes]:
        gathered, self._gathered, self._waiting = self._gathered, [], 0
        return gathered

    def _write_now(self, chunks: list[bytes]) -> None:
        """Write, then hash: so `_hashes` never knows more than the `_written` bytes, whatever fails."""
        piece = b"".join(chunks)
        chunks.clear()
        write_all(self._disk, self._open_descriptor(), piece, self._written)
        self._hashes.update(piece)
        self._written += len(piece)
        if self._written - self._writeback_from >= WRITEBACK:
            self._disk.start_writeback(self._open_descriptor(), self._writeback_from, self._written - self._writeback_from)
            self._writeback_from = self._written

    def _suspend_now(self, chunks: list[bytes]) -> None:
        if chunks:
            self._write_now(chunks)
        try:
            self._close_now()
        except OSError:
            # A network file system may report lost writes only here. Without its hashes, the content is read again before it is sealed.
            self._hashes = Hashes({})
            raise

    def _seal_now(self, chunks: list[bytes], algorithms: frozenset[str]) -> Sealed:
        if chunks:
            self._write_now(chunks)
        descriptor = self._open_descriptor()
        stat = self._disk.stat(descriptor)
        if stat.st_size != self._written or stat.st_nlink == 0:
            raise ContentDamaged(key=self._state.key)
        self._sync_now(descriptor)
        digests = self._hashes.digests() | read_digests(self._disk, descriptor, algorithms - self._hashes.algorithms)
        self._close_now()
        return Sealed(self._state.key, self._written, {algorithm: digests[algorithm] for algorithm in algorithms})

    def _sync_now(self, descriptor: int) -> None:
        try:
            self._disk.fsync(descriptor)
            self._disk.fsync_directory(self._store.path(self._state.key).parent)
        except OSError:
            self._lost = True
            self._drop_now()
            raise

    def _drop_now(self) -> None:
        self._close_now()
        self._store.unlink(self._state.key)

    def _close_now(self) -> None:
        self._ended = True
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)

    def _open_descriptor(self) -> int:
        if self._ended:
            raise ValueError("this writer has ended")
        if self._descriptor is None:
            self._descriptor = self._store.open_upload(self._state)
        return self._descriptor


def prefixes() -> Iterator[str]:
    """The names of the 256 directories."""
    return (f"{number:02x}" for number in range(256))


def write_all(disk: Disk, descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, in as many calls as it takes."""
    rest = memoryview(data)
    while rest:
        written = disk.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def read_digests(disk: Disk, descriptor: int, algorithms: frozenset[str]) -> dict[str, Digest]:
    """Read a whole file and hash it. Reads nothing where no algorithm is asked for."""
    hashes, offset = Hashes.begin(algorithms), 0
    while algorithms and (piece := disk.pread(descriptor, PIECE, offset)):
        hashes.update(piece)
        offset += len(piece)
    return hashes.digests()


@contextmanager
def opened(disk: Disk, path: Path, flags: int) -> Iterator[int]:
    """A descriptor that is closed at the end."""
    descriptor = disk.open(path, flags)
    try:
        yield descriptor
    finally:
        disk.close(descriptor)


def translated(call: Callable[[], R]) -> R:
    """Call, with the system's errors turned into ours."""
    try:
        return call()
    except OSError as error:
        raise ERRORS.get(error.errno or 0, StoreFailed) from error
