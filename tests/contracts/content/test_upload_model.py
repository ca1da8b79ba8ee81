"""Uploads to a store, in any order of requests, crashes and retries, against a model that is a dictionary of bytes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from roadstead.content.filesystem import FilesystemStore
from roadstead.content.memory import MemoryContent, MemoryStore
from roadstead.content.store import ContentStore, LocalFile, Progress, Sealed, Stream
from roadstead.oci.digest import Digest

R = TypeVar("R")
PATTERN = bytes(range(251)) * 13_000
CHUNKS = st.sampled_from([0, 1, 63, 64, 65_537, 1 << 20, (2 << 20) + 1, 3 << 20])


class Saved(msgspec.Struct, frozen=True):
    """What the database would have: an upload's progress, and (for the model) the bytes that it stands for."""

    progress: Progress
    content: bytes


class UploadMachine(RuleBasedStateMachine):
    """Each rule is one request. A request that crashes has done its work, but nobody saved what it returned."""

    saved = Bundle("saved")
    finals = Bundle("finals")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.sealed: dict[str, bytes] = {}
        self.unfinished: set[str] = set()

    def make_store(self) -> ContentStore:
        raise NotImplementedError

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        self.store = self.make_store()

    @rule(target=saved, algorithms=st.sets(st.just("sha512")))
    def begin(self, algorithms: set[str]) -> Saved:
        progress = self.run(self.store.begin(algorithms))
        self.unfinished.add(self.store.key(progress.state))
        return Saved(progress, b"")

    @rule(target=saved, before=consumes(saved), chunks=st.lists(CHUNKS, max_size=4))
    def append(self, before: Saved, chunks: list[int]) -> Saved:
        content = before.content + b"".join(PATTERN[:size] for size in chunks)
        after = self.run(self._append(before, chunks))
        assert after.offset == len(content)
        return Saved(after, content)

    @rule(before=saved, chunks=st.lists(CHUNKS, min_size=1, max_size=4))
    def append_and_crash(self, before: Saved, chunks: list[int]) -> None:
        self.run(self._append(before, chunks))

    @rule(target=finals, before=consumes(saved))
    def seal(self, before: Saved) -> Saved:
        sealed = self.run(self._seal(before))
        self.unfinished.discard(sealed.key)
        self.sealed[sealed.key] = before.content
        return before

    @rule(final=finals)
    def seal_again(self, final: Saved) -> None:
        if self.store.key(final.progress.state) in self.sealed:
            self.run(self._seal(final))

    @rule(before=consumes(saved))
    def discard(self, before: Saved) -> None:
        self.run(self._discard(before))
        self.unfinished.discard(self.store.key(before.progress.state))

    @rule(final=consumes(finals))
    def delete(self, final: Saved) -> None:
        key = self.store.key(final.progress.state)
        self.run(self.store.delete(key))
        self.sealed.pop(key, None)

    @rule(target=saved)
    def restart(self) -> Any:
        """Another process takes over: same medium, nothing in memory."""
        self.run(self.store.close())
        self.store = self.make_store()
        return multiple()

    @invariant()
    def what_is_sealed_is_there_and_nothing_unknown_is(self) -> None:
        listed = self.run(self._listed())
        assert self.sealed.keys() <= listed <= self.sealed.keys() | self.unfinished
        for key, content in self.sealed.items():
            assert self.run(self._read(key, len(content))) == content

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()

    async def _append(self, before: Saved, chunks: list[int]) -> Progress:
        writer = await self.store.resume(before.progress.state)
        assert writer.offset == len(before.content)
        for size in chunks:
            await writer.write(PATTERN[:size])
        return await writer.suspend()

    async def _seal(self, before: Saved) -> Sealed:
        sealed = await (await self.store.resume(before.progress.state)).seal()
        assert sealed.size == len(before.content)
        assert sealed.digests == {algorithm: Digest.of(before.content, algorithm) for algorithm in sealed.digests}
        return sealed

    async def _discard(self, before: Saved) -> None:
        await (await self.store.resume(before.progress.state)).discard()

    async def _listed(self) -> set[str]:
        keys = self.store.keys()
        return {stored.key async for stored in keys}

    async def _read(self, key: str, size: int) -> bytes:
        opened = await self.store.open(key, size)
        if isinstance(opened, LocalFile):
            return opened.path.read_bytes()
        assert isinstance(opened, Stream)
        return b"".join([chunk async for chunk in opened.chunks])


class MemoryMachine(UploadMachine):
    def __init__(self) -> None:
        super().__init__()
        self.medium: dict[str, MemoryContent] = {}

    def make_store(self) -> ContentStore:
        return MemoryStore(self.medium)


class FilesystemMachine(UploadMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="roadstead-model-"))

    def make_store(self) -> ContentStore:
        store = FilesystemStore(self.root)
        self.run(store.prepare())
        return store

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.root)


MemoryMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
FilesystemMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=25)
TestMemory = MemoryMachine.TestCase
TestFilesystem = FilesystemMachine.TestCase
