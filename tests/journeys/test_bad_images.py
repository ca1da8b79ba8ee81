"""Images that are wrong on purpose, converted as jobs do it: refused with the reason, and nothing is left of the attempt."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from isal import igzip

from roadstead.content.filesystem import FilesystemStore
from roadstead.errors import ContentDamaged, DigestMismatch, ImageTooLarge, InvalidLayer, InvalidManifest, RoadsteadError
from roadstead.oci.digest import Digest
from roadstead.sif.convert import Conversion
from roadstead.sif.inputs import Input, stored_input
from roadstead.sif.limits import Limits
from roadstead.sif.orders import Means, SifMade, ToSif
from roadstead.sif.process import run
from tests.rooms.sif.archives import archive, entry, folder, hard_link, symlink
from tests.rooms.sif.test_process import children

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MEANS = Means(seconds=120, memory=512 << 20, output=64 << 20)
GOOD = archive([folder("etc"), entry("etc/motd", b"hello"), symlink("link", "etc/motd")])


class Shop:
    """A store with layers in it, and conversions of them."""

    def __init__(self, store: FilesystemStore, root: Path) -> None:
        self.store = store
        self._root = root

    async def put(self, layer: bytes) -> Input:
        writer = await self.store.resume((await self.store.begin()).state)
        await writer.write(layer)
        sealed = await writer.seal()
        return stored_input(self.store, sealed.key, sealed.size)

    async def convert(self, configuration: bytes, layers: list[bytes], limits: Limits) -> SifMade:
        inputs = [await self.put(layer) for layer in layers]
        async with self.store.scratch() as output:
            return await run(ToSif(Digest.of(b""), configuration, Conversion(limits=limits)), inputs, output, MEANS)

    async def made_of(self, layer: bytes) -> bytes:
        """The SIF of an image of this layer."""
        async with self.store.scratch() as output:
            await run(ToSif(Digest.of(b""), configuration(layer)), [await self.put(igzip.compress(layer))], output, MEANS)
            output.seek(0)
            return output.read()

    def traces(self) -> tuple[set[int], set[str], int]:
        """What an attempt could leave: processes, files in the store and beside, open descriptors."""
        files = {str(path) for path in self._root.rglob("*") if path.is_file()}
        return children(), files, len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    store = FilesystemStore(tmp_path / "store")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    await store.prepare()
    yield Shop(store, tmp_path)
    await store.close()


def configuration(*layers: bytes, **more: object) -> bytes:
    """A configuration that names these uncompressed layers."""
    rootfs = {"diff_ids": [str(Digest.of(layer)) for layer in layers]}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, **more}).encode()


def declared(size: int, content: bytes) -> bytes:
    """An archive whose only file says that it has so many bytes, and which ends after the content."""
    info = tarfile.TarInfo("file")
    info.size = size
    return info.tobuf() + content


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


GZIPPED = igzip.compress(GOOD)
ZSTD = zstd.compress(GOOD, options={zstd.CompressionParameter.checksum_flag: 1})
SMALL = Limits(entries=1000, unpacked=1 << 20, layers=3)

Bad = tuple[bytes, list[bytes], type[RoadsteadError], str]
BAD: dict[str, Callable[[], Bad]] = {
    "neither gzip nor zstd nor tar": lambda: (configuration(b"noise" * 999), [b"noise" * 999], InvalidLayer, "not a sound tar archive"),
    "half of a gzip file": lambda: (configuration(GOOD), [GZIPPED[: len(GZIPPED) // 2]], InvalidLayer, "ends too early"),
    "a bit of a gzip file": lambda: (configuration(GOOD), [damaged(GZIPPED, len(GZIPPED) - 6)], InvalidLayer, "damaged"),
    "half of a zstd file": lambda: (configuration(GOOD), [ZSTD[:-9]], InvalidLayer, "ends too early"),
    "a bit of a zstd file": lambda: (configuration(GOOD), [damaged(ZSTD, len(ZSTD) - 2)], InvalidLayer, "damaged"),
    "nothing where a layer should be": lambda: (configuration(GOOD), [b""], DigestMismatch, "which the image's configuration states"),
    "a layer of another image": lambda: (configuration(b"other"), [GZIPPED], DigestMismatch, "which the image's configuration states"),
    "a layer that the configuration does not know": lambda: (configuration(GOOD), [GZIPPED] * 2, InvalidManifest, "has 2 layers"),
    "a configuration that is none": lambda: (b"[]", [], InvalidManifest, "cannot be read"),
    "a configuration of another world": lambda: (configuration(architecture="z80"), [], InvalidManifest, "'z80'"),
    "a hard link out of the root": lambda: with_layer([hard_link("shadow", "../../../../etc/shadow")], "which is not there"),
    "a symbolic link in a circle": lambda: with_layer([symlink("a", "b"), symlink("b", "a"), entry("a/x")], "in a circle"),
    "a whiteout of the root": lambda: with_layer([entry(".wh..")], "names nothing that can be hidden"),
    "a file that is shorter than it says": lambda: refused(declared(4096, b"short"), "ends too early"),
    "a file that says it is enormous": lambda: refused(declared(1 << 60, b""), "a member has"),
}


def with_layer(members: list[tuple[tarfile.TarInfo, bytes]], reason: str) -> Bad:
    return refused(archive(members), reason)


def refused(layer: bytes, reason: str) -> Bad:
    return configuration(layer), [igzip.compress(layer)], InvalidLayer, reason


@pytest.mark.parametrize("what", BAD)
async def test_it_is_refused_with_the_reason_and_leaves_nothing(shop: Shop, what: str) -> None:
    text, layers, error, reason = BAD[what]()
    await shop.convert(configuration(GOOD), [GZIPPED], Limits())  # What is opened once and kept is there now.
    kept = [await shop.put(layer) for layer in layers]
    before = shop.traces()
    async with shop.store.scratch() as output:
        with pytest.raises(error, match=reason):
            await run(ToSif(Digest.of(b""), text), kept, output, MEANS)
    assert shop.traces() == before
    assert (await shop.convert(configuration(GOOD), [GZIPPED], Limits())).architecture == "amd64"


@pytest.mark.parametrize(
    ("layer", "limits", "reason"),
    [
        (lambda: archive([entry("zeros", bytes(200 << 20))]), Limits(), "more than 200 times its size"),
        (lambda: archive([entry("noise", os.urandom(2 << 20))]), SMALL, "unpacks to more than 1048576 bytes"),
        (lambda: archive([entry(f"{number}") for number in range(1001)]), SMALL, "more than 1000 entries"),
        (lambda: archive([entry("noise", os.urandom(70 << 20))]), Limits(), "more than the 67108864 bytes that it may have"),
    ],
    ids=["bomb", "unpacked", "entries", "result"],
)
async def test_what_is_too_large_is_refused_with_the_limit(shop: Shop, layer: Callable[[], bytes], limits: Limits, reason: str) -> None:
    content = layer()
    stored = igzip.compress(content)
    with pytest.raises(ImageTooLarge, match=reason):
        await shop.convert(configuration(content), [stored], limits)
    assert children() == set()


async def test_paths_that_lead_outside_stay_inside(shop: Shop) -> None:
    """As with the tool that Apptainer unpacks by, such names mean a place below the image's own root."""
    layer = archive([entry("../../escaped", b"x"), entry("/absolute", b"x"), symlink("out", "../../.."), entry("out/through", b"x")])
    inside = archive([entry("escaped", b"x"), entry("absolute", b"x"), symlink("out", "../../.."), entry("through", b"x")])
    assert await shop.made_of(layer) == await shop.made_of(inside)


async def test_two_entries_of_one_name_are_one(shop: Shop) -> None:
    twice, once = archive([entry("a", b"first"), entry("a", b"second")]), archive([entry("a", b"second")])
    assert await shop.made_of(twice) == await shop.made_of(once)


async def test_a_layer_that_is_lost_is_damage_on_this_side(shop: Shop) -> None:
    lost = await shop.put(GZIPPED)
    keys = shop.store.keys()
    for key in [stored.key async for stored in keys]:
        await shop.store.delete(key)
    async with shop.store.scratch() as output:
        with pytest.raises(ContentDamaged):
            await run(ToSif(Digest.of(b""), configuration(GOOD)), [lost], output, MEANS)
    assert children() == set()
