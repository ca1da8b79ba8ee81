"""The squashfs that is written, as other programs read it: all of them must see the same, and what the layers said."""

from __future__ import annotations

import hashlib
import io
import random
import stat
import tarfile
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from roadstead.errors import ImageTooLarge
from roadstead.sif.compression import Compression
from roadstead.sif.layers import Layer, Merged
from roadstead.sif.squashfs import Settings, Writer
from roadstead.sif.tar import Kind
from tests.rooms.sif.archives import MADE, archive, contents, entry, folder, hard_link, layer, merged, paths, stored, symlink
from tests.support.squashfs import READERS, Snapshot, by_kernel, require_squashfs_readers, statistics, tar2sqfs

GZIP = Compression("gzip", 6)
ZSTD = Compression("zstd", 3)
NOISE = random.Random(4).randbytes(3 << 20)
FORMATS = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}


def written(found: Merged, how: Settings) -> bytes:
    """The file system as bytes. It stands behind other bytes, as in a SIF."""
    output = io.BytesIO(b"front" * 10)
    output.seek(50)
    with Writer(output, found.tree, found.links, found.original, how) as writer:
        for inode, pieces in found.contents():
            writer.add(inode, pieces)
        size = writer.finish()
    assert output.tell() == 50 + size
    assert size % 4096 == 0
    return output.getvalue()[50:]


def image(found: Merged, folder: Path, how: Settings | None = None) -> Path:
    path = folder / "it.sqfs"
    path.write_bytes(written(found, how or Settings(MADE, threads=2)))
    return path


def expected(found: Merged) -> Snapshot:
    """What the merged layers say, told as `tests.support.snapshot` tells it."""
    tree, read = found.tree, contents(found)
    first: dict[int, str] = {}
    result: Snapshot = {}
    for path, inode in sorted(
        {"": tree.inode[0], **paths(found)}.items(), key=lambda item: item[0].encode("utf-8", "surrogateescape").split(b"/")
    ):
        kind, number = Kind(tree.kind[inode]), tree.attributes[inode]
        name = path.encode("utf-8", "surrogateescape").decode("latin-1")
        result[name] = {
            "mode": oct(FORMATS[kind] | tree.mode[inode]),
            "owner": [tree.user[inode], tree.group[inode]],
            "time": tree.time[inode],
            "xattrs": {
                key.decode(): value.decode("latin-1") for key, value in (tree.attribute_sets[number] if number != 0xFFFFFFFF else ())
            },
        }
        if kind is Kind.FILE:
            content = read[path]
            result[name] |= {"size": len(content), "links": found.links[inode], "content": hashlib.sha256(content).hexdigest()}
        elif kind is Kind.SYMLINK:
            result[name]["target"] = tree.target(inode).decode("latin-1")
        elif kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE):
            number = tree.detail[inode]
            result[name]["device"] = [(number >> 8) & 0xFFF, (number & 0xFF) | (number >> 12) & 0xFFF00]
        if kind is not Kind.DIRECTORY and found.links[inode] > 1:
            result[name]["same"] = first.setdefault(inode, name)
    return result


def comparable(shown: Snapshot, reader: str) -> Snapshot:
    """Without what this reader tells differently of every image: squashfuse gives each name an inode of its own, and takes one namespace
    of attributes for the other."""
    if reader != "squashfuse":
        return shown
    swapped = {"trusted": "security", "security": "trusted"}
    result = {}
    for path, record in shown.items():
        result[path] = {key: value for key, value in record.items() if key != "same"}
        parts = [(name.partition("."), value) for name, value in cast(dict[str, str], record["xattrs"]).items()]
        result[path]["xattrs"] = {f"{swapped.get(space, space)}.{name}": value for (space, _, name), value in parts}
    return result


def assert_all_read(found: Merged, path: Path, *, without: frozenset[str] = frozenset()) -> None:
    """Every reader sees what the layers said, nothing more and nothing else."""
    wanted = expected(found)
    nameless = {path: {key: value for key, value in record.items() if key != "same"} for path, record in wanted.items()}
    for name, reader in READERS.items():
        if name not in without:
            assert comparable(reader(path), name) == (wanted if name != "squashfuse" else nameless), name


NASTY = [
    folder("./", 0o751, owner=(1, 2)),
    folder("etc", 0o2775, owner=(3_000_000, 42)),
    entry("etc/secret", b"secret", mode=0),
    entry("etc/setuid", b"x" * 5000, mode=0o6755, xattrs={"security.capability": b"\x01\0\0\2\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0"}),
    entry("etc/empty", time=0),
    entry("etc/tomorrow", b"t", time=4_000_000_000),
    entry("etc/before", b"b", time=-5),
    folder("tmp", 0o1777),
    entry("dev/null", kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
    entry("dev/disk", kind=tarfile.BLKTYPE, mode=0o660, owner=(0, 6), device=(259, 70000)),
    entry("dev/hidden", kind=tarfile.CHRTYPE, mode=0, device=(0, 0)),
    entry("run/pipe", kind=tarfile.FIFOTYPE, mode=0o600),
    hard_link("run/same-pipe", "run/pipe"),
    symlink("link", "etc/secret", owner=(7, 8), time=5),
    symlink("dangling", "../" * 100 + "nowhere"),
    symlink("long", "l" * 4095),
    hard_link("same-link", "link"),
    entry("bin/a", b"linked" * 20000, owner=(9, 9), xattrs={"user.note": "grüß".encode(), "user.other": b"o" * 300}),
    hard_link("bin/b", "bin/a"),
    hard_link("z", "bin/a"),
    entry("bin/small", b"s"),
    hard_link("bin/small2", "bin/small"),
    entry(b"name/\xff\xfe\n\t ", b"bytes"),
    entry("name/" + "n" * 255, b"long"),
    entry("/".join(["d" * 250] * 8) + "/deep", b"deep"),
    entry("data/noise", NOISE),
    entry("data/noise-again", NOISE),
    entry("data/zeros", bytes(400_000)),
    entry("data/mostly-zeros", bytes(300_000) + b"end"),
    entry("data/then-zeros", NOISE[:200_000] + bytes(200_000)),
    entry("data/exactly", b"e" * 131072),
    entry("data/one-less", b"e" * 131071),
    entry("data/one-more", b"e" * 131073),
    folder("shared", xattrs={"user.note": b"dir", "trusted.x": b"y"}),
    *[entry(f"many/{n:05}-{'m' * (n % 50)}", b"%d" % (n % 700)) for n in range(3000)],
]


@pytest.mark.parametrize("compression", [GZIP, ZSTD], ids=lambda found: found.name)
@pytest.mark.parametrize("block_size", [4096, 131072, 1 << 20])
def test_every_reader_sees_a_nasty_image_as_the_layers_tell_it(tmp_path: Path, compression: Compression, block_size: int) -> None:
    require_squashfs_readers()
    found = merged(layer(*NASTY), layer(entry("bin/.wh.a"), entry("etc/.wh.empty"), entry("etc/after", b"after")))
    path = image(found, tmp_path, Settings(MADE, compression, block_size, threads=2))
    assert_all_read(found, path)


def test_a_directory_of_many_names_is_searched_by_its_index(tmp_path: Path) -> None:
    """The kernel looks names up by the index of a long directory, while it lists one without."""
    require_squashfs_readers()
    found = merged(layer(*[entry(f"d/{hashlib.sha256(b'%d' % n).hexdigest()}", b"%d" % n) for n in range(6_000)]))
    assert_all_read(found, image(found, tmp_path), without=frozenset({"unsquashfs"}))


def test_inodes_that_are_far_apart_are_told(tmp_path: Path) -> None:
    """A listing tells numbers by a difference of 16 bits; hard links make larger ones."""
    require_squashfs_readers()
    names = [f"a/{n}" for n in range(33_000)]
    found = merged(layer(*[symlink(name, "x") for name in names], *[hard_link(f"b/{n}", names[(n * 7919) % 33_000]) for n in range(300)]))
    assert_all_read(found, image(found, tmp_path), without=frozenset({"unsquashfs", "squashfuse"}))


def test_an_image_without_anything_is_an_empty_root(tmp_path: Path) -> None:
    require_squashfs_readers()
    found = merged()
    path = image(found, tmp_path)
    assert_all_read(found, path)
    assert "Number of inodes 1" in statistics(path)


# Mounting takes too long to look for the smallest example that fails.
READING = settings(phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
component = st.binary(min_size=1, max_size=6).filter(
    lambda name: name not in (b".", b"..") and not set(name) & {0, 47} and not name.startswith(b".wh.")
)
names = st.lists(st.sampled_from([b"a", b"b", b"c", b"\xe9"]) | component, min_size=1, max_size=4).map(b"/".join)
xattrs = st.dictionaries(st.sampled_from(["user.a", "user.b", "security.x", "trusted.y"]), st.binary(min_size=1, max_size=9), max_size=3)
bodies = st.binary(max_size=50) | st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=3), st.integers(0, 9000))
owners = st.tuples(st.integers(0, 2**32 - 2), st.sampled_from([0, 5, 1000]))
modes = st.integers(0, 0o7777)
times = st.integers(0, 2**32 - 1)
plain_members = st.one_of(
    st.builds(entry, names, bodies, mode=modes, owner=owners, time=times, xattrs=xattrs),
    st.builds(folder, names, mode=modes, owner=owners, time=times, xattrs=xattrs),
    st.builds(lambda name, target, owner: symlink(name, target, owner=owner), names, component, owners),
    st.builds(
        lambda name, device: entry(name, kind=tarfile.CHRTYPE, device=device),
        names,
        st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1)),
    ),
)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Members of which each is there at the end: every name once, nothing below anything but directories, hard links to files."""
    members = draw(st.lists(plain_members, max_size=12))
    kept: dict[bytes, tuple[tarfile.TarInfo, bytes]] = {}
    for info, body in members:
        path = info.name.encode("utf-8", "surrogateescape")
        above = [path[:at] for at in range(len(path)) if path[at : at + 1] == b"/"]
        if (
            path not in kept
            and not any(up in kept and not kept[up][0].isdir() for up in above)
            and not any(other.startswith(path + b"/") for other in kept)
        ):
            kept[path] = (info, body)
    files = [path for path, (info, _) in kept.items() if info.isfile()]
    names = st.integers(0, 99).map(lambda number: b"link%d" % number).filter(lambda name: name not in kept)
    links = draw(st.lists(st.tuples(names, st.sampled_from(files)), max_size=3, unique_by=lambda link: link[0])) if files else []
    return [*kept.values(), *[hard_link(name, target) for name, target in links]]


@settings(READING, max_examples=20)
@given(trees(), st.sampled_from([4096, 16384]), st.sampled_from([GZIP, ZSTD]))
def test_every_reader_sees_any_tree_as_the_layer_tells_it(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], block_size: int, compression: Compression
) -> None:
    require_squashfs_readers()
    found = merged(layer(*members))
    assert_all_read(found, image(found, tmp_path, Settings(MADE, compression, block_size)))


@settings(READING, max_examples=10)
@given(trees())
def test_tar2sqfs_makes_the_same_of_one_layer(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    require_squashfs_readers()
    archived = archive(members)
    ours = by_kernel(image(merged(stored(archived)), tmp_path))
    theirs = by_kernel(tar2sqfs(archived, tmp_path / "theirs.sqfs"))
    for path in ours:
        # What no member describes is each tool's own: times and modes of directories that are implied.
        if path.encode("latin-1") not in {info.name.encode("utf-8", "surrogateescape") for info, _ in members}:
            ours[path], theirs[path] = {}, {}
    assert ours == theirs


@given(trees(), st.sampled_from([GZIP, ZSTD]), st.integers(2, 5))
@settings(max_examples=20)
def test_the_number_of_threads_changes_no_byte(
    members: list[tuple[tarfile.TarInfo, bytes]], compression: Compression, threads: int
) -> None:
    found = merged(layer(*members))
    assert written(found, Settings(MADE, compression, 4096, threads)) == written(found, Settings(MADE, compression, 4096, 1))


def test_chunks_and_compression_of_the_layer_change_no_byte() -> None:
    archived = archive(NASTY)
    import gzip

    chosen = [stored(archived, 777), stored(archived, 1 << 20), stored(gzip.compress(archived, 1), 50_000), Layer(lambda: [archived])]
    assert len({written(merged(one), Settings(MADE, threads=2)) for one in chosen}) == 1


# A change here changes every image that was ever converted: the converter's version has to change with it.
GOLDEN = {
    (GZIP, 131072, "deflate 0.9.0"): "95621490fc12de8c1b966d7294ad6c4a17ebf4f173e2e7f959f291c027f9e5bd",
    (GZIP, 1 << 20, "deflate 0.9.0"): "4b05c25697564dc0106945c8c84c307ee3ecd7be6e1b97c3fcb78eff0f5bf003",
    (ZSTD, 131072, "zstd 1.5.7"): "e6f39bfd2494283b4997a0b35c2cbfc72f952e2a6dd86fe03ea08188f68e84d3",
}


@pytest.mark.parametrize(("compression", "block_size", "library"), GOLDEN)
def test_the_bytes_are_those_of_yesterday(compression: Compression, block_size: int, library: str) -> None:
    assert compression.library == library, "another library may make other bytes: add its sums beside those of the one before"
    data = written(merged(layer(*NASTY), layer(entry("bin/.wh.a"))), Settings(MADE, compression, block_size, threads=2))
    assert hashlib.sha256(data).hexdigest() == GOLDEN[compression, block_size, library]


def test_zeros_and_repeated_content_take_no_room() -> None:
    one = written(merged(layer(entry("a", NOISE))), Settings(MADE))
    more = written(merged(layer(entry("a", NOISE), entry("b", NOISE), entry("c", bytes(50 << 20)))), Settings(MADE))
    assert len(more) - len(one) <= 8192


def test_more_owners_than_the_table_holds_are_refused() -> None:
    found = merged(layer(*[entry(f"{n}", owner=(2 * n, 2 * n + 1)) for n in range(32_768)]))
    with pytest.raises(ImageTooLarge, match="65535 users and groups"):
        written(found, Settings(MADE))


@pytest.mark.parametrize("size", [0, 2048, 5000, 2 << 20])
def test_a_block_size_that_squashfs_has_not_is_refused(size: int) -> None:
    found = merged()
    with pytest.raises(ValueError, match="power of 2"):
        Writer(io.BytesIO(), found.tree, found.links, found.original, Settings(block_size=size))
