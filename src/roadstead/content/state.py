"""How stores write the states of their uploads: MessagePack, read back only by the same kind of store."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from roadstead.content.store import Progress, UploadState
from roadstead.errors import UploadUnknown


class OffsetState(Protocol):
    """Any store's state: a msgspec struct that knows how far the upload has come."""

    @property
    def offset(self) -> int:
        """Bytes."""
        ...


State = TypeVar("State", bound=OffsetState)


def progress(state: OffsetState) -> Progress:
    """The Progress that stands at `state`."""
    return Progress(UploadState(msgspec.msgpack.encode(state)), state.offset)


def decode(state: UploadState, kind: type[State]) -> State:
    """Raises UploadUnknown for the state of another kind of store, left over from before the settings were changed."""
    try:
        return msgspec.msgpack.decode(state, type=kind)
    except msgspec.DecodeError:
        raise UploadUnknown from None
