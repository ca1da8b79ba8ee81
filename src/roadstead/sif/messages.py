"""What passes between a converter's process and its parent, over one Unix socket.

Each message is a frame: its length in four bytes, little-endian, and MessagePack. The parent sends a Task first; after that it sends only
pieces of the inputs, as frames of bare bytes, one for each Ask and in the order of asking. The child sends Ask and Told as it likes, and
Done or Failed last.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from roadstead.oci.digest import Digest
from roadstead.sif.orders import Answer, Means, Order

LENGTH_BYTES: Final = 4
PIECE: Final = 1 << 20
"""Bytes that are asked for at once, at most."""
AHEAD: Final = 8
"""Pieces of one input that are asked for before they are needed, so that a store far away is asked for several at once."""
MOST_ASKED: Final = 32
"""Pieces that the parent has under way at once. It listens to nothing more before one of them is sent."""
LARGEST_MESSAGE: Final = 1 << 20
"""Bytes that a message of the child may have. A longer one ends it."""


class Task(msgspec.Struct, frozen=True):
    """The order, its means, and the size of each input in bytes."""

    order: Order
    means: Means
    sizes: tuple[int, ...]


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """`length` bytes (1 to PIECE) of an input, from `offset`."""

    input: int
    offset: int
    length: int


class Told(msgspec.Struct, frozen=True, tag="told"):
    """How far it has come (0 to 1, None: not known), and a line for the log, or none where it is empty."""

    done: float | None = None
    line: str = ""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The answer; the output is written. `peak` is the most memory that was in use, in bytes."""

    answer: Answer
    peak: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The order was refused or failed: an error of the project's tree by the name of its class."""

    kind: str
    message: str


FromChild = Ask | Told | Done | Failed


def encode(message: Task | FromChild) -> bytes:
    """A message as a frame."""
    return frame(_ENCODER.encode(message))


def decode_task(content: bytes) -> Task:
    """What the parent sent first."""
    return _TASK.decode(content)


def decode_message(content: bytes) -> FromChild:
    """What the child said. Raises msgspec.MsgspecError if it makes no sense."""
    return _FROM_CHILD.decode(content)


def frame(content: bytes) -> bytes:
    """The content behind its length."""
    return len(content).to_bytes(LENGTH_BYTES, "little") + content


def _plain(value: Any) -> str:
    """A Digest is written as the text that it is."""
    return str(value)


def _special(kind: type, value: Any) -> Any:
    if kind is Digest:
        return Digest.parse(value)
    raise NotImplementedError(kind)


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_plain)
_TASK: Final = msgspec.msgpack.Decoder(Task, dec_hook=_special)
_FROM_CHILD: Final[msgspec.msgpack.Decoder[FromChild]] = msgspec.msgpack.Decoder(FromChild, dec_hook=_special)
