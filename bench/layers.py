"""Layers of real files: this machine's own programs and libraries, or many small files, packed as an image build packs them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

SOURCE: Final = Path("/usr")
_GZIP_LEVEL: Final = 6
_PYTHON_LINES: Final = 60


class PackedLayer(msgspec.Struct, frozen=True):
    """A layer as it is pushed: its file, digest and size (bytes) compressed, and the digest and size of the tar."""

    path: Path
    digest: str
    size: int
    diff_id: str
    unpacked: int


def installed_files(largest: int = 64 << 20) -> Iterator[Path]:
    """Files and links in an order that is the same every time, without those of more than `largest` bytes, which would be most of it."""
    for folder, folders, files in os.walk(SOURCE):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_symlink() or (path.is_file() and path.lstat().st_size <= largest):
                yield path


def pack_files(path: Path, files: Iterable[Path]) -> PackedLayer:
    """A layer of these files of this machine."""
    with _archive(path) as (archive, packed):
        for file in files:
            archive.add(file, file.relative_to("/"), recursive=False)
    return packed[0]


def pack_small_files(path: Path, number: int, seed: int) -> PackedLayer:
    """A layer of so many files of a few kilobytes, a hundred in each directory, that look like Python."""
    chance = random.Random(seed)
    words = ["def", "return", "self", "import", "value", "index", "array", "result", "lambda", "yield", "class", "numpy", "None", "shape"]
    with _archive(path) as (archive, packed):
        for one in range(number):
            lines = (" ".join(chance.choices(words, k=8)) + f" = {chance.random()}" for _ in range(chance.randrange(_PYTHON_LINES)))
            content = "\n".join(lines).encode()
            member = tarfile.TarInfo(f"opt/small/directory-{one // 100:04}/file-{one:06}.py")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed[0]


@contextmanager
def _archive(path: Path) -> Iterator[tuple[tarfile.TarFile, list[PackedLayer]]]:
    """A gzipped tar to be filled; what it became stands in the list afterwards."""
    packed: list[PackedLayer] = []
    with path.open("wb") as file:
        stored = _Hashed(file)
        with gzip.GzipFile(fileobj=stored, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0, filename="") as compressed:
            plain = _Hashed(compressed)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                yield archive, packed
    packed.append(PackedLayer(path, stored.digest, stored.size, plain.digest, plain.size))


class _Hashed(io.RawIOBase):
    """Hands on what is written, and knows its digest and size."""

    def __init__(self, output: io.BufferedIOBase | gzip.GzipFile) -> None:
        self._output = output
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override] # whoever writes here writes bytes
        self._hash.update(data)
        self.size += len(data)
        return self._output.write(data)
