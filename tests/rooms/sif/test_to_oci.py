"""Images that are made of SIFs: the same files, the same way of being run, the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from deflate import zlib_compress
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.errors import ImageTooLarge, InvalidSif, NotConvertible, RoadsteadError
from roadstead.oci.digest import Digest
from roadstead.sif.convert import Conversion
from roadstead.sif.format import FileSystem
from roadstead.sif.limits import Limits
from roadstead.sif.to_oci import Image, Layering, to_oci
from tests.rooms.sif.archives import archive, entry, folder, merged, stored, symlink
from tests.rooms.sif.archives import layer as layer_of
from tests.rooms.sif.sifs import files, oci_config, sif, squashfs
from tests.rooms.sif.test_convert import converted, image
from tests.rooms.sif.test_squashfs import NASTY, expected, trees

LAYERING = Layering()


def made_of(data: bytes, how: Layering = LAYERING) -> tuple[Image, bytes]:
    """The image, and its layer as it is stored."""

    def read_at(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(data)
        return data[offset : offset + length]

    output = io.BytesIO()
    found = to_oci(read_at, len(data), output, how)
    assert found.size == len(output.getvalue())
    return found, output.getvalue()


def config_of(data: bytes) -> dict[str, Any]:
    configuration = json.loads(made_of(data)[0].configuration)
    return dict(configuration["config"])


@pytest.mark.parametrize("members", [NASTY, [entry("a")], []], ids=["nasty", "one", "none"])
def test_the_layer_has_all_that_the_sif_has(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    found, stored_layer = made_of(sif(squashfs(*members)))
    plain = gzip.decompress(stored_layer)
    assert found.diff_id == Digest.parse(f"sha256:{hashlib.sha256(plain).hexdigest()}")
    wanted = expected(merged(layer_of(*members)))
    shown = expected(merged(stored(plain, 1 << 16)))
    assert shown.keys() == wanted.keys()
    for path, record in wanted.items():
        # Which of its names a file is found under first is nobody's business.
        assert {**shown[path], "same": None} == {**record, "same": None}, path
        assert ("same" in shown[path]) is ("same" in record)


@settings(max_examples=60, deadline=None)
@given(trees())
def test_any_tree_comes_back(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    plain = gzip.decompress(made_of(sif(squashfs(*members)))[1])
    wanted = expected(merged(layer_of(*members)))
    shown = expected(merged(stored(plain, 1 << 16)))
    assert {path: {**record, "same": None} for path, record in shown.items()} == {
        path: {**record, "same": None} for path, record in wanted.items()
    }


def test_the_number_of_threads_changes_no_byte() -> None:
    data = sif(squashfs(*NASTY))
    assert len({made_of(data, Layering(threads=threads))[1] for threads in (1, 2, 5)}) == 1
    assert Layering(threads=1).identity(Digest.of(b"x")) == Layering(threads=2).identity(Digest.of(b"x"))
    assert Layering(level=1).identity(Digest.of(b"x")) != Layering(level=2).identity(Digest.of(b"x"))


def test_the_bytes_are_those_of_yesterday() -> None:
    """When this fails, images that were made of SIFs get other bytes: then the converter's version has to change too."""
    found, stored_layer = made_of(sif(squashfs(*NASTY), oci_config(b"{}")))
    assert LAYERING.identity(Digest.of(b"")).endswith("gzip 6 deflate 0.9.0 1048576")
    assert hashlib.sha256(stored_layer).hexdigest() == "8d7d26fd122068b69fb4a369d6c7bd0765a8579ddab168e8315f0f6fa0833ad4"
    assert hashlib.sha256(found.configuration).hexdigest() == "82351c91aa974e7f882f332eac9463c859c484131003a385c95776cf20d927f0"


def test_programs_that_read_gzip_read_its_many_members(tmp_path: Path) -> None:
    _, stored_layer = made_of(sif(squashfs(*NASTY)))
    assert stored_layer.count(b"\x1f\x8b\x08") > 3
    (tmp_path / "layer.tar.gz").write_bytes(stored_layer)
    subprocess.run(["gzip", "-t", "layer.tar.gz"], cwd=tmp_path, check=True)
    listed = subprocess.run(["tar", "-tzf", "layer.tar.gz"], cwd=tmp_path, check=True, capture_output=True).stdout
    assert listed.splitlines()[0] == b"./"
    assert len(listed.splitlines()) > 3000


# How it is run.

CONFIG = {
    "Cmd": ["a b", "$c"],
    "Entrypoint": ["/bin/x", "it's"],
    "Env": ["PATH=/bin", "A=$b", "EMPTY="],
    "ExposedPorts": {"80/tcp": {}},
    "Labels": {"c": "d", "org.label-schema.name": "n"},
    "User": "1000:1000",
    "WorkingDir": "/srv",
}
OF_APPTAINER = {"actions/run": "#!/bin/sh\n", "env/90-environment.sh": "#!/bin/sh\n# Custom environment shell code should follow\n\n"}


def test_an_image_that_was_converted_here_comes_back_as_it_was() -> None:
    found, _ = made_of(converted(image(archive([folder("bin"), entry("bin/x", b"x", mode=0o755)]), config=CONFIG), Conversion()))
    configuration = json.loads(found.configuration)
    assert configuration["config"] == CONFIG
    assert (configuration["architecture"], configuration["os"]) == ("amd64", "linux")
    assert configuration["created"] == "2020-01-02T02:04:05Z"
    assert configuration["rootfs"] == {"type": "layers", "diff_ids": [str(found.diff_id)]}


def test_what_apptainer_made_of_a_configuration_is_the_configuration() -> None:
    run = "#!/bin/sh\nOCI_ENTRYPOINT='\"/bin/x\"'\nOCI_CMD=''\n"
    labels = json.dumps({"c": "d", "org.label-schema.build-arch": "amd64", "added": "later"})
    root = squashfs(*files({**OF_APPTAINER, "runscript": run, "labels.json": labels, "env/10-docker2singularity.sh": "export A=other"}))
    found = config_of(sif(root, oci_config(json.dumps(CONFIG).encode())))
    assert found == CONFIG | {"Labels": {"c": "d", "org.label-schema.name": "n", "added": "later"}}


def test_a_script_that_somebody_wrote_is_run_by_apptainers_own() -> None:
    scripts = {"runscript": "#!/bin/sh\necho $GREETING\n", "env/90-environment.sh": 'export GREETING="hello"\nexport PATH=/opt/bin:$PATH\n'}
    root = squashfs(*files({**OF_APPTAINER, **scripts, "labels.json": '{"Author": "me"}'}))
    assert config_of(sif(root, oci_config(json.dumps(CONFIG).encode()))) == {
        "Entrypoint": ["/.singularity.d/actions/run"],
        "Env": ["PATH=/opt/bin:/bin", "A=$b", "EMPTY=", "GREETING=hello"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"Author": "me"},
        "User": "1000:1000",
        "WorkingDir": "/srv",
    }


def test_an_environment_that_somebody_added_is_read_at_the_start() -> None:
    run = "#!/bin/sh\nOCI_ENTRYPOINT=''\n"
    root = squashfs(*files({**OF_APPTAINER, "runscript": run, "env/91-environment.sh": "export A=$(hostname)"}))
    assert config_of(sif(root, oci_config(b'{"Cmd": ["x"]}'))) == {"Entrypoint": ["/.singularity.d/actions/run"], "Env": []}


def test_an_image_without_scripts_is_a_shell() -> None:
    assert config_of(sif(squashfs(entry("bin/sh", b"x")))) == {"Cmd": ["/bin/sh"], "Env": []}
    assert config_of(sif(squashfs(*files({"runscript": "x"})))) == {"Entrypoint": ["/.singularity.d/runscript"], "Env": []}


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"Env": ["A=1", 5]}', b'{"Entrypoint": [1]}', b'{"Labels": {"a": {}}}', b"[" * 90_000, b"\xff"]
)
def test_a_configuration_that_is_none_is_passed_over(text: bytes) -> None:
    root = squashfs(*files({**OF_APPTAINER, "runscript": "#!/bin/sh\nOCI_CMD=''\n", "labels.json": text.decode("latin-1")}))
    assert config_of(sif(root, oci_config(text))) == {"Entrypoint": ["/.singularity.d/actions/run"], "Env": []}


def test_a_script_that_is_a_link_is_not_followed() -> None:
    root = squashfs(folder(".singularity.d"), symlink(".singularity.d/runscript", "/etc/passwd"), symlink(".singularity.d/env", ".."))
    assert config_of(sif(root)) == {"Cmd": ["/bin/sh"], "Env": []}


def test_times_that_no_calendar_has_are_the_nearest() -> None:
    for made, told in ((-5, "1970-01-01T00:00:00Z"), (2**62, "2106-02-07T06:28:15Z")):
        assert json.loads(made_of(sif(squashfs(), made=made))[0].configuration)["created"] == told


# Bad input.

GOOD = sif(squashfs(entry("a", b"content")))


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (b"", InvalidSif, "not a sound SIF"),
        (sif(None), NotConvertible, "no primary partition"),
        (sif(b"x" * 5000, system=FileSystem.ENCRYPTED_SQUASHFS), NotConvertible, "is encrypted: without its key"),
        (sif(b"x" * 5000, system=FileSystem.GOCRYPTFS_SQUASHFS), NotConvertible, "is encrypted: without its key"),
        (sif(b"x" * 5000, system=FileSystem.EXT3), NotConvertible, "holds its files as ext3; only squashfs is read"),
        (sif(b"x" * 5000, system=77), NotConvertible, "file system 77"),
        (sif(squashfs(), architecture="unknown"), NotConvertible, "which architecture"),
        (sif(b"x" * 5000), InvalidSif, "magic number"),
        (sif(squashfs()[:100]), InvalidSif, "where there are 100"),
        (sif(squashfs(*files({"runscript": "x" * 200_000}))), InvalidSif, "at most 131072 are read"),
    ],
)
def test_a_sif_that_cannot_be_an_image_is_refused(data: bytes, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        made_of(data)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(entries=2), "more than 2 entries"),
        (Limits(names=3), "names in the image take more than 3 bytes"),
        (Limits(unpacked=100_000), "unpacks to more than 100000 bytes"),
        (Limits(ratio=10, ratio_from=1000), "more than 10 times its size"),
    ],
)
def test_limits_are_held(limits: Limits, reason: str) -> None:
    data = sif(squashfs(entry("aaa/zeros", bytes(1 << 20)), entry("bbb"), entry("ccc")))
    with pytest.raises(ImageTooLarge, match=reason):
        made_of(data, Layering(limits=limits))


def raw(*inodes: bytes, listings: bytes, count: int, root: int) -> bytes:
    """A squashfs of these inodes and listings as they are, without any content."""

    def stream(content: bytes) -> bytes:
        packed = zlib_compress(content, 6)
        return struct.pack("<H", len(packed)) + packed

    table, names = stream(b"".join(inodes)), stream(listings)
    ids_at = 96 + len(table) + len(names)
    owners = stream(struct.pack("<I", 0))
    used = ids_at + len(owners) + 8
    none = 2**64 - 1
    begin = struct.pack(
        "<IIIIIHHHHHHQQQQQQQQ",
        *(0x73717368, count, 0, 4096, 0, 1, 12, 0, 1, 4, 0),
        *(root, used, ids_at + len(owners), none, 96, 96 + len(table), none, none),
    )
    return begin + table + names + owners + struct.pack("<Q", ids_at)


def directory(number: int, size: int, offset: int = 0) -> bytes:
    return struct.pack("<HHHHII", 1, 0o755, 0, 0, 0, number) + struct.pack("<IIHHI", 0, 2, size + 3, offset, number)


def file(number: int, size: int, start: int = 0) -> bytes:
    return struct.pack("<HHHHII", 2, 0o644, 0, 0, 0, number) + struct.pack("<IIII", start, 2**32 - 1, 0, size)


def run(*entries: tuple[int, int, bytes]) -> bytes:
    """One run of a listing: offset of the inode, its type, its name."""
    return struct.pack("<III", len(entries) - 1, 0, 0) + b"".join(
        struct.pack("<HhHH", offset, 0, kind, len(name) - 1) + name for offset, kind, name in entries
    )


LOOP = run((0, 1, b"again"))
TWICE = run((32, 1, b"a"), (32, 1, b"b"))
ESCAPE = run((32, 2, b".."))
SLASH = run((32, 2, b"a/b"))
DOUBLE = run((32, 2, b"a"), (32, 2, b"a"))
WRONG = run((32, 3, b"a"))
SOUND = run((32, 2, b"a"), (32, 2, b"b"))
WHITEOUT = run((32, 2, b".wh.etc"))


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (raw(directory(1, len(LOOP)), listings=LOOP, count=1, root=0), InvalidSif, "is found in two places"),
        (raw(directory(1, len(TWICE)), directory(2, 0), listings=TWICE, count=2, root=0), InvalidSif, "is found in two places"),
        (raw(directory(1, len(TWICE)), directory(1, 0), listings=TWICE, count=2, root=0), InvalidSif, "two directories have the number 1"),
        (raw(directory(1, len(ESCAPE)), file(2, 0), listings=ESCAPE, count=2, root=0), InvalidSif, r"has an entry '\.\.'"),
        (raw(directory(1, len(SLASH)), file(2, 0), listings=SLASH, count=2, root=0), InvalidSif, "has an entry 'a/b'"),
        (raw(directory(1, len(DOUBLE)), file(2, 0), listings=DOUBLE, count=2, root=0), InvalidSif, "'a' behind 'a'"),
        (raw(directory(1, len(WRONG)), file(2, 0), listings=WRONG, count=2, root=0), InvalidSif, "something else than its directory says"),
        (raw(directory(1, len(WHITEOUT)), file(2, 0), listings=WHITEOUT, count=2, root=0), NotConvertible, "hides another file"),
        (raw(directory(1, len(SOUND) + 50), file(2, 0), listings=SOUND, count=2, root=0), InvalidSif, "damaged"),
        (raw(directory(1, len(SOUND) - 1), file(2, 0), listings=SOUND, count=2, root=0), InvalidSif, "not as long as it says"),
        (raw(directory(1, len(SOUND)), file(9, 0), listings=SOUND, count=2, root=0), InvalidSif, "number 9, and there are 2"),
        (raw(directory(1, len(SOUND)), file(2, 2**32 - 1), listings=SOUND, count=2, root=0), ImageTooLarge, "200 times its size"),
        (raw(directory(1, len(SOUND)), file(2, 60 << 20), listings=SOUND, count=2, root=0), InvalidSif, "damaged"),
        (raw(directory(1, len(SOUND)), file(2, 9, 2**31), listings=SOUND, count=2, root=0), InvalidSif, "would lie at 2147483648"),
        (raw(file(1, 0), listings=b"x", count=1, root=0), InvalidSif, "its root is no directory"),
        (raw(directory(1, 0, 9000), listings=b"x", count=1, root=0), None, ""),
        (raw(directory(1, 9, 9000), listings=b"x", count=1, root=0), InvalidSif, "leads behind the block"),
        (raw(directory(1, 0), listings=b"x", count=1, root=8 << 16), InvalidSif, "damaged"),
    ],
)
def test_hostile_tables_are_refused(data: bytes, error: type[Exception] | None, reason: str) -> None:
    if error is None:
        made_of(sif(data))
        return
    with pytest.raises(error, match=reason):
        made_of(sif(data))


def test_what_the_raw_tables_say_is_read_where_it_is_sound() -> None:
    data = sif(raw(directory(1, len(SOUND)), file(2, 0), listings=SOUND, count=2, root=0))
    found = expected(merged(stored(gzip.decompress(made_of(data)[1]))))
    assert set(found) == {"", "a", "b"}
    assert found["b"]["same"] == "a"


FUZZED = sif(squashfs(folder("d", xattrs={"user.a": b"b"}), *NASTY[:12], entry("d/f", b"content" * 3000)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(32_768, len(FUZZED) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(FUZZED)
    for at, value in changes:
        data[at] = value
    try:
        made_of(bytes(data), Layering(limits=Limits(entries=1000, unpacked=64 << 20)))
    except RoadsteadError as refused:
        assert isinstance(refused, InvalidSif | ImageTooLarge | NotConvertible)


def test_a_fragment_behind_the_end_is_refused() -> None:
    data, begins = bytearray(FUZZED), 32_768
    (table,) = struct.unpack_from("<Q", data, begins + 80)
    (block,) = struct.unpack_from("<Q", data, begins + table)
    assert data[begins + block + 1] & 0x80, "the block of the table is not compressed"
    struct.pack_into("<Q", data, begins + block + 2, 2**60)
    with pytest.raises(InvalidSif, match=str(2**60)):
        made_of(bytes(data))


def test_the_root_is_described_once() -> None:
    plain = gzip.decompress(made_of(sif(squashfs(folder("./", 0o751, owner=(1, 2)), entry("a"))))[1])
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        root, a = archive.getmembers()
    assert (root.name, root.mode, root.uid, root.gid) == (".", 0o751, 1, 2)
    assert (a.name, a.mtime) == ("a", 1_500_000_000)
