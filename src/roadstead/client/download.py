"""A blob to a file: ranges fetched in parallel, written and hashed in order, so that what lies there is all a resumption needs.

    FILE                            appears at the end, whole
    .FILE.<digest>.part             what came so far, from the first byte without a gap; locked by who writes it
    .FILE.<digest>.<whose>.part     the same, of who could not lock that one

A shared cache (a folder of the cluster's file system) holds each blob once:

    CACHE/<algorithm>/<hash>        whole
    CACHE/<algorithm>/<hash>.lock   locked by who fetches it; the others wait, then find it

The locks are POSIX's (`fcntl`): NFS 4 and Lustre mounted with `flock` keep them across nodes. Nothing that is written depends on them:

* Where there are no locks, each fetches into a file of its own, which is slow and not wrong.
* Where a lock holds within one node only (Lustre's `localflock`), two may write one partial file. It is no longer than what its one
  writer wrote, so who finds it longer, or finds it gone, leaves it to the other and begins a file of their own. Until that shows they
  have written the same bytes at the same places, and a file that may have had two writers is read and hashed again at the end.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Final

import msgspec

from roadstead.client.session import AS_IT_IS, Session
from roadstead.errors import DigestMismatch, StorageFull, StoreFailed, Unavailable
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName

PART: Final = 8 << 20
"""Bytes of one request."""

_THREADS: Final = 4
_AHEAD: Final = 2 * _THREADS  # Parts on their way or waiting for their turn: what is held in memory.
_TRIES: Final = 4
_PAUSE: Final = 0.2  # Seconds before the second try; each further one waits twice as long.
_HELD: Final = (errno.EAGAIN, errno.EACCES)  # fcntl(2): another process holds the lock. Any other error: there is no lock to be had.
_PIECE: Final = 1 << 20

Tell = Callable[[int], None]
"""Told the bytes that have come, each time it grows."""


class Cache(msgspec.Struct, frozen=True):
    """A folder that is shared. `waiting` is called before a wait for another process that fetches the same."""

    folder: Path
    waiting: Callable[[], None] = lambda: None


def download(session: Session, repository: RepositoryName, blob: Descriptor, target: Path, tell: Tell, cache: Cache | None = None) -> None:
    """Fetch the blob to `target`, which is replaced. Raises DigestMismatch, StorageFull, StoreFailed, and as the session does."""
    with translated(target):
        if cache is None:
            _fetch(session, repository, blob, target, tell, f".{target.name}.{blob.digest.encoded[:16]}")
            return
        kept = cache.folder / blob.digest.algorithm / blob.digest.encoded
        if not kept.exists():
            _fill(cache, session, repository, blob, kept, tell)
        _copy(kept, target, blob.digest)
        tell(blob.size)


def _fill(cache: Cache, session: Session, repository: RepositoryName, blob: Descriptor, kept: Path, tell: Tell) -> None:
    """Have the blob in the cache, fetched by this process or by another."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(cache.folder.stat().st_mode)
    _shared_folder(kept.parent, mode)
    with _locked(kept.with_name(f"{kept.name}.lock"), mode, cache.waiting):
        if not kept.exists():
            _fetch(session, repository, blob, kept, tell, f".{kept.name}", mode)


def _fetch(
    session: Session, repository: RepositoryName, blob: Descriptor, target: Path, tell: Tell, name: str, mode: int | None = None
) -> None:
    """Fetch to `target` by way of `name`.part. `mode` is the shared folder's: the file is as open as that."""
    source = _Source(session, f"/v2/{repository}/blobs/{blob.digest}", blob)
    partial = target.with_name(f"{name}.part")
    with _opened(partial, mode) as file:
        locked = _lock(file, target)
        if locked and _is(partial, file):  # It is not if whoever held the lock before us has just finished.
            with suppress(_Shared):
                _complete(source, file, partial, target, tell)
                return
    own = target.with_name(f"{name}.{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        if not locked:
            with suppress(FileNotFoundError):
                partial.replace(own)  # What came before is for one alone to go on from: a rename has one winner everywhere.
        with _opened(own, mode) as file:
            _complete(source, file, own, target, tell)
    except _Shared as error:
        raise StoreFailed(f"{target} is being fetched by another process.") from error
    finally:
        with suppress(FileNotFoundError):  # If it is still there, this failed: the next may go on from it.
            own.replace(partial) if not locked else own.unlink()


class _Shared(Exception):
    """Another process writes the file, or has taken it away."""


class _Source(msgspec.Struct, frozen=True):
    """Where a blob comes from."""

    session: Session
    path: str
    blob: Descriptor


def _complete(source: _Source, file: BinaryIO, partial: Path, target: Path, tell: Tell) -> None:
    """Fetch what the file lacks, and make it the target. Raises _Shared if it is not ours alone."""
    digest, size = source.blob.digest, source.blob.size
    running = _resumed(file, source.blob)
    left, doubtful = os.fstat(file.fileno()).st_mtime_ns, False
    tell(file.tell())
    for piece in _pieces(source.session, source.path, file.tell(), size):
        found = os.fstat(file.fileno())
        doubtful = doubtful or found.st_mtime_ns != left
        if found.st_size != file.tell() or not _is(partial, file):
            raise _Shared
        file.write(piece)
        file.flush()
        left = os.fstat(file.fileno()).st_mtime_ns
        running.update(piece)
        tell(file.tell())
    os.fsync(file.fileno())
    found = os.fstat(file.fileno())
    if not _is(partial, file) or found.st_size != size:
        raise _Shared
    if running.hexdigest() != digest.encoded:
        partial.unlink()
        raise DigestMismatch(f"What {source.session.host} sent is not {digest}; nothing was kept.")
    if (doubtful or found.st_mtime_ns != left) and _hash(file, digest.algorithm).hexdigest() != digest.encoded:
        raise _Shared
    partial.replace(target)


def _resumed(file: BinaryIO, blob: Descriptor) -> hashlib._Hash:
    """The hash of what came before, with the file at its end. More than there can be is dropped."""
    if file.seek(0, os.SEEK_END) > blob.size:
        file.truncate(0)
    return _hash(file, blob.digest.algorithm)


def _hash(file: BinaryIO, algorithm: str) -> hashlib._Hash:
    """Of all that the file holds."""
    running = hashlib.new(algorithm)
    file.seek(0)
    while piece := file.read(_PIECE):
        running.update(piece)
    return running


def _pieces(session: Session, path: str, begin: int, size: int) -> Iterator[bytes]:
    """The parts from `begin` on, in order, while later ones are on their way.

    Daemons fetch them, which nobody waits for: one that stands in a connection that does not move must not hold up the end of the program.
    """
    stop = threading.Event()
    orders: SimpleQueue[tuple[Future[bytes], int]] = SimpleQueue()

    def work() -> None:
        while not stop.is_set():
            future, start = orders.get()
            if not stop.is_set():
                _settle(future, lambda start=start: _part(session, path, start, min(start + PART, size), stop))  # type: ignore[misc]

    waiting: deque[Future[bytes]] = deque()
    starts = range(begin, size, PART)
    threads = [threading.Thread(target=work, name=f"fetch-{number}", daemon=True) for number in range(min(_THREADS, len(starts)))]
    for thread in threads:
        thread.start()
    try:
        for start in starts:
            waiting.append(Future())
            orders.put((waiting[-1], start))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        for _ in threads:
            orders.put((Future(), 0))  # So that none waits for more.


def _settle(future: Future[bytes], work: Callable[[], bytes]) -> None:
    """The work's result into the future, or what it raised."""
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _part(session: Session, path: str, start: int, end: int, stop: threading.Event) -> bytes:
    """These bytes; a connection that breaks is made again and goes on where it was."""
    got = bytearray()
    for attempt in range(_TRIES):
        try:
            _read(session, path, start, end, got, stop)
        except Unavailable:
            if attempt == _TRIES - 1 or stop.wait(_PAUSE * 2**attempt):
                raise
        else:
            return bytes(got)
    raise AssertionError("the last try returns or raises")


def _read(session: Session, path: str, start: int, end: int, got: bytearray, stop: threading.Event) -> None:
    first = start + len(got)
    with session.stream("GET", path, headers={"Range": f"bytes={first}-{end - 1}", **AS_IT_IS}) as answer:
        skip = 0 if answer.status_code == 206 else first  # A registry may not know ranges, and sends all.
        for piece in answer.iter_raw():
            if stop.is_set():
                raise Unavailable("The transfer was broken off.")
            taken = piece[skip:]
            skip = max(0, skip - len(piece))
            got += taken[: end - start - len(got)]
            if start + len(got) == end:
                return
    raise Unavailable(f"{session.host} ended its answer too soon.")


def _copy(source: Path, target: Path, digest: Digest) -> None:
    """A copy, checked: whoever changes theirs must not change the cache's. A damaged original goes, so that the next finds none."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    running = hashlib.new(digest.algorithm)
    try:
        with source.open("rb") as original, partial.open("xb") as file:
            while piece := original.read(_PIECE):
                running.update(piece)
                file.write(piece)
        if running.hexdigest() != digest.encoded:
            raise DigestMismatch(f"{source} in the cache was damaged{_removed(source)}.")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _removed(damaged: Path) -> str:
    try:
        damaged.unlink(missing_ok=True)
    except OSError as error:
        return f", and cannot be removed ({error.strerror}): ask who may"
    return " and is removed; try again"


def _opened(path: Path, mode: int | None = None) -> BinaryIO:
    """The file for reading and writing, made if it is not there; with `mode`, a folder's, it is made as open as that folder.

    One that is there is not opened as if it were to be made: in folders with the sticky bit Linux refuses that to all but its owner.
    """
    while True:
        try:
            return path.open("r+b")
        except FileNotFoundError:
            with suppress(FileExistsError):
                file = path.open("x+b")
                if mode is not None:
                    with suppress(OSError):  # Some file systems know no modes.
                        os.fchmod(file.fileno(), mode & 0o666)
                return file


def _shared_folder(path: Path, mode: int) -> None:
    """Make the folder, as open as the one that it is in, with its set-group-ID bit."""
    try:
        path.mkdir()
    except FileExistsError:
        return
    with suppress(OSError):  # See _opened.
        path.chmod(mode)


def _lock(file: BinaryIO, target: Path) -> bool:
    """Lock the file for this process; False where there are no locks. Raises StoreFailed if another has it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise StoreFailed(f"{target} is being fetched by another process.") from error
        return False
    return True


def _is(path: Path, file: BinaryIO) -> bool:
    """Whether the file has that name still."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextmanager
def _locked(path: Path, mode: int, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock; where there are none, go on without."""
    with _opened(path, mode) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                waiting()
                with suppress(OSError):
                    fcntl.lockf(file, fcntl.LOCK_EX)
        yield


@contextmanager
def translated(target: Path) -> Iterator[None]:
    """The system's errors while something is written, as errors of the tree."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"There is no room left for {target}; what came is kept, and the same command goes on from there.") from error
        raise StoreFailed(f"{error.filename or target} cannot be written: {error.strerror}.") from error
