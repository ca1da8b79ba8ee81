"""A blob to a file: ranges fetched in parallel, written and hashed in order, so that what lies there is all a resumption needs.

    FILE                        appears at the end, whole
    .FILE.<digest>.part         what came so far, from the first byte without a gap

A shared cache (a folder of the cluster's file system) holds each blob once:

    CACHE/<algorithm>/<hash>        whole
    CACHE/<algorithm>/<hash>.lock   locked by who fetches it; the others wait, then find it

The lock is POSIX's (`fcntl`): NFS 4 and Lustre mounted with `flock` keep it across nodes. Where the file system has no locks, everyone
fetches, which is slow and not wrong, because each writes a partial file of its own.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from roadstead.client.session import Session
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

Tell = Callable[[int], None]
"""Told the bytes that have come, each time it grows."""


def download(session: Session, repository: RepositoryName, blob: Descriptor, target: Path, tell: Tell, cache: Path | None = None) -> None:
    """Fetch the blob to `target`, which is replaced. Raises DigestMismatch, StorageFull, StoreFailed, and as the session does."""
    with translated(target):
        if cache is None:
            _fetch(session, repository, blob, target, tell, f".{target.name}.{blob.digest.encoded[:16]}.part")
            return
        kept = cache / blob.digest.algorithm / blob.digest.encoded
        kept.parent.mkdir(parents=True, exist_ok=True)
        with _locked(kept.with_name(f"{kept.name}.lock")) as locked:
            if not kept.exists():
                own = "" if locked else f".{secrets.token_hex(4)}"
                _fetch(session, repository, blob, kept, tell, f".{kept.name}{own}.part")
        _copy(kept, target, blob.digest)
        tell(blob.size)


def _fetch(session: Session, repository: RepositoryName, blob: Descriptor, target: Path, tell: Tell, name: str) -> None:
    partial = target.with_name(name)
    with partial.open("a+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise StoreFailed(f"{target} is being fetched by another process.") from error
        running = _resumed(file, blob)
        tell(file.tell())
        for piece in _pieces(session, f"/v2/{repository}/blobs/{blob.digest}", file.tell(), blob.size):
            file.write(piece)
            running.update(piece)
            tell(file.tell())
        file.flush()
        os.fsync(file.fileno())
        if running.hexdigest() != blob.digest.encoded:
            partial.unlink()
            raise DigestMismatch(f"What {session.host} sent is not {blob.digest}; nothing was kept.")
        partial.replace(target)


def _resumed(file: BinaryIO, blob: Descriptor) -> hashlib._Hash:
    """The hash of what came before, with the file at its end. More than there can be is dropped."""
    running = hashlib.new(blob.digest.algorithm)
    if file.seek(0, os.SEEK_END) > blob.size:
        file.truncate(0)
    file.seek(0)
    while piece := file.read(1 << 20):
        running.update(piece)
    return running


def _pieces(session: Session, path: str, begin: int, size: int) -> Iterator[bytes]:
    """The parts from `begin` on, in order, while later ones are on their way."""
    stop = threading.Event()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch") as pool:
        waiting: deque[Future[bytes]] = deque()
        try:
            for start in range(begin, size, PART):
                waiting.append(pool.submit(_part, session, path, start, min(start + PART, size), stop))
                if len(waiting) >= _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()
            for future in waiting:
                future.cancel()


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
    with session.stream("GET", path, headers={"Range": f"bytes={first}-{end - 1}"}) as answer:
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
            while piece := original.read(1 << 20):
                running.update(piece)
                file.write(piece)
        if running.hexdigest() != digest.encoded:
            source.unlink(missing_ok=True)
            raise DigestMismatch(f"{source} in the cache was damaged and is removed; try again.")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock; False where the file system has none."""
    with path.open("a+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)
            locked = True
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            locked = False
        yield locked


@contextmanager
def translated(target: Path) -> Iterator[None]:
    """The system's errors while something is written, as errors of the tree."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"There is no room left for {target}; what came is kept, and the same command goes on from there.") from error
        raise StoreFailed(f"{target} cannot be written: {error.strerror}.") from error
