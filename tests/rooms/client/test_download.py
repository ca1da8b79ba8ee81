"""What a download writes, whoever else writes there, and what it leaves where."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roadstead.client.download import PART, Cache, download
from roadstead.client.session import Session
from roadstead.errors import DigestMismatch, StoreFailed, Unavailable
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from tests.support.origin import Answered, Asked, Origin

CONTENT = random.Random(3).randbytes(2 * PART + 1000)
DIGEST = Digest.of(CONTENT)
BLOB = Descriptor("application/octet-stream", DIGEST, len(CONTENT))
TOOL = RepositoryName("lab/tool")
PARTIAL = f".big.sif.{DIGEST.encoded[:16]}.part"


def ranged(asked: Asked) -> Answered:
    first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
    return Answered(206, CONTENT[int(first) : int(last) + 1])


@contextmanager
def serving(answer: Callable[[Asked], Answered] = ranged) -> Iterator[tuple[Session, Origin]]:
    with Origin(answer) as origin, Session(origin.host, None, plain_http=True) as session:
        yield session, origin


def fetch(session: Session, target: Path, tell: Callable[[int], None] = lambda _: None, cache: Cache | None = None) -> None:
    download(session, TOOL, BLOB, target, tell, cache)


def without_locks(monkeypatch: pytest.MonkeyPatch, error: int = errno.ENOSYS) -> None:
    def lockf(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("roadstead.client.download.fcntl.lockf", lockf)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_second_range_is_asked_for_before_the_first_is_answered(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def answer(asked: Asked) -> Answered:
        if not asked.headers["range"].startswith(f"bytes={2 * PART}"):
            both.wait(30)  # None of the two goes on until the other is there.
        return ranged(asked)

    with serving(answer) as (session, _):
        fetch(session, tmp_path / "big.sif")
    assert (tmp_path / "big.sif").read_bytes() == CONTENT


def test_bytes_are_asked_for_as_they_are(tmp_path: Path) -> None:
    with serving() as (session, origin):
        fetch(session, tmp_path / "big.sif")
        assert {asked.headers["accept-encoding"] for asked in origin.asked} == {"identity"}


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO], ids=os.strerror)
def test_without_locks_a_pull_goes_on_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    without_locks(monkeypatch, error)
    with serving() as (session, _):
        fetch(session, tmp_path / "big.sif")
    assert (tmp_path / "big.sif").read_bytes() == CONTENT
    assert names(tmp_path) == {"big.sif"}


def test_without_locks_too_a_pull_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch)

    def cut(asked: Asked) -> Answered:
        return Answered(500) if asked.headers["range"].startswith(f"bytes={2 * PART}") else ranged(asked)

    with serving(cut) as (session, _), pytest.raises(Unavailable):
        fetch(session, tmp_path / "big.sif")
    assert names(tmp_path) == {PARTIAL}
    with serving() as (session, origin):
        fetch(session, tmp_path / "big.sif")
        assert [asked.headers["range"] for asked in origin.asked] == [f"bytes={2 * PART}-{len(CONTENT) - 1}"]
    assert (tmp_path / "big.sif").read_bytes() == CONTENT
    assert names(tmp_path) == {"big.sif"}


def test_without_locks_too_nothing_is_kept_of_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch)
    with serving(lambda asked: Answered(206, bytes(len(ranged(asked).body)))) as (session, _), pytest.raises(DigestMismatch):
        fetch(session, tmp_path / "big.sif")
    assert names(tmp_path) == set()


def longer(partial: Path) -> None:
    """Another has written on."""
    with partial.open("ab") as file:
        file.write(b"x")


def taken(partial: Path) -> None:
    """Another was faster."""
    partial.rename(partial.with_name("elsewhere"))


def replaced(partial: Path) -> None:
    """Another has begun anew."""
    partial.unlink()
    partial.write_bytes(b"x" * PART)


def damaged(partial: Path) -> None:
    """Another has written something else, where this one was already."""
    with partial.open("r+b") as file:
        file.write(b"damaged")
    os.utime(partial, ns=(1, 1))


@pytest.mark.parametrize("locks", [True, False], ids=["locked", "without locks"])
@pytest.mark.parametrize("change", [longer, taken, replaced, damaged])
@pytest.mark.parametrize("when", [PART, len(CONTENT)], ids=["on the way", "at the end"])
def test_what_another_does_with_the_partial_file_gets_into_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], when: int, locks: bool
) -> None:
    if not locks:
        without_locks(monkeypatch)
    changed: list[Path] = []

    def tell(done: int) -> None:
        if done == when and not changed:
            (partial,) = [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
            changed.append(partial)
            change(partial)

    with serving() as (session, _):
        if locks:
            fetch(session, tmp_path / "big.sif", tell)
        else:  # A file of one's own is nobody else's: whatever happens to it is told.
            with pytest.raises(StoreFailed):
                fetch(session, tmp_path / "big.sif", tell)
            fetch(session, tmp_path / "new.sif")
            assert not (tmp_path / "big.sif").exists()
            (tmp_path / "new.sif").rename(tmp_path / "big.sif")
    assert (tmp_path / "big.sif").read_bytes() == CONTENT


@contextmanager
def another_process_locks(path: Path) -> Iterator[Callable[[], None]]:
    """Another process holds the lock until the result is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ready, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with path.open("a+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            os.write(ready[1], b"x")
            os.read(told[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        yield lambda: (os.write(told[1], b"x"), None)[1]
    finally:
        os.write(told[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *told):
            os.close(end)


def test_who_comes_second_to_one_target_is_told(tmp_path: Path) -> None:
    with serving() as (session, _), another_process_locks(tmp_path / PARTIAL), pytest.raises(StoreFailed, match="another process"):
        fetch(session, tmp_path / "big.sif")


def test_a_wait_for_another_process_is_told_before_it(tmp_path: Path) -> None:
    lock = tmp_path / "cache" / "sha256" / f"{DIGEST.encoded}.lock"
    with serving() as (session, _), another_process_locks(lock) as let_go:
        waited = []

        def waiting() -> None:
            waited.append(True)
            let_go()

        fetch(session, tmp_path / "big.sif", cache=Cache(tmp_path / "cache", waiting))
        assert waited == [True]
    assert (tmp_path / "big.sif").read_bytes() == CONTENT


@pytest.mark.parametrize("mode", [0o2770, 0o1777, 0o755], ids=oct)
def test_what_is_made_in_a_cache_is_as_open_as_the_cache(tmp_path: Path, mode: int) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(mode)
    before = os.umask(0o077)
    try:
        with serving() as (session, _):
            fetch(session, tmp_path / "big.sif", cache=Cache(cache))
    finally:
        os.umask(before)
    made = {path.name.partition(".")[2]: stat.S_IMODE(path.stat().st_mode) for path in (cache / "sha256").iterdir()}
    assert stat.S_IMODE((cache / "sha256").stat().st_mode) == mode
    assert made == {"": mode & 0o666, "lock": mode & 0o666}


def test_what_lies_in_a_cache_is_taken_without_writing_there(tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "sha256" / DIGEST.encoded
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    with serving() as (session, origin):
        fetch(session, tmp_path / "big.sif", cache=Cache(tmp_path / "cache"))
        assert origin.asked == []
    assert (tmp_path / "big.sif").read_bytes() == CONTENT
    assert names(kept.parent) == {DIGEST.encoded}


def test_a_folder_that_cannot_be_made_is_told_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with serving() as (session, _), pytest.raises(StoreFailed, match="cache cannot be written"):
        fetch(session, tmp_path / "big.sif", cache=Cache(tmp_path / "cache"))
