"""Conversions in a process of their own: the same bytes as in this one, what is wrong with an image, and what happens to a process."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import BinaryIO

import pytest
from isal import igzip

from roadstead.sif.convert import Conversion, Source, convert
from roadstead.sif.inputs import Input
from roadstead.sif.orders import Means, SifMade, ToSif
from roadstead.sif.process import run
from tests.rooms.sif.archives import archive, entry
from tests.rooms.sif.test_convert import LOWER, UPPER, image

MEANS = Means(seconds=60)


@pytest.fixture
def output() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def given(*contents: bytes) -> list[Input]:
    """Inputs that lie in memory."""
    return [Input(len(content), _reader(content)) for content in contents]


def _reader(content: bytes) -> Callable[[int, int], Awaitable[bytes]]:
    async def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    return read


def layers_of(source: Source) -> list[bytes]:
    return [b"".join(opened()) for opened in source.layers]


def order_for(source: Source, how: Conversion | None = None) -> ToSif:
    return ToSif(source.digest, source.configuration, how or Conversion())


def written(output: BinaryIO) -> bytes:
    output.seek(0)
    return output.read()


def converted_here(source: Source) -> bytes:
    made = io.BytesIO()
    convert(source, made, Conversion())
    return made.getvalue()


BIG = archive([entry(f"file {number}", os.urandom(1 << 20)) for number in range(24)])


@pytest.mark.parametrize("tars", [(), (LOWER,), (LOWER, UPPER), (BIG, LOWER, BIG)])
async def test_the_bytes_are_those_of_a_conversion_in_this_process(output: BinaryIO, tars: Sequence[bytes]) -> None:
    source = image(*tars, store=igzip.compress)
    made = await run(order_for(source), given(*layers_of(source)), output, MEANS)
    assert written(output) == converted_here(source)
    assert made == SifMade(os.fstat(output.fileno()).st_size, "amd64", 1577930645)
