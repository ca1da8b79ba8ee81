"""Archives that are written: read again by ourselves, by the standard library and by GNU tar they hold what was put in."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import NotConvertible
from roadstead.sif.archive import END, header
from roadstead.sif.streams import Stream
from roadstead.sif.tar import BLOCK, Archive, Kind, Member

names = st.binary(min_size=1, max_size=400).filter(lambda name: b"\0" not in name and not name.endswith(b"/"))
attribute_names = st.binary(min_size=1, max_size=30).filter(lambda name: not {0, ord("=")} & set(name))
attributes = st.dictionaries(attribute_names, st.binary(min_size=1, max_size=400), max_size=3).map(
    lambda found: tuple(sorted(found.items()))
)
owners = st.integers(0, 2**32 - 2)


@st.composite
def members(draw: st.DrawFn) -> tuple[Member, bytes]:
    kind = draw(st.sampled_from(Kind))
    content = draw(st.binary(max_size=2000)) if kind is Kind.FILE else b""
    is_device = kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
    member = Member(
        name=draw(names),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        user=draw(owners),
        group=draw(owners),
        time=draw(st.integers(0, 2**32 - 1)),
        size=len(content),
        target=draw(names) if kind in (Kind.SYMLINK, Kind.LINK) else b"",
        device=draw(st.tuples(st.integers(0, 0xFFF), st.integers(0, 0xFFFFF))) if is_device else (0, 0),
        attributes=draw(attributes),
    )
    return member, content


def packed(*several: tuple[Member, bytes]) -> bytes:
    return b"".join(header(member) + content + bytes(-len(content) % BLOCK) for member, content in several) + END


@given(st.lists(members(), max_size=4))
def test_what_is_written_is_read_again(several: list[tuple[Member, bytes]]) -> None:
    archive = Archive(Stream([packed(*several)]))
    assert [(member, b"".join(archive.content())) for member in archive] == several


@given(members())
def test_the_standard_library_reads_the_same(one: tuple[Member, bytes]) -> None:
    member, content = one
    with tarfile.open(fileobj=io.BytesIO(packed(one)), errors="surrogateescape", encoding="utf-8") as archive:
        found = archive.next()
        assert found is not None
        assert found.name.encode("utf-8", "surrogateescape").rstrip(b"/") == member.name.rstrip(b"/")
        assert (found.mode, found.uid, found.gid, found.mtime, found.size) == (
            member.mode,
            member.user,
            member.group,
            member.time,
            member.size,
        )
        assert found.isreg() is (member.kind is Kind.FILE)
        if member.kind is Kind.FILE:
            file = archive.extractfile(found)
            assert file is not None
            assert file.read() == content


def test_gnu_tar_lists_long_names_and_large_numbers() -> None:
    several = [
        (Member(b"d" * 90 + b"/" + b"n" * 200, Kind.FILE, 0o4755, 3_000_000, 4_000_000_000, 2**32 - 1, 3), b"abc"),
        (Member(b"l", Kind.SYMLINK, 0o777, 0, 0, 0, target=b"t" * 3000), b""),
        (Member("grüß".encode(), Kind.BLOCK_DEVICE, 0o600, 0, 0, 0, device=(259, 70000)), b""),
    ]
    done = subprocess.run(["tar", "--numeric-owner", "-tvf", "-"], input=packed(*several), capture_output=True, check=True)
    shown = done.stdout.decode()
    assert "-rwsr-xr-x 3000000/4000000000" in shown
    assert "/" + "n" * 200 in shown
    assert "t" * 3000 in shown
    assert "259,70000" in shown


def test_a_file_of_many_gigabytes_is_told() -> None:
    size = 9 << 30
    block = header(Member(b"large", Kind.FILE, 0o644, 0, 0, 0, size))
    found = next(iter(Archive(Stream([block, bytes(1024)]))))
    assert found.size == size


@pytest.mark.parametrize(("length", "records"), [(83, 1), (84, 1), (85, 1), (980, 1), (981, 1), (982, 1)])
def test_a_records_length_counts_its_own_digits(length: int, records: int) -> None:
    member = Member(b"x", Kind.FILE, 0, 0, 0, 0, attributes=((b"a", b"v" * length),))
    (found,) = Archive(Stream([packed((member, b""))]))
    assert found == member


@pytest.mark.parametrize("name", [b"user.a=b", b"user.\0"])
def test_an_attribute_that_no_record_can_name_is_refused(name: bytes) -> None:
    with pytest.raises(NotConvertible, match="no layer of an image can have"):
        header(Member(b"x", Kind.FILE, 0, 0, 0, 0, attributes=((name, b"v"),)))


def test_attributes_that_nobody_would_read_are_refused() -> None:
    several = tuple((b"user.%02d" % number, bytes(65536)) for number in range(17))
    with pytest.raises(NotConvertible, match="more than 1048576 bytes"):
        header(Member(b"x", Kind.FILE, 0, 0, 0, 0, attributes=several))
