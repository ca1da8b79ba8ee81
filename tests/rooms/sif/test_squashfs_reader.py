"""The squashfs that is read: what every writer made of a tree is seen as it was put in, and a hostile file is refused."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from deflate import zlib_compress, zlib_decompress
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadstead.errors import ImageTooLarge, InvalidSif, NotConvertible, RoadsteadError
from roadstead.sif.compression import Compression
from roadstead.sif.limits import Limits
from roadstead.sif.squashfs import Settings
from roadstead.sif.squashfs_reader import Node, Squashfs
from roadstead.sif.tar import Kind
from tests.rooms.sif.archives import archive, entry, folder, layer, merged
from tests.rooms.sif.test_squashfs import FORMATS, NASTY, expected, trees, written
from tests.support.squashfs import Snapshot, by_kernel, require_squashfs_readers, tar2sqfs

COMPRESSORS = ("gzip", "lzo", "xz", "lz4", "zstd")
LIMITS = Limits()


def opened(data: bytes, limits: Limits = LIMITS) -> Squashfs:
    def read_at(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(data)
        return data[offset : offset + length]

    return Squashfs(read_at, len(data), limits)


def shown(data: bytes, limits: Limits = LIMITS) -> Snapshot:
    """Everything that is read in a file system, told as `tests.support.snapshot` tells it."""
    found = opened(data, limits)
    result: Snapshot = {}
    links: dict[int, list[str]] = {}

    def tell(path: bytes, node: Node) -> None:
        name = path.decode("latin-1")
        assert node.kind is not None
        result[name] = {
            "mode": oct(FORMATS[node.kind] | node.mode),
            "owner": [node.user, node.group],
            "time": node.time,
            "xattrs": {key.decode(): value.decode("latin-1") for key, value in found.attributes(node)},
        }
        if node.kind is Kind.FILE:
            content = b"".join(found.content(node))
            result[name] |= {"size": len(content), "content": hashlib.sha256(content).hexdigest()}
        elif node.kind is Kind.SYMLINK:
            result[name]["target"] = node.target.decode("latin-1")
        elif node.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE):
            result[name]["device"] = [os.major(node.device), os.minor(node.device)]
        if node.kind is not Kind.DIRECTORY:
            links.setdefault(node.number, []).append(name)

    def go(path: bytes, node: Node) -> None:
        tell(path, node)
        if node.kind is Kind.DIRECTORY:
            for name, kind, reference in found.listing(node):
                child = found.node(reference)
                assert child.kind is kind
                go(path + b"/" * bool(path) + name, child)

    go(b"", found.node(found.root))
    for names in links.values():
        for name in names:
            if len(names) > 1:
                result[name]["same"] = names[0]
            if "size" in result[name]:
                result[name]["links"] = len(names)
    return result


def assert_same(found: Snapshot, wanted: Snapshot) -> None:
    assert found.keys() == wanted.keys()
    for path, record in wanted.items():
        assert found[path] == record, path


@pytest.mark.parametrize("compression", [Compression(), Compression("zstd", 3)], ids=lambda found: found.name)
@pytest.mark.parametrize("block_size", [4096, 131072, 1 << 20])
def test_what_is_written_here_is_read_as_the_layers_tell_it(compression: Compression, block_size: int) -> None:
    found = merged(layer(*NASTY))
    assert_same(shown(written(found, Settings(1, compression, block_size, threads=2))), expected(found))


@settings(max_examples=60, deadline=None)
@given(trees(), st.sampled_from([4096, 16384]), st.sampled_from([Compression(), Compression("zstd", 3)]))
def test_any_tree_is_read_as_the_layer_tells_it(
    members: list[tuple[tarfile.TarInfo, bytes]], block_size: int, compression: Compression
) -> None:
    found = merged(layer(*members))
    assert_same(shown(written(found, Settings(1, compression, block_size))), expected(found))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nasty tree on disk, for programs that begin with one."""
    require_squashfs_readers()
    place = tmp_path_factory.mktemp("nasty")
    (place / "it.sqfs").write_bytes(written(merged(layer(*NASTY)), Settings(1, threads=2)))
    subprocess.run(["unsquashfs", "-q", "-n", "-d", place / "it", place / "it.sqfs"], check=True, capture_output=True)
    return place / "it"


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("more", [(), ("-b", "4096", "-always-use-fragments"), ("-b", "1M", "-noI", "-noF", "-noX", "-noId")])
def test_what_mksquashfs_writes_is_read_as_the_kernel_reads_it(
    tmp_path: Path, unpacked: Path, compressor: str, more: tuple[str, ...]
) -> None:
    image = tmp_path / "it.sqfs"
    command = ["mksquashfs", str(unpacked), str(image), "-quiet", "-no-progress", "-comp", compressor, *more]
    subprocess.run(command, check=True, capture_output=True)
    assert_same(shown(image.read_bytes()), by_kernel(image))


@pytest.mark.parametrize(
    "more", [("-no-fragments",), ("-noD",), ("-no-exports", "-no-xattrs"), ("-Xbcj", "x86", "-comp", "xz"), ("-comp", "lz4", "-Xhc")]
)
def test_each_choice_of_mksquashfs_is_read(tmp_path: Path, unpacked: Path, more: tuple[str, ...]) -> None:
    image = tmp_path / "it.sqfs"
    command = ["mksquashfs", str(unpacked), str(image), "-quiet", "-no-progress", "-b", "64K", *more]
    subprocess.run(command, check=True, capture_output=True)
    assert_same(shown(image.read_bytes()), by_kernel(image))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees())
def test_what_tar2sqfs_writes_is_read_as_the_kernel_reads_it(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    require_squashfs_readers()
    image = tar2sqfs(archive(members), tmp_path / "it.sqfs")
    assert_same(shown(image.read_bytes()), by_kernel(image))


def test_sockets_and_long_attributes_are_read(tmp_path: Path) -> None:
    """mksquashfs stores the same long value once and tells elsewhere where it is."""
    require_squashfs_readers()
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"x")
    (root / "other").write_bytes(b"y")
    for name in ("file", "other"):
        os.setxattr(root / name, "user.long", b"v" * 3000)
        os.setxattr(root / name, "user.short", name.encode())
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    image = tmp_path / "it.sqfs"
    subprocess.run(["mksquashfs", root, image, "-quiet", "-no-progress"], check=True, capture_output=True)
    found = opened(image.read_bytes())
    listed = {name: found.node(reference) for name, _, reference in found.listing(found.node(found.root))}
    assert listed[b"socket"].kind is None
    assert found.attributes(listed[b"other"]) == ((b"user.long", b"v" * 3000), (b"user.short", b"other"))
    assert found.attributes(listed[b"file"]) == ((b"user.long", b"v" * 3000), (b"user.short", b"file"))


def test_a_hole_is_not_held_in_memory() -> None:
    hole = entry("hole", pax={"GNU.sparse.map": f"{300 << 20},0", "GNU.sparse.size": str(300 << 20)})
    found = opened(written(merged(layer(hole)), Settings(1)))
    node = next(found.node(reference) for _, _, reference in found.listing(found.node(found.root)))
    pieces = [len(piece) for piece in found.content(node)]
    assert (sum(pieces), max(pieces)) == (300 << 20, 128 << 10)


# Bad input.

SMALL = written(
    merged(layer(folder("d", xattrs={"user.a": b"b"}), entry("d/f", b"content" * 2000), entry("d/g", b"small"), entry("h", b"x" * 9000))),
    Settings(1, block_size=4096),
)


def patched(at: int, form: str, *values: int) -> bytes:
    data = bytearray(SMALL)
    struct.pack_into(form, data, at, *values)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (b"", InvalidSif, "it has 0 bytes"),
        (SMALL[:95], InvalidSif, "it has 95 bytes"),
        (patched(0, "<I", 1), InvalidSif, "magic number"),
        (patched(28, "<H", 3), InvalidSif, "its version is 3.0"),
        (patched(12, "<I", 4097), InvalidSif, "its blocks have 4097 bytes"),
        (patched(22, "<H", 63), InvalidSif, "2 to the power of 63"),
        (SMALL[:400], InvalidSif, "where there are 400"),
        (patched(20, "<H", 2), NotConvertible, "compressed with lzma"),
        (patched(20, "<H", 9), InvalidSif, "names compressor 9"),
        (patched(20, "<H", 4), InvalidSif, "xz blocks cannot be unpacked"),
        (patched(20, "<H", 3), InvalidSif, "lzo blocks cannot be unpacked"),
        (patched(20, "<H", 5), InvalidSif, "lz4 blocks cannot be unpacked"),
        (patched(20, "<H", 6), InvalidSif, "zstd blocks cannot be unpacked"),
        (patched(4, "<I", 2**32 - 1), ImageTooLarge, "more than 4000000 entries"),
        (patched(16, "<I", 2**32 - 1), InvalidSif, "it counts 4294967295 fragments"),
        (patched(26, "<H", 65535), InvalidSif, "would lie at|ends before number"),
        (patched(32, "<Q", 2**63), InvalidSif, "behind the table of inodes"),
        (patched(64, "<Q", 2**64 - 2), InvalidSif, "its tables would lie"),
        (patched(48, "<Q", 2**63), InvalidSif, "would lie at 9223372036854775808"),
        (patched(56, "<Q", 2**63), InvalidSif, "would lie at 9223372036854775808"),
        (patched(80, "<Q", 2**63), InvalidSif, "would lie at 9223372036854775808"),
    ],
)
def test_a_damaged_superblock_is_refused(data: bytes, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        shown(data)


def test_a_file_system_with_too_many_inodes_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="more than 3 entries"):
        shown(SMALL, Limits(entries=3))


RAW = written(merged(layer(entry("a", b"one" * 3000), entry("b", b"two"), folder("c"), entry("c/d", b"x"))), Settings(1, block_size=4096))


def rewritten(change: Callable[[bytearray], None], table: int) -> bytes:
    """The file system with its inode (64) or directory (72) table changed, which is stored uncompressed again."""
    data = bytearray(RAW)
    (start,) = struct.unpack_from("<Q", data, table)
    (told,) = struct.unpack_from("<H", data, start)
    content = bytearray(zlib_decompress(bytes(data[start + 2 : start + 2 + told]), 8192))
    change(content)
    packed = zlib_compress(bytes(content), 12)
    moved = 2 + len(packed) - (2 + told)
    data[start : start + 2 + told] = struct.pack("<H", len(packed)) + packed
    for at in (40, *range(48, 96, 8)):
        (value,) = struct.unpack_from("<Q", data, at)
        if value != 2**64 - 1 and (value > start or at == 40):
            struct.pack_into("<Q", data, at, value + moved)
    for at in (80, 88, 48):  # Each of these has one position, of one block of metadata.
        (where,) = struct.unpack_from("<Q", data, at)
        if where != 2**64 - 1:
            (value,) = struct.unpack_from("<Q", data, where)
            struct.pack_into("<Q", data, where, value + moved)
    return bytes(data)


def test_a_changed_copy_is_read_as_long_as_nothing_is_changed() -> None:
    assert shown(rewritten(lambda content: None, 64)) == shown(rewritten(lambda content: None, 72)) == shown(RAW)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([64, 72]), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_change_of_the_tables_is_read_or_refused(table: int, changes: list[tuple[int, int]]) -> None:
    def change(content: bytearray) -> None:
        for at, value in changes:
            content[at % len(content)] = value

    limits = Limits(entries=10_000)
    try:
        _read_all(rewritten(change, table), limits)
    except RoadsteadError as refused:
        assert isinstance(refused, InvalidSif | ImageTooLarge | NotConvertible)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, len(SMALL)))
def test_any_damage_is_read_or_refused(changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(SMALL)
    for at, value in changes:
        data[at] = value
    for whole in (bytes(data), bytes(data[:length])):
        try:
            _read_all(whole, Limits(entries=10_000))
        except RoadsteadError as refused:
            assert isinstance(refused, InvalidSif | ImageTooLarge | NotConvertible)


def _read_all(data: bytes, limits: Limits) -> None:
    """Read what a reader reads that keeps no account of where it was: two levels, and a bounded part of each file."""
    found = opened(data, limits)
    for _, _, reference in found.listing(found.node(found.root)):
        node = found.node(reference)
        found.attributes(node)
        if node.kind is Kind.DIRECTORY:
            for _, _, inner in found.listing(node):
                found.node(inner)
        elif node.kind is Kind.FILE:
            for _, piece in zip(range(100), found.content(node), strict=False):
                assert len(piece) <= found.block_size
