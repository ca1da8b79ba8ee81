"""Running hashes whose state can be put away and taken up again, by another process too.

hashlib cannot export the state of a hash. libcrypto's SHA256_* and SHA512_* functions keep theirs in a plain struct (SHA256_CTX of 112
bytes, SHA512_CTX of 216), which can be copied out and in; called through ctypes they run at hashlib's speed and let go of the interpreter
lock. The struct's layout is no public promise, therefore

* the functions are used only after they proved themselves against hashlib, across an export and an import, in this process;
* an exported state carries a marker of the library and machine that wrote it, and is ignored by any other.

Where a state cannot be exported or is ignored, nothing is wrong: whoever seals the content reads it again.
"""

from __future__ import annotations

import _hashlib
import contextlib
import ctypes
import functools
import hashlib
import platform
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from roadstead.errors import UnsupportedAlgorithm
from roadstead.oci.digest import Digest

ALWAYS = "sha256"
"""The algorithm by which all content is hashed, whatever else is asked for."""


class HashStates(msgspec.Struct, frozen=True):
    """Exported hashes: the state of each algorithm, readable by a process of the same `marker`."""

    marker: str = ""
    states: dict[str, bytes] = {}


class RunningHash(Protocol):
    """A hash that is being fed."""

    def update(self, data: bytes, /) -> None:
        """Feed `data`. Lets go of the interpreter lock."""

    def hexdigest(self) -> str:
        """The hash of all data so far, which may be followed by more."""

    def export(self) -> bytes | None:
        """The state, for one who continues; None if it cannot be had."""


class Layout(msgspec.Struct, frozen=True):
    """How libcrypto names and lays out one algorithm. Sizes in bytes."""

    prefix: str
    context: int
    digest: int


LAYOUTS = {
    "sha256": Layout("SHA256", 112, 32),
    "sha512": Layout("SHA512", 216, 64),
}
"""The algorithms that content can be hashed by."""


class _PlainHash:
    """A hash by hashlib: always there, never exportable."""

    def __init__(self, algorithm: str) -> None:
        self._hash = hashlib.new(algorithm)

    def update(self, data: bytes, /) -> None:
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def export(self) -> bytes | None:
        return None


class _ResumableHash:
    """A hash by libcrypto's own functions, begun afresh or where `state` left off."""

    def __init__(self, library: ctypes.CDLL, layout: Layout, state: bytes | None = None) -> None:
        self._layout = layout
        self._library = library
        self._update = _function(library, layout, "Update")
        self._context = ctypes.create_string_buffer(layout.context)
        if state is None:
            _function(library, layout, "Init")(self._context)
        else:
            self._context.raw = state

    def update(self, data: bytes, /) -> None:
        self._update(self._context, data, len(data))

    def hexdigest(self) -> str:
        last = ctypes.create_string_buffer(self._context.raw, self._layout.context)
        digest = ctypes.create_string_buffer(self._layout.digest)
        _function(self._library, self._layout, "Final")(digest, last)
        return digest.raw.hex()

    def export(self) -> bytes | None:
        return self._context.raw


class Hashes:
    """The hashes of one stream of bytes, fed together.

    `algorithms` are those that have seen the stream from its first byte; any other has to be computed by reading the content again.
    """

    def __init__(self, running: dict[str, RunningHash]) -> None:
        self._running = running

    @classmethod
    def begin(cls, algorithms: Iterable[str]) -> Hashes:
        """Hashes of a stream that has not begun, by exactly these algorithms."""
        return cls({algorithm: _begin(algorithm) for algorithm in algorithms})

    @classmethod
    def restore(cls, offset: int, algorithms: Iterable[str], exported: HashStates) -> Hashes:
        """The hashes of a stream that stands at `offset`: at 0 all of `algorithms`, later those that were exported.

        If another kind of process exported them, that is none.
        """
        if offset == 0:
            return cls.begin(algorithms)
        library = _libcrypto()
        if library is None or exported.marker != marker():
            return cls({})
        return cls(
            {
                algorithm: _ResumableHash(library, LAYOUTS[algorithm], state)
                for algorithm, state in exported.states.items()
                if algorithm in LAYOUTS and len(state) == LAYOUTS[algorithm].context
            }
        )

    @property
    def algorithms(self) -> frozenset[str]:
        """Those that have seen the stream from its first byte."""
        return frozenset(self._running)

    def update(self, data: bytes) -> None:
        """Feed `data` to all of them. Blocks for about 0.5 ms per MiB and algorithm, without the interpreter lock."""
        for running in self._running.values():
            running.update(data)

    def digests(self) -> dict[str, Digest]:
        """The digest by each algorithm, of what has been fed so far."""
        return {algorithm: Digest.from_hash(algorithm, running.hexdigest()) for algorithm, running in self._running.items()}

    def export(self) -> HashStates:
        """The states of those that can be exported."""
        states = {algorithm: state for algorithm, running in self._running.items() if (state := running.export()) is not None}
        return HashStates(marker(), states)


def wanted(algorithms: Iterable[str]) -> frozenset[str]:
    """The algorithms to hash by when `algorithms` are asked for. Raises UnsupportedAlgorithm."""
    every = frozenset({ALWAYS, *algorithms})
    if not every <= LAYOUTS.keys():
        raise UnsupportedAlgorithm
    return every


@functools.cache
def marker() -> str:
    """Which processes understand each other's states: those with the same libcrypto on the same kind of machine. "" for none."""
    library = _libcrypto()
    if library is None:
        return ""
    library.OpenSSL_version.restype = ctypes.c_char_p
    return f"{library.OpenSSL_version(0).decode()} {platform.machine()}"


def _begin(algorithm: str) -> RunningHash:
    library = _libcrypto()
    return _PlainHash(algorithm) if library is None else _ResumableHash(library, LAYOUTS[algorithm])


@functools.cache
def _libcrypto() -> ctypes.CDLL | None:
    """The first libcrypto at hand whose functions prove to work; None where there is none."""
    return next((library for library in _candidates() if _proven(library)), None)


def _candidates() -> Iterator[ctypes.CDLL]:
    """The libcrypto that hashlib itself is linked to (found through its module's dependencies), then the system's."""
    for name in (_hashlib.__file__, "libcrypto.so.3", "libcrypto.so.1.1"):
        with contextlib.suppress(OSError):
            yield ctypes.CDLL(name)


def _proven(library: ctypes.CDLL) -> bool:
    """Whether `library` hashes as hashlib does, and goes on hashing from an exported state."""
    try:
        return all(_agrees(library, algorithm, layout) for algorithm, layout in LAYOUTS.items())
    except AttributeError:
        return False


def _agrees(library: ctypes.CDLL, algorithm: str, layout: Layout) -> bool:
    if _overruns(library, layout):
        return False
    sample = bytes(range(256)) * 3
    # The parts end inside a block of 64 and of 128 bytes, so that the state holds a half-filled block.
    first = _ResumableHash(library, layout)
    first.update(sample[:333])
    second = _ResumableHash(library, layout, first.export())
    second.update(sample[333:])
    return second.hexdigest() == hashlib.new(algorithm, sample).hexdigest()


def _overruns(library: ctypes.CDLL, layout: Layout) -> bool:
    """Whether the struct is larger than we believe: then Init or Update would write past its end."""
    guard = b"\xa5" * 256
    room = ctypes.create_string_buffer(bytes(layout.context) + guard, layout.context + len(guard))
    _function(library, layout, "Init")(room)
    _function(library, layout, "Update")(room, b"roadstead", 9)
    return room.raw[layout.context :] != guard


def _function(library: ctypes.CDLL, layout: Layout, verb: str) -> Callable[..., int]:
    function = getattr(library, f"{layout.prefix}_{verb}")
    function.argtypes = SIGNATURES[verb]
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


SIGNATURES = {
    "Init": [ctypes.c_void_p],
    "Update": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
    "Final": [ctypes.c_void_p, ctypes.c_void_p],
}
"""int SHA256_Init(SHA256_CTX *), SHA256_Update(SHA256_CTX *, const void *, size_t), SHA256_Final(unsigned char *, SHA256_CTX *)."""
