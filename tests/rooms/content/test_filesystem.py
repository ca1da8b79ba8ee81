from __future__ import annotations

import asyncio
import errno
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from roadstead.content import hashing
from roadstead.content.disk import boot_id
from roadstead.content.filesystem import FilesystemStore, translated
from roadstead.content.store import LocalFile, Progress, Sealed, Writer
from roadstead.errors import ContentDamaged, StorageFull, StoreFailed, Unavailable, UploadUnknown
from roadstead.oci.digest import Digest
from tests.rooms.content.faulty_disk import FaultyDisk

R = TypeVar("R")
MIB = 1 << 20
CONTENT = random.Random(7).randbytes(7 * MIB + 12345)
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
async def store(tmp_path: Path, disk: FaultyDisk) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(tmp_path, disk=disk, boot="this boot")
    await store.prepare()
    disk.calls.clear()
    yield store
    await store.close()
    assert disk.open_files == 0


@pytest.fixture
async def after_reboot(tmp_path: Path, disk: FaultyDisk) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(tmp_path, disk=disk, boot="the next boot")
    yield store
    await store.close()


async def put(store: FilesystemStore, content: bytes) -> Sealed:
    writer = await store.resume((await store.begin()).state)
    await writer.write(content)
    return await writer.seal()


async def suspended(store: FilesystemStore, content: bytes) -> Progress:
    writer = await store.resume((await store.begin()).state)
    await writer.write(content)
    return await writer.suspend()


async def listed(store: FilesystemStore) -> set[str]:
    keys = store.keys()
    return {stored.key async for stored in keys}


def file_of(store: FilesystemStore, progress: Progress) -> Path:
    return store.path(store.key(progress.state))


# A full disk


class Push:
    """An upload of CONTENT in three requests. After a fault it goes on from the last progress that could be saved."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    async def run(self, store: FilesystemStore) -> Sealed:
        while self.progress.offset < len(CONTENT):
            writer = await store.resume(self.progress.state)
            await self._saving(writer, partial(self._request, writer))
        writer = await store.resume(self.progress.state)
        return await self._saving(writer, writer.seal)

    async def _request(self, writer: Writer) -> None:
        end = min(len(CONTENT), writer.offset + len(CONTENT) // 3 + 1)
        for start in range(writer.offset, end, 700_000):
            await writer.write(CONTENT[start : min(end, start + 700_000)])
        self.progress = await writer.suspend()

    async def _saving(self, writer: Writer, act: Callable[[], Awaitable[R]]) -> R:
        try:
            return await act()
        except Unavailable:
            with suppress(Unavailable):
                self.progress = await writer.suspend()
            raise


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_at_any_step_leaves_the_store_whole(store: FilesystemStore, disk: FaultyDisk, code: int) -> None:
    witness = await put(store, b"witness")
    for step in itertools.count(1):
        push, faults = Push(await store.begin()), 0
        disk.fail(code, at=step)
        while True:
            try:
                sealed = await push.run(store)
                break
            except StorageFull:
                faults += 1
                disk.heal()
            except UploadUnknown:  # its fsync had failed, so it was given up
                push = Push(await store.begin())
        assert sealed.digests["sha256"] == DIGEST
        assert store.path(sealed.key).read_bytes() == CONTENT
        assert store.path(witness.key).read_bytes() == b"witness"
        assert await listed(store) == {witness.key, sealed.key}
        await store.delete(sealed.key)
        assert faults == int(disk.met)
        if not disk.met:
            break
    assert step > 12


@pytest.mark.parametrize("step", range(1, 7))
async def test_an_upload_that_met_a_full_disk_can_be_discarded(store: FilesystemStore, disk: FaultyDisk, step: int) -> None:
    writer = await store.resume((await store.begin()).state)
    disk.fail(errno.ENOSPC, at=step, failing=frozenset({"pwrite", "fsync", "fsync_directory"}))
    with pytest.raises(StorageFull):
        for start in range(0, len(CONTENT), 2 * MIB):
            await writer.write(CONTENT[start : start + 2 * MIB])
        await writer.seal()
    await writer.discard()
    assert await listed(store) == set()


async def test_what_fitted_on_a_full_disk_is_kept(store: FilesystemStore, disk: FaultyDisk) -> None:
    writer = await store.resume((await store.begin()).state)
    await writer.write(CONTENT[: 3 * MIB])
    disk.fail(errno.ENOSPC, at=2, failing=frozenset({"pwrite"}))
    with pytest.raises(StorageFull):
        for start in range(3 * MIB, len(CONTENT), MIB):
            await writer.write(CONTENT[start : start + MIB])
        await writer.suspend()
    progress = await writer.suspend()
    assert 3 * MIB <= progress.offset < len(CONTENT)
    assert file_of(store, progress).stat().st_size >= progress.offset


async def test_a_writer_that_failed_goes_on_failing(store: FilesystemStore, disk: FaultyDisk) -> None:
    writer = await store.resume((await store.begin()).state)
    disk.fail(errno.ENOSPC, failing=frozenset({"pwrite"}))
    with pytest.raises(StorageFull):
        for _ in range(3):
            await writer.write(CONTENT[: 2 * MIB])
    disk.heal()
    with pytest.raises(StorageFull):
        await writer.write(b"more")
    with pytest.raises(StorageFull):
        await writer.seal()
    assert (await writer.suspend()).offset == 0


async def test_a_fault_behind_the_last_write_is_raised_by_suspend_once(store: FilesystemStore, disk: FaultyDisk) -> None:
    writer = await store.resume((await store.begin()).state)
    disk.fail(errno.ENOSPC, failing=frozenset({"pwrite"}))
    await writer.write(CONTENT[: 2 * MIB])
    with pytest.raises(StorageFull):
        await writer.suspend()
    assert (await writer.suspend()).offset == 0


@pytest.mark.parametrize("verb", ["fsync", "fsync_directory"])
async def test_an_upload_whose_fsync_failed_is_given_up(store: FilesystemStore, disk: FaultyDisk, verb: str) -> None:
    progress = await suspended(store, CONTENT)
    writer = await store.resume(progress.state)
    disk.fail(errno.EIO, failing=frozenset({verb}))
    with pytest.raises(StoreFailed):
        await writer.seal()
    disk.heal()
    with pytest.raises(StoreFailed):
        await writer.suspend()
    with pytest.raises(UploadUnknown):
        await store.resume(progress.state)
    assert await listed(store) == set()


async def test_a_fault_when_the_file_is_closed_makes_the_content_be_read_again(store: FilesystemStore, disk: FaultyDisk) -> None:
    writer = await store.resume((await store.begin()).state)
    await writer.write(CONTENT)
    disk.fail(errno.EDQUOT, failing=frozenset({"close"}))
    with pytest.raises(StorageFull):
        await writer.suspend()
    disk.heal()
    progress = await writer.suspend()
    assert (await (await store.resume(progress.state)).seal()).digests["sha256"] == DIGEST
    assert disk.made("pread")


async def test_a_store_that_cannot_be_written_fails_its_check(store: FilesystemStore, disk: FaultyDisk) -> None:
    disk.fail(errno.ENOSPC, failing=frozenset({"fsync"}))
    with pytest.raises(StorageFull):
        await store.check()
    disk.fail(errno.EROFS, failing=frozenset({"open"}))
    with pytest.raises(StoreFailed):
        await store.check()
    assert await listed(store) == set()


@pytest.mark.parametrize("verb", ["make_directory", "fsync_directory"])
async def test_a_disk_full_at_the_first_start(tmp_path: Path, verb: str) -> None:
    disk = FaultyDisk()
    store = FilesystemStore(tmp_path / "new", disk=disk)
    disk.fail(errno.ENOSPC, at=3, failing=frozenset({verb}))
    with pytest.raises(StorageFull):
        await store.prepare()
    disk.heal()
    await store.prepare()
    assert (await put(store, CONTENT)).digests["sha256"] == DIGEST
    await store.close()


async def test_writes_that_take_less_than_all(store: FilesystemStore, disk: FaultyDisk) -> None:
    disk.longest_write = 99_999
    sealed = await put(store, CONTENT)
    assert store.path(sealed.key).read_bytes() == CONTENT


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_error_of_the_system_is_translated(code: int) -> None:
    def fail() -> None:
        raise OSError(code, "as told")

    with pytest.raises(StorageFull if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else StoreFailed):
        translated(fail)


# What is durable when


async def test_seal_syncs_the_file_then_its_directory_after_the_last_byte(store: FilesystemStore, disk: FaultyDisk) -> None:
    sealed = await put(store, CONTENT)
    path = store.path(sealed.key)
    calls = [call for call in disk.calls if call.path in {path, path.parent}]
    verbs = [call.verb for call in calls]
    assert set(verbs[1:-3]) == {"pwrite"}
    assert [(call.verb, call.path) for call in calls[-3:]] == [("fsync", path), ("fsync_directory", path.parent), ("close", path)]


async def test_suspend_syncs_nothing(store: FilesystemStore, disk: FaultyDisk) -> None:
    await suspended(store, CONTENT)
    assert disk.made("fsync", "fsync_directory") == []


async def test_the_directories_are_durable_before_anything_is_in_them(tmp_path: Path) -> None:
    disk, root = FaultyDisk(), tmp_path / "new"
    store = FilesystemStore(root, disk=disk)
    await store.prepare()
    made = disk.made("make_directory", "fsync_directory")
    assert [call.verb for call in made[:256]] == ["make_directory"] * 256
    assert [call.path for call in made[256:]] == [root / "content", root, tmp_path]
    assert len(list((root / "content").iterdir())) == 256
    await store.close()


# States that are not to be trusted


async def test_in_the_same_boot_nothing_is_read_again(store: FilesystemStore, disk: FaultyDisk) -> None:
    progress = await suspended(store, CONTENT)
    sealed = await (await store.resume(progress.state)).seal()
    assert sealed.digests["sha256"] == DIGEST
    assert disk.made("pread") == []


async def test_after_another_boot_the_content_is_read_again(
    store: FilesystemStore, after_reboot: FilesystemStore, disk: FaultyDisk
) -> None:
    progress = await suspended(store, CONTENT[: 5 * MIB])
    writer = await after_reboot.resume(progress.state)
    await writer.write(CONTENT[5 * MIB :])
    progress = await writer.suspend()
    assert (await (await after_reboot.resume(progress.state)).seal()).digests["sha256"] == DIGEST
    assert disk.made("pread")


async def test_bytes_that_a_power_cut_changed_get_the_digest_that_they_have(store: FilesystemStore, after_reboot: FilesystemStore) -> None:
    progress = await suspended(store, CONTENT)
    damaged = CONTENT[: 3 * MIB] + bytes(MIB) + CONTENT[4 * MIB :]
    file_of(store, progress).write_bytes(damaged)
    sealed = await (await after_reboot.resume(progress.state)).seal()
    assert sealed.digests["sha256"] == Digest.of(damaged)


async def test_bytes_that_a_power_cut_took_make_the_upload_unknown(store: FilesystemStore, after_reboot: FilesystemStore) -> None:
    progress = await suspended(store, CONTENT)
    file_of(store, progress).write_bytes(CONTENT[:-1])
    with pytest.raises(UploadUnknown):
        await after_reboot.resume(progress.state)


async def test_without_a_boot_id_no_state_is_trusted(tmp_path: Path, disk: FaultyDisk) -> None:
    store = FilesystemStore(tmp_path, disk=disk, boot="")
    await store.prepare()
    progress = await suspended(store, CONTENT)
    assert (await (await store.resume(progress.state)).seal()).digests["sha256"] == DIGEST
    assert disk.made("pread")
    await store.close()


async def test_without_exportable_hashes_the_content_is_read_again(
    store: FilesystemStore, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_libcrypto", lambda: None)
    assert (await put(store, CONTENT)).digests["sha256"] == DIGEST
    assert disk.made("pread") == []
    progress = await suspended(store, CONTENT)
    assert (await (await store.resume(progress.state)).seal()).digests["sha256"] == DIGEST
    assert disk.made("pread")


def test_this_system_has_a_boot_id() -> None:
    assert len(boot_id()) == 36


# Files that change behind the store's back


async def test_a_file_that_lost_its_name_is_not_sealed(store: FilesystemStore) -> None:
    begun = await store.resume((await store.begin()).state)
    await begun.write(CONTENT)
    writer = await store.resume((await begun.suspend()).state)  # the first bytes make the file, beside the loop; now it is there
    (key,) = await listed(store)
    await store.delete(key)
    with pytest.raises(ContentDamaged):
        await writer.seal()
    await writer.discard()


async def test_a_file_that_cannot_be_read_is_a_fault_and_not_absence(store: FilesystemStore) -> None:
    sealed = await put(store, b"abc")
    store.path(sealed.key).unlink()
    store.path(sealed.key).symlink_to(store.path(sealed.key))  # ELOOP: an error that root meets too
    with pytest.raises(StoreFailed):
        await store.open(sealed.key, 3)


async def test_what_is_no_key_is_not_listed(store: FilesystemStore, tmp_path: Path) -> None:
    (tmp_path / "content" / "ab" / "notes.txt").write_text("an administrator's")
    (tmp_path / "content" / "ab" / ("ab" + "0" * 30)).mkdir()
    assert await listed(store) == set()


async def test_a_file_is_answered_by_its_path(store: FilesystemStore, tmp_path: Path) -> None:
    sealed = await put(store, b"abc")
    assert await store.open(sealed.key, 3, elsewhere=True) == LocalFile(tmp_path / "content" / sealed.key[:2] / sealed.key, 3, None)


# Cancelled


async def test_resuming_that_is_cancelled_leaves_no_file_open(store: FilesystemStore, disk: FaultyDisk) -> None:
    writer = await store.resume((await store.begin()).state)
    await writer.write(CONTENT)
    resuming = asyncio.create_task(store.resume((await writer.suspend()).state))
    await asyncio.sleep(0)
    resuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await resuming
    await store.close()
    await asyncio.sleep(0)
    assert disk.open_files == 0


async def test_sealing_that_is_cancelled_can_be_repeated(store: FilesystemStore) -> None:
    writer = await store.resume((await store.begin()).state)
    await writer.write(CONTENT)
    sealing = asyncio.create_task(writer.seal())
    await asyncio.sleep(0)
    sealing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sealing
    progress = await writer.suspend()
    assert progress.offset == len(CONTENT)
    assert (await (await store.resume(progress.state)).seal()).digests["sha256"] == DIGEST
