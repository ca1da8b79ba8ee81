"""`roadstead convert`: an image in files to a SIF, or a SIF to an OCI layout, as the server does it, without a server."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from roadstead.errors import Conflict, InvalidInput, StorageFull, StoreFailed, Unavailable
from roadstead.oci.digest import Digest
from roadstead.sif.compression import usual
from roadstead.sif.convert import Conversion
from roadstead.sif.format import MAGIC
from roadstead.sif.inputs import file_input
from roadstead.sif.layout import write_layout
from roadstead.sif.on_disk import open_image
from roadstead.sif.orders import Means, ToOci, ToSif
from roadstead.sif.process import Tell, run

_MAGIC_AT: Final = 32
_FORM: Final = re.compile("^(oci|oci-archive|docker-archive):")
_STEP: Final = 0.1  # Without a terminal, progress is told each time it has grown by this much.


class Asked(msgspec.Struct, frozen=True):
    """What is to be converted, and how."""

    source: str
    output: Path | None
    platform: str | None
    compression: Literal["gzip", "zstd"]
    threads: int | None
    force: bool


class Converted(msgspec.Struct, frozen=True):
    """What was made: a SIF with its digest, or a layout with the digest of its manifest; `size` in bytes."""

    path: str
    size: int
    digest: Digest
    seconds: float


def convert(asked: Asked, *, as_json: bool) -> None:
    """Convert, tell how far it is on standard error, and print what was made. Raises an error of the tree."""
    begun = time.monotonic()
    if not _FORM.match(asked.source) and not Path(asked.source).exists():
        raise InvalidInput(f"{asked.source} cannot be read: No such file or directory.")
    is_sif = _is_sif(Path(asked.source))
    target = (asked.output or _default_output(asked.source, is_sif)).absolute()
    if target.exists() and not asked.force:
        raise Conflict(f"{target} is there already; --force replaces it.")
    means = Means(threads=asked.threads or len(os.sched_getaffinity(0)))
    with _telling() as tell, _beside(target) as partial:
        making = _to_layout(asked, partial, target, means, tell) if is_sif else _to_sif(asked, partial, means, tell)
        size, digest = asyncio.run(_until_stopped(making))
    made = Converted(str(target), size, digest, round(time.monotonic() - begun, 3))
    text = msgspec.json.encode(made, enc_hook=str).decode() if as_json else f"{made.path}: {made.size} bytes, {made.digest}"
    sys.stdout.write(text + "\n")


def _is_sif(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(MAGIC)).endswith(MAGIC)
    except OSError:
        return False


def _default_output(source: str, is_sif: bool) -> Path:
    """In the present directory, named as the source is."""
    name = _FORM.sub("", source).rstrip("/").rpartition("/")[2].replace(":", "-")
    return Path(f"{name.removesuffix('.sif')}-oci" if is_sif else f"{name.removesuffix('.tar')}.sif")


async def _to_sif(asked: Asked, partial: Path, means: Means, tell: Tell) -> tuple[int, Digest]:
    image = await asyncio.to_thread(open_image, asked.source, asked.platform)
    order = ToSif(image.digest, image.configuration, Conversion(usual(asked.compression)))
    with partial.open("x+b") as file:
        made = await run(order, image.layers, file, means, tell)
        return made.size, await asyncio.to_thread(_finished, file)


async def _to_layout(asked: Asked, partial: Path, target: Path, means: Means, tell: Tell) -> tuple[int, Digest]:
    with tempfile.TemporaryFile(dir=partial.parent) as file:
        made = await run(ToOci(), [file_input(Path(asked.source))], file, means, tell)
        layer = await asyncio.to_thread(_digest, file)
        digest = await asyncio.to_thread(write_layout, partial, made.configuration, file, layer, "latest")
        return file.seek(0, os.SEEK_END), digest


def _finished(file: BinaryIO) -> Digest:
    """The digest of a SIF that is durable then, and that whoever may read it may run like a program."""
    mode = os.fstat(file.fileno()).st_mode
    os.fchmod(file.fileno(), mode | (mode & 0o444) >> 2)
    os.fsync(file.fileno())
    return _digest(file)


def _digest(file: BinaryIO) -> Digest:
    running = hashlib.sha256()
    file.seek(0)
    while piece := file.read(1 << 20):
        running.update(piece)
    return Digest(f"sha256:{running.hexdigest()}")


async def _until_stopped(making: Coroutine[Any, Any, tuple[int, Digest]]) -> tuple[int, Digest]:
    """The result. SIGTERM breaks it off as SIGINT does, so that nothing is left half done."""
    task = asyncio.create_task(making)
    ended = asyncio.Event()

    def end() -> None:
        ended.set()
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError:
        if not ended.is_set():
            raise
        raise Unavailable("The conversion was broken off.") from None


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A name beside the target that becomes the target at the end; whatever lies there is removed if that is not reached."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield partial
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        partial.replace(target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StorageFull if full else StoreFailed)(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


@contextmanager
def _telling() -> Iterator[Tell]:
    """Tells how far it is: on a terminal by a bar, else by lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("converting", total=1.0)
        yield lambda done, line: progress.update(bar, completed=done, description=line or None)


class _Lines:
    """A line for each step and each tenth."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0.0

    def __call__(self, done: float | None, line: str) -> None:
        if line:
            self._console.print(line, highlight=False)
        if done is not None and done >= self._told + _STEP:
            self._told = done
            self._console.print(f"{done:.0%}", highlight=False)
