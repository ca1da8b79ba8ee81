from __future__ import annotations

import io
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import InvalidLayer
from roadstead.sif.streams import Stream
from roadstead.sif.tar import Archive, Kind, Member
from tests.rooms.sif.archives import archive, entry, folder, hard_link, symlink

Members = list[tuple[Member, bytes]]


def read(data: bytes) -> Members:
    opened = Archive(Stream([data] if data else []))
    return [(member, b"".join(opened.content())) for member in opened]


def only(data: bytes) -> tuple[Member, bytes]:
    (found,) = read(data)
    return found


def changed(data: bytes, offset: int, field: bytes) -> bytes:
    """The archive with these bytes in its first header, and the checksum set right."""
    header = bytearray(data[:512])
    header[offset : offset + len(field)] = field
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header) + data[512:]


ONE = archive([entry("name", b"content")], tarfile.USTAR_FORMAT)
KINDS = {tarfile.REGTYPE: Kind.FILE, tarfile.DIRTYPE: Kind.DIRECTORY, tarfile.SYMTYPE: Kind.SYMLINK, tarfile.LNKTYPE: Kind.LINK}
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300).filter(
    lambda name: not name.endswith("/")
)
owners = st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2))


@given(
    st.lists(
        st.builds(entry, names, st.binary(max_size=1200), mode=st.integers(0, 0o7777), owner=owners, time=st.integers(-(2**40), 2**40))
        | st.builds(symlink, names, names, owner=owners)
        | st.builds(folder, names)
        | st.builds(hard_link, names, names),
        max_size=5,
    ),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_what_python_writes_is_read(members: list[tuple[tarfile.TarInfo, bytes]], form: int) -> None:
    found = read(archive(members, form))
    assert len(found) == len(members)
    for (member, content), (info, body) in zip(found, members, strict=True):
        assert member.name.rstrip(b"/") == info.name.encode().rstrip(b"/")
        assert (member.kind, member.mode, member.user, member.group, member.time) == (
            KINDS[info.type],
            info.mode,
            info.uid,
            info.gid,
            info.mtime,
        )
        assert content == (body if member.kind is Kind.FILE else b"")
        if member.kind in (Kind.LINK, Kind.SYMLINK):
            assert member.target == info.linkname.encode()


def test_devices_have_their_numbers() -> None:
    member, _ = only(archive([entry("null", kind=tarfile.CHRTYPE, device=(1, 3))]))
    assert (member.kind, member.device) == (Kind.CHARACTER_DEVICE, (1, 3))


@pytest.mark.parametrize(("time", "seconds"), [(1.5, 1), (-1.5, -2), (0.25, 0), (-0.25, -1), (1e9 + 0.999, 10**9), (-3.0, -3)])
def test_times_are_rounded_down(time: float, seconds: int) -> None:
    assert only(archive([entry("f", time=time, pax={"mtime": repr(time)})]))[0].time == seconds


def test_extended_attributes_are_read_as_bytes() -> None:
    member, _ = only(archive([entry("f", xattrs={"user.b": b"a=b\n\xff\0c", "user.a": b"1"})]))
    assert member.attributes == ((b"user.a", b"1"), (b"user.b", b"a=b\n\xff\0c"))


def test_global_headers_change_nothing() -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "everything", "comment": "x"}) as file:
        info, _ = entry("name")
        file.addfile(info)
    assert only(output.getvalue())[0].name == b"name"


def test_an_old_header_tells_a_directory_by_its_slash() -> None:
    data = changed(archive([entry("directory/", kind=tarfile.AREGTYPE)], tarfile.USTAR_FORMAT), 0, b"directory/")
    assert only(changed(data, 156, b"\0"))[0].kind is Kind.DIRECTORY


def test_links_have_no_data_whatever_their_size_says() -> None:
    data = archive([hard_link("l", "t"), entry("f", b"f")], tarfile.USTAR_FORMAT)
    assert [(member.name, content) for member, content in read(changed(data, 124, b"00000007777\0"))] == [(b"l", b""), (b"f", b"f")]


def test_signed_checksums_are_taken() -> None:
    header = bytearray(archive([entry(b"\xff\xfe")], tarfile.GNU_FORMAT)[:512])
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(byte - 256 if byte > 127 else byte for byte in header)
    assert only(bytes(header))[0].name == b"\xff\xfe"


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(10240), bytes(1024) + b"rubbish"])
def test_the_end_may_be_told_in_several_ways(end: bytes) -> None:
    assert only(ONE[:1024] + end)[1] == b"content"


def test_content_that_is_not_wanted_is_passed_over() -> None:
    opened = Archive(Stream([archive([entry("a", b"a" * 5000), entry("b", b"b" * 5000), entry("c")])]))
    taken = []
    for member in opened:
        taken.append((member.name, len(next(iter(opened.content()), b""))))
    assert [name for name, _ in taken] == [b"a", b"b", b"c"]


NOISE = random.Random(7).randbytes(100_000)


@pytest.mark.parametrize(
    "form",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
)
@pytest.mark.parametrize("holes", [1, 3, 40])
def test_sparse_files_of_every_format_are_read_whole(tmp_path: Path, form: list[str], holes: int) -> None:
    if "GNU" not in subprocess.run(["tar", "--version"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("this tar is not GNU's")
    name = "n" * 150
    with (tmp_path / name).open("wb") as file:
        for number in range(holes):
            file.seek(number * 300_000 + 200_000)
            file.write(NOISE[: 4096 + number])
        file.truncate(holes * 300_000 + 500_000)
    expected = (tmp_path / name).read_bytes()
    made = subprocess.run(
        ["tar", "-c", "--sparse", "--hole-detection=raw", *form, "-C", str(tmp_path), name], capture_output=True, check=True
    ).stdout
    member, content = only(made)
    assert member.extents is not None and len(made) < len(expected)
    assert (member.name, member.size) == (name.encode(), len(expected))
    assert content == expected


def pax(records: bytes, body: bytes = b"") -> bytes:
    """A member behind a PAX header of exactly these records."""
    header, _ = entry("x", kind=tarfile.XHDTYPE)
    header.size = len(records)
    member, _ = entry("f")
    member.size = len(body)
    return b"".join(
        archive([(info, data)], tarfile.USTAR_FORMAT)[: 512 + len(data) + -len(data) % 512]
        for info, data in ((header, records), (member, body))
    )


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def test_a_record_without_value_takes_an_earlier_one_back() -> None:
    assert only(pax(record(b"path", b"other") + record(b"path", b"")))[0].name == b"f"


SPARSE = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"100")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * 512, "this is no tar header"),
        (b"not a tar archive", "ends too early"),
        (ONE[:511], "ends too early"),
        (ONE[:515], "ends too early"),
        (ONE[:1024] + bytes(512) + ONE, "an empty block stands in the middle"),
        (changed(ONE, 124, b"99999999999\0"), "a number is not octal"),
        (changed(ONE, 124, b"\xff" * 12), "a member has -1 bytes"),
        (changed(ONE, 124, b"\x80" + b"\x7f" * 11), "a member has"),
        (changed(ONE, 156, b"Z"), "unknown type b'Z'"),
        (changed(ONE, 156, b"M"), "unknown type b'M'"),
        (changed(ONE, 108, b"\xff" * 8), "belongs to the user or group -1"),
        (archive([entry("n" * 200, b"x")])[:1024], "extended header stands at the end"),
        (pax(b"5 a\n"), "a PAX header is malformed"),
        (pax(b"99 path=x\n"), "a PAX header is malformed"),
        (pax(b"3 \n"), "a PAX header is malformed"),
        (pax(b"path=x\n"), "a PAX header is malformed"),
        (pax(b"7 =xxx\n"), "a PAX header is malformed"),
        (pax(record(b"size", b"-1")), "a number is not decimal"),
        (pax(record(b"size", b"9" * 30)), "a number is not decimal"),
        (pax(record(b"size", b"9" * 19)), "a member has 9999999999999999999 bytes"),
        (pax(record(b"mtime", b"yesterday")), "a time is malformed"),
        (pax(record(b"uid", b"x")), "a number is not decimal"),
        (pax(SPARSE, b"2\n0\n10\n5\n10\n".ljust(532, b"x")), "not in order"),
        (pax(SPARSE, b"1\n95\n10\n".ljust(522, b"x")), "does not fit"),
        (pax(SPARSE, b"1\n0\n10\n".ljust(512, b"x")), "does not fit"),
        (pax(SPARSE, b"x\n".ljust(512, b"x")), "a number is not decimal"),
        (pax(SPARSE, b"9999\n".ljust(512, b"1")), "map of a sparse file is malformed"),
        (pax(SPARSE, b""), "map of a sparse file is malformed"),
        (pax(record(b"GNU.sparse.map", b"0,1,2") + record(b"GNU.sparse.size", b"9"), b"x"), "does not fit"),
    ],
)
def test_a_damaged_archive_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidLayer) as refused:
        read(data)
    assert reason in refused.value.message


def test_an_extended_header_larger_than_sense_is_refused() -> None:
    with pytest.raises(InvalidLayer, match="an extended header has 1048577 bytes"):
        read(pax(bytes((1 << 20) + 1)))


@given(st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    whole = archive(
        [entry("a" * 150, b"content", xattrs={"user.a": b"1"}), folder("d"), symlink("s", "t")], data.draw(st.sampled_from([1, 2]))
    )
    damaged = bytearray(whole)
    for offset in data.draw(st.lists(st.integers(0, 5000), min_size=1, max_size=6)):
        damaged[offset] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        for at in range(0, 5120, 512):
            block = bytes(damaged[at : at + 512])
            damaged[at : at + 512] = changed(block, 0, block[:1])
    try:
        read(bytes(damaged))
    except InvalidLayer as refused:
        assert refused.message.endswith(".")
