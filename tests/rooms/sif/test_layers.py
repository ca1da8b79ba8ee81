from __future__ import annotations

import gzip
import hashlib
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import DigestMismatch, ImageTooLarge, InvalidLayer
from roadstead.oci.digest import Digest
from roadstead.sif.layers import Layer
from roadstead.sif.limits import Limits
from roadstead.sif.tar import Kind
from tests.rooms.sif.archives import MADE, archive, contents, entry, folder, hard_link, layer, merged, paths, stored, symlink

BASE = layer(folder("etc"), entry("etc/a", b"a"), entry("etc/b", b"b"), folder("etc/d"), entry("etc/d/x", b"x"), entry("top", b"top"))


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ([entry("etc/.wh.a")], {"etc/b", "etc/d/x", "top"}),
        ([entry("etc/.wh.nothing"), entry("nowhere/.wh.x"), entry("top/.wh.x")], {"etc/a", "etc/b", "etc/d/x", "top"}),
        ([entry(".wh.etc")], {"top"}),
        ([entry(".wh.top"), entry("top", b"new")], {"etc/a", "etc/b", "etc/d/x", "top"}),
        ([entry("top", b"new"), entry(".wh.top")], {"etc/a", "etc/b", "etc/d/x", "top"}),
        ([entry("etc/d/y"), entry(".wh.etc")], {"etc/d/y", "top"}),
        ([entry(".wh.etc"), entry("etc/d/y")], {"etc/d/y", "top"}),
        ([entry("etc/.wh..wh..opq"), entry("etc/new")], {"etc/new", "top"}),
        ([entry("etc/new"), entry("etc/d/y"), entry("etc/.wh..wh..opq")], {"etc/new", "etc/d/y", "top"}),
        ([entry("etc/new"), entry("etc/.wh..wh..opq"), entry("etc/.wh..wh..opq"), entry("etc/b")], {"etc/new", "etc/b", "top"}),
        ([entry(".wh..wh..opq"), entry("only")], {"only"}),
        ([entry("nowhere/.wh..wh..opq")], {"etc/a", "etc/b", "etc/d/x", "top"}),
        ([entry(".wh..wh.plnk/1.2", b"aufs"), entry(".wh..wh.aufs", b"aufs")], {"etc/a", "etc/b", "etc/d/x", "top"}),
        ([entry("etc", b"now a file")], {"etc", "top"}),
        ([entry("top/inner")], {"etc/a", "etc/b", "etc/d/x", "top/inner"}),
        (
            [entry("../../up", b"up"), entry("/absolute"), entry("./etc/../dot")],
            {"etc/a", "etc/b", "etc/d/x", "top", "up", "absolute", "dot"},
        ),
    ],
)
def test_an_upper_layer_hides_and_replaces(upper: list[tuple[tarfile.TarInfo, bytes]], left: set[str]) -> None:
    assert contents(merged(BASE, layer(*upper))).keys() == left


def test_a_whiteout_leaves_an_empty_directory_that_the_same_layer_made() -> None:
    found = merged(BASE, layer(entry(".wh.etc"), folder("etc", 0o700)))
    assert paths(found).keys() == {"etc", "top"}


def test_what_was_hidden_once_may_come_again_and_be_hidden_again() -> None:
    layers = [layer(folder("d"), entry(f"d/{n}", b"%d" % n)) if n % 2 else layer(entry(".wh.d")) for n in range(6)]
    assert contents(merged(*layers)) == {"d/5": b"5"}
    assert contents(merged(*layers, layer(entry(".wh.d")))) == {}


def test_a_hard_link_outlives_its_target() -> None:
    found = merged(layer(entry("a", b"content", mode=0o600), hard_link("b", "a")), layer(entry(".wh.a")))
    assert contents(found) == {"b": b"content"}
    assert found.links[paths(found)["b"]] == 1


def test_a_hard_link_reaches_into_lower_layers_and_keeps_what_it_found() -> None:
    found = merged(layer(entry("a", b"old")), layer(hard_link("d/b", "/a"), entry("a", b"new"), hard_link("c", "a")))
    assert contents(found) == {"a": b"new", "d/b": b"old", "c": b"new"}
    assert found.links[paths(found)["a"]] == 2


def test_a_hard_link_to_itself_changes_nothing() -> None:
    assert contents(merged(layer(entry("a", b"a"), hard_link("a", "a")))) == {"a": b"a"}


def test_hard_links_to_symbolic_links_and_devices_are_the_same_inode() -> None:
    null = entry("null", kind=tarfile.CHRTYPE, device=(1, 3))
    found = paths(merged(layer(symlink("s", "x"), null, hard_link("t", "s"), hard_link("zero", "null"))))
    assert found["s"] == found["t"] and found["null"] == found["zero"]


@pytest.mark.parametrize(
    ("target", "path"),
    [("real", "real/f"), ("/real", "real/f"), ("../../real", "real/f"), ("real/../other", "other/f"), ("dangling", "dangling/f")],
)
def test_a_path_through_a_symbolic_link_stays_inside_the_image(target: str, path: str) -> None:
    found = merged(layer(folder("real"), folder("other"), symlink("link", target)), layer(entry("link/f", b"f")))
    assert contents(found) == {path: b"f"}


def test_whiteouts_go_through_symbolic_links_too() -> None:
    found = merged(layer(entry("real/f"), entry("real/g"), symlink("link", "real")), layer(entry("link/.wh.f")))
    assert contents(found).keys() == {"real/g"}


def test_types_replace_each_other() -> None:
    first = layer(folder("d"), entry("d/x"), entry("f"), symlink("s", "d"))
    found = merged(first, layer(symlink("d", "s2"), folder("f"), entry("f/y"), folder("s"), entry("s/z")))
    tree = found.tree
    kinds = {path: Kind(tree.kind[inode]) for path, inode in paths(found).items()}
    assert kinds == {"d": Kind.SYMLINK, "f": Kind.DIRECTORY, "f/y": Kind.FILE, "s": Kind.DIRECTORY, "s/z": Kind.FILE}


def test_a_directory_told_again_keeps_its_content_and_takes_the_new_metadata() -> None:
    found = merged(BASE, layer(folder("etc", 0o700, owner=(5, 6))))
    inode = paths(found)["etc"]
    assert (found.tree.mode[inode], found.tree.user[inode], found.tree.group[inode]) == (0o700, 5, 6)
    assert "etc/a" in paths(found)


def test_the_last_of_one_name_wins() -> None:
    assert contents(merged(layer(entry("a", b"1"), entry("a", b"2"), entry("./a", b"3")))) == {"a": b"3"}


def test_directories_that_nobody_describes_are_made() -> None:
    found = merged(layer(entry("a/b/c", b"c")))
    inode = paths(found)["a/b"]
    assert (found.tree.mode[inode], found.tree.user[inode], found.tree.time[inode]) == (0o755, 0, MADE)


def test_the_root_is_described_by_its_entry() -> None:
    found = merged(layer(folder("./", 0o1777, owner=(7, 8))))
    inode = found.tree.inode[0]
    assert (found.tree.mode[inode], found.tree.user[inode], found.tree.group[inode]) == (0o1777, 7, 8)


def test_files_of_one_content_are_read_once() -> None:
    found = merged(layer(entry("gone", b"same"), entry("a", b"same"), entry("b", b"same"), entry("c", b"other")), layer(entry(".wh.gone")))
    assert [b"".join(pieces) for _, pieces in found.contents()] == [b"same", b"other"]
    assert contents(found) == {"a": b"same", "b": b"same", "c": b"other"}


def test_names_that_are_no_text_are_kept() -> None:
    names = [b"new\nline", b"\xff\xfe", "größe".encode(), b"n" * 255]
    long = b"/".join([b"d" * 200] * 5)
    found = contents(merged(layer(*[entry(name, name) for name in [*names, long]])))
    assert {path.encode("utf-8", "surrogateescape") for path in found} == {*names, long}


def test_attributes_that_squashfs_has_no_place_for_are_left_out() -> None:
    given = {"user.a": b"1", "security.capability": b"\x01\0", "system.posix_acl_access": b"?", "security.selinux": b"?", "trusted.t": b"2"}
    found = merged(layer(entry("f", xattrs=given), symlink("s", "f", xattrs=given)))
    sets = [found.tree.attribute_sets[found.tree.attributes[paths(found)[path]]] for path in ("f", "s")]
    assert [name for name, _ in sets[0]] == [b"security.capability", b"trusted.t", b"user.a"]
    assert [name for name, _ in sets[1]] == [b"security.capability", b"trusted.t"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([hard_link("a", "nothing")], "hard link 'a' leads to 'nothing', which is not there"),
        ([hard_link("a", "../../../etc/passwd")], "which is not there"),
        ([folder("d"), hard_link("a", "d")], "which is a directory"),
        ([hard_link("a", "/")], "which is not there"),
        ([entry("/", b"x")], "root would be something else"),
        ([symlink("..", "x")], "root would be something else"),
        ([entry(".wh.")], "names nothing that can be hidden"),
        ([entry(".wh..")], "names nothing that can be hidden"),
        ([entry("a/.wh...")], "names nothing that can be hidden"),
        ([symlink("a", "b"), symlink("b", "a"), entry("a/x")], "in a circle"),
        ([symlink("a", "x" * 4096)], "leads to 4096 bytes"),
        ([symlink("a", "")], "leads to 0 bytes"),
        ([entry("n" * 256)], "has 256 bytes"),
        ([entry("d/" * 3000 + "f")], "at most 4096"),
        ([entry("a", kind=tarfile.BLKTYPE, device=(4096, 0))], "number 4096:0"),
        ([entry("a", pax={"uid": "4294967296"})], "belongs to the user or group 4294967296"),
        ([entry("a", xattrs={"user." + "n" * 251: b"x"})], "longer than Linux allows"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_with_the_reason(members: list[tuple[tarfile.TarInfo, bytes]], reason: str) -> None:
    with pytest.raises(InvalidLayer) as refused:
        merged(BASE, layer(*members))
    assert refused.value.message.startswith("Layer 2 of 2: ")
    assert reason in refused.value.message


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(layers=1), "1 layers"),
        (Limits(entries=5), "5 entries"),
        (Limits(unpacked=4), "4 bytes"),
        (Limits(names=8), "names"),
        (Limits(attributes=9), "attributes"),
    ],
)
def test_more_than_the_limit_is_refused(limits: Limits, reason: str) -> None:
    with pytest.raises(ImageTooLarge, match=reason):
        merged(layer(*[entry(f"f{n}", b"x", xattrs={"user.a": b"%d" % n}) for n in range(6)]), layer(), limits=limits)


def test_the_content_is_compared_with_the_configurations_digest() -> None:
    data = archive([entry("a", b"a")])
    sound = Layer(lambda: [gzip.compress(data)], Digest.from_hash("sha256", hashlib.sha256(data).hexdigest()))
    assert contents(merged(sound)) == {"a": b"a"}
    with pytest.raises(DigestMismatch, match="which the image's configuration states"):
        merged(Layer(lambda: [gzip.compress(data)], Digest.of(b"something else")))


@pytest.mark.parametrize(
    "then", [archive([entry("a", b"b" * 9)]), archive([entry("b"), entry("a", b"a" * 10)]), archive([entry("a", b"a" * 10)])[:515], b""]
)
def test_a_layer_that_is_another_at_the_second_reading_is_refused(then: bytes) -> None:
    versions = iter([archive([entry("a", b"a" * 10)]), then])
    found = merged(Layer(lambda: [next(versions)]))
    with pytest.raises(InvalidLayer, match="changed between two readings"):
        contents(found)


def test_a_layer_that_holds_nothing_any_more_is_not_read_again() -> None:
    readings = []

    def once() -> list[bytes]:
        readings.append(1)
        return [archive([entry("a", b"a")])]

    found = merged(Layer(once), layer(entry("a", b"b")))
    assert contents(found) == {"a": b"b"}
    assert len(readings) == 1


def test_an_empty_layer_is_sound() -> None:
    assert contents(merged(stored(b""), stored(gzip.compress(b"")), stored(bytes(1024)))) == {}


class Model:
    """What image-spec's "Applying Changesets" says, in the plainest words: a path is there or not, and a layer put it there."""

    def __init__(self) -> None:
        self.layer = 0
        self.there: dict[tuple[str, ...], tuple[int, bytes | None]] = {}

    def hide(self, path: tuple[str, ...], *, itself: bool) -> None:
        """Take away what lower layers have at `path`, if `itself`, and below it."""
        at_or_below = {other for other in self.there if other[: len(path)] == path and (itself or other != path)}
        for other in at_or_below:
            if self.there[other][0] != self.layer:
                del self.there[other]

    def put(self, path: tuple[str, ...], content: bytes | None) -> None:
        """A file with its content, or a directory; what is above it becomes a directory of this layer."""
        for length in range(1, len(path)):
            self.put_one(path[:length], None)
        self.put_one(path, content)

    def put_one(self, path: tuple[str, ...], content: bytes | None) -> None:
        was = self.there.get(path)
        if content is not None and was is not None and was[1] is None:
            self.there = {other: value for other, value in self.there.items() if other[: len(path)] != path}
        self.there[path] = (self.layer, content)

    def apply(self, path: tuple[str, ...], what: str, content: bytes) -> None:
        if what == "whiteout":
            self.hide(path, itself=True)
        elif what == "opaque":
            if path in self.there and self.there[path][1] is None:
                self.hide(path, itself=False)
        else:
            self.put(path, content if what == "file" else None)


steps = st.tuples(
    st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(tuple),
    st.sampled_from(["file", "file", "directory", "whiteout", "opaque"]),
    st.binary(min_size=1, max_size=2),
)


def member(path: tuple[str, ...], what: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    *above, last = path
    match what:
        case "file":
            return entry("/".join(path), content)
        case "directory":
            return folder("/".join(path))
        case "whiteout":
            return entry("/".join([*above, f".wh.{last}"]))
    return entry("/".join([*path, ".wh..wh..opq"]))


@given(st.lists(st.lists(steps, max_size=8), max_size=4))
def test_any_layers_make_what_the_specification_says(layers: list[list[tuple[tuple[str, ...], str, bytes]]]) -> None:
    model = Model()
    for number, one in enumerate(layers, 1):
        model.layer = number
        for step in one:
            model.apply(*step)
    found = merged(*[layer(*[member(*step) for step in one]) for one in layers])
    assert paths(found).keys() == {"/".join(path) for path in model.there}
    assert contents(found) == {"/".join(path): content for path, (_, content) in model.there.items() if content is not None}
