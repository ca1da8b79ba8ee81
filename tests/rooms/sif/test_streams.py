from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import ImageTooLarge, InvalidLayer
from roadstead.sif.limits import Limits
from roadstead.sif.streams import PIECE, Stream, ahead, inflated

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"".join(b"%d," % number for number in range(200_000))
SKIPPABLE = b"\x52\x2a\x4d\x18\x03\x00\x00\x00abc"


def chunks(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[offset : offset + size] for offset in range(0, len(data), size))


def read(data: bytes, limits: Limits | None = None, size: int = 1000) -> bytes:
    pieces = list(inflated(chunks(data, size), limits or Limits()))
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize(
    "stored",
    [
        TEXT,
        gzip.compress(TEXT),
        gzip.compress(TEXT, 0),
        gzip.compress(TEXT[:10]) + gzip.compress(b"") + gzip.compress(TEXT[10:]),
        gzip.compress(TEXT) + bytes(2000),
        zstd.compress(TEXT),
        zstd.compress(TEXT, options={zstd.CompressionParameter.checksum_flag: 1}),
        SKIPPABLE + zstd.compress(TEXT[:10]) + SKIPPABLE + zstd.compress(TEXT[10:]) + SKIPPABLE,
    ],
)
@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
def test_a_layer_is_read_however_it_is_stored(stored: bytes, size: int) -> None:
    assert read(stored, size=size) == TEXT


@given(st.binary(max_size=2000), st.integers(1, 50), st.sampled_from([bytes, gzip.compress, zstd.compress]))
def test_any_content_is_read_in_any_chunks(content: bytes, size: int, store: Callable[[bytes], bytes]) -> None:
    if store is not bytes or not content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        assert read(store(content), size=size) == content


def test_nothing_is_nothing() -> None:
    assert read(b"") == b"" == b"".join(inflated([b"", b""], Limits()))


@pytest.mark.parametrize("store", [gzip.compress, zstd.compress])
@pytest.mark.parametrize("left", [1, 5, 100, -1])
def test_a_stream_that_ends_too_early_is_refused(store: Callable[[bytes], bytes], left: int) -> None:
    stored = store(TEXT)[:left]
    if left == 1:
        assert read(stored) == stored  # Nothing tells that this was to be compressed; no tar archive is so short.
        return
    with pytest.raises(InvalidLayer, match="ends too early"):
        read(stored)


@pytest.mark.parametrize(
    "stored",
    [
        gzip.compress(TEXT)[:-8] + bytes(8),
        gzip.compress(TEXT) + b"something else",
        b"\x1f\x8b\x07" + gzip.compress(TEXT)[3:],
        zstd.compress(TEXT) + b"something else",
        zstd.compress(TEXT, options={zstd.CompressionParameter.checksum_flag: 1})[:-4] + b"\1\2\3\4",
        zstd.compress(TEXT)[:200] + b"\xff" * 2000,
    ],
)
def test_a_damaged_stream_is_refused(stored: bytes) -> None:
    with pytest.raises(InvalidLayer, match=r"is damaged|ends too early"):
        read(stored)


@given(st.data(), st.sampled_from([gzip.compress, zstd.compress]))
def test_any_damage_is_read_or_refused(data: st.DataObject, store: Callable[[bytes], bytes]) -> None:
    stored = bytearray(store(TEXT[:3000]))
    for offset in data.draw(st.lists(st.integers(0, len(stored) - 1), min_size=1, max_size=5)):
        stored[offset] = data.draw(st.integers(0, 255))
    try:
        read(bytes(stored))
    except InvalidLayer as refused:
        assert refused.message.endswith(".")


def test_a_window_larger_than_memory_allows_is_refused() -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    stored = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(InvalidLayer, match="zstd stream is damaged"):
        read(stored)


@pytest.mark.parametrize("store", [lambda data: zlib.compress(data, 9, 31), zstd.compress])
def test_a_bomb_goes_off_in_a_small_room(store: Callable[[bytes], bytes]) -> None:
    stored = store(bytes(300 << 20))
    taken = 0
    with pytest.raises(ImageTooLarge, match="more than 200 times its size"):
        for piece in inflated(chunks(stored, 4000), Limits()):
            taken += len(piece)
    assert taken <= (64 << 20) + PIECE
    assert sum(map(len, inflated(chunks(stored, 4000), Limits(ratio=100_000)))) == 300 << 20


def test_a_small_layer_may_be_all_zeros() -> None:
    assert read(gzip.compress(bytes(10 << 20)), size=4000) == bytes(10 << 20)


def test_pieces_made_ahead_are_the_same_and_so_is_what_goes_wrong() -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"%d" % number for number in range(100))
        raise InvalidLayer("at the end")

    taken: list[bytes] = []
    with ahead(pieces()) as made, pytest.raises(InvalidLayer, match="at the end"):
        taken += made
    with ahead(pieces()) as made:
        taken += [next(made) for _ in range(50)]
        with pytest.raises(InvalidLayer):
            list(made)
    assert taken[-50:] == [b"%d" % number for number in range(50)]


def test_pieces_that_nobody_wants_are_not_waited_for() -> None:
    endless = (b"x" for _ in iter(int, 1))
    with ahead(endless) as made:
        assert next(made) == b"x"


@given(st.lists(st.binary(min_size=1, max_size=9)), st.lists(st.integers(0, 20)))
def test_a_stream_is_read_in_exact_pieces(pieces: list[bytes], sizes: list[int]) -> None:
    whole, stream, at = b"".join(pieces), Stream(pieces), 0
    for size in sizes:
        if at + size > len(whole):
            with pytest.raises(InvalidLayer, match="ends too early"):
                stream.read(size)
            return
        assert stream.read(size) == whole[at : at + size]
        at += size
        assert stream.offset == at
    assert stream.at_end() == (at == len(whole))
    stream.drain()
    assert stream.offset == len(whole)
