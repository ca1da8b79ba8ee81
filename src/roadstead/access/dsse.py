"""The envelope that a signature is wrapped in where the key is not OpenPGP's (DSSE version 1, github.com/secure-systems-lab/dsse)."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

_MOST: Final = 16
_STANDARD: Final = str.maketrans("-_", "+/")


class Signature(msgspec.Struct, frozen=True):
    """One of an envelope's signatures. `keyid` only hints at the key, as nobody has signed it; a hostile envelope is to
    cost no more tries than it names keys, so that "" is nobody's."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """What is written, both texts in base64."""

    payload_type: str
    payload: str
    signatures: tuple[Signature, ...]


class Wrapped(msgspec.Struct, frozen=True):
    """What the envelope carries, and its signatures, each with the id of the key that it names, or ""."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    @property
    def signed(self) -> bytes:
        """The bytes that are signed (the protocol's pre-authentication encoding)."""
        named = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(named), named, len(self.payload), self.payload)


def parse(message: bytes | str, payload_type: str) -> Wrapped:
    """Read an envelope of that type. Raises ValueError, with what is wrong in a sentence."""
    try:
        envelope = msgspec.json.decode(message, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("It is no envelope of a signature.") from error
    if envelope.payload_type != payload_type:
        raise ValueError("It is an envelope of something else.")
    if not 0 < len(envelope.signatures) <= _MOST:
        raise ValueError(f"The envelope has {len(envelope.signatures)} signatures, and 1 to {_MOST} are read.")
    return Wrapped(payload_type, _bytes(envelope.payload), tuple((one.keyid, _bytes(one.sig)) for one in envelope.signatures))


def _bytes(text: str) -> bytes:
    """Base64 of either alphabet: the protocol allows both."""
    try:
        return base64.b64decode(text.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("It is no envelope of a signature: not everything in it is base64.") from error
