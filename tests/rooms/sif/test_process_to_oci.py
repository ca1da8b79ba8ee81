"""Images made of SIFs in a process of their own, which reads the file by ranges."""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from roadstead.errors import InvalidSif, NotConvertible
from roadstead.sif.format import FileSystem
from roadstead.sif.inputs import Input
from roadstead.sif.orders import ImageMade, Means, ToOci
from roadstead.sif.process import run
from roadstead.sif.to_oci import Layering, to_oci
from tests.rooms.sif.archives import entry
from tests.rooms.sif.sifs import sif, squashfs

MEANS = Means(seconds=60)


@pytest.fixture
def output() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def given(content: bytes) -> list[Input]:
    async def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    return [Input(len(content), read)]


async def test_the_same_image_is_made_as_in_this_process(output: BinaryIO) -> None:
    """Of a few pages, so that some are asked for ahead, and the tables at the end before them."""
    noise = random.Random(3).randbytes(5 << 20)
    data = sif(squashfs(entry("noise", noise), entry("small", b"x"), *[entry(f"many/{n}", b"%d" % n) for n in range(300)]))
    here = io.BytesIO()
    wanted = to_oci(lambda offset, length: data[offset : offset + length], len(data), here, Layering())
    told: list[float | None] = []
    made = await run(ToOci(), given(data), output, MEANS, lambda done, line: told.append(done))
    assert made == ImageMade(wanted.configuration, wanted.size, wanted.diff_id)
    output.seek(0)
    assert output.read() == here.getvalue()
    shares = [share for share in told if share is not None]
    assert shares == sorted(shares)
    assert len(shares) > 4


async def test_a_sif_that_cannot_be_an_image_is_refused(output: BinaryIO) -> None:
    with pytest.raises(NotConvertible, match="is encrypted"):
        await run(ToOci(), given(sif(b"x" * 5000, system=FileSystem.ENCRYPTED_SQUASHFS)), output, MEANS)
    with pytest.raises(InvalidSif, match="magic number"):
        await run(ToOci(), given(sif(b"x" * 5000)), output, MEANS)
