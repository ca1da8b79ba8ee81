"""Signatures of a SIF: whether its bytes are what was signed, and whether a key has signed that.

A signature is a data object that is linked to the group of objects which it covers. It holds digests of the fields of the header that never
change, of the descriptors and of the objects' bytes, as JSON that is clear-signed by OpenPGP or wrapped in a DSSE envelope
(github.com/apptainer/sif `pkg/integrity`). Of these two questions the first needs all bytes, never changes, and is answered when the SIF
is pushed; the second needs a few hundred bytes, and is answered anew each time, as keys come, expire and are revoked.

The keys of OpenPGP are the key server's. A DSSE envelope is asked for the public keys and certificates that a project trusts. What signs
nothing but bytes, as Singularity did before version 3.6, is not judged.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from roadstead.access import dsse, openpgp
from roadstead.access.clock import Clock
from roadstead.access.public_keys import PublicKey
from roadstead.access.verdicts import State, Verdict, best, in_time, not_made
from roadstead.errors import InvalidInput
from roadstead.sif.facts import Read, SignatureFacts
from roadstead.sif.format import DESCRIPTOR, HEADER, DataType, PartitionType

PAYLOAD_TYPE: Final = "application/vnd.sylabs.sif-metadata+json"
"""What an envelope in a SIF carries."""

LONGEST: Final = 64 * 1024
"""Bytes of a signature that are read."""

_LONGEST_TOGETHER: Final = 256 * 1024
_MOST: Final = 64
_PIECE: Final = 8 * 1024 * 1024
_GROUP: Final = 0xF0000000
_PARTITION: Final = struct.Struct("<ii")  # File system, use.
_PRIMARY: Final = int(PartitionType.PRIMARY_SYSTEM)
_PROTECTED: Final = struct.Struct("<i?IIqqqq")  # Type, used, identifier from 0, link, size, created, user, group of the file.
_ALGORITHMS: Final = {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
_CLEAR_SIGNED: Final = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE: Final = b"-----BEGIN PGP SIGNATURE-----"
_LONGEST_ID: Final = 64


class _Header(msgspec.Struct, frozen=True):
    digest: str


class _Covered(msgspec.Struct, frozen=True, rename="camel"):
    relative_id: int
    descriptor_digest: str
    object_digest: str


class _Signed(msgspec.Struct, frozen=True):
    """What is signed."""

    version: int
    header: _Header
    objects: tuple[_Covered, ...]


class _Entry(NamedTuple):
    """One used place of the table, as it is written."""

    kind: int
    used: bool
    identifier: int
    group: int
    link: int
    offset: int
    size: int
    size_with_padding: int
    created: int
    modified: int
    user: int
    owner_group: int
    name: bytes
    detail: bytes

    def protected(self, least: int) -> bytes:
        """The fields that a signature covers; identifiers count from the least of the group, so that objects may be moved as one."""
        numbers = (self.kind, self.used, self.identifier - least, self.link, self.size, self.created, self.user, self.owner_group)
        return _PROTECTED.pack(*numbers) + self.name + self.detail


class _Fault(Exception):
    """The signature does not hold for these bytes."""


async def check_signatures(read: Read, size: int) -> tuple[SignatureFacts, ...]:
    """The signatures of a sound SIF in a file of `size` bytes, with what is wrong with them for these bytes (`fault`).

    Reads every object that is signed, once, whatever the number of signatures and of their algorithms. At most 64 signatures are looked at.
    """
    container = _Container(read, size)
    await container.open()
    found, together = [], 0
    for entry in [one for one in container.entries if one.kind == DataType.SIGNATURE][:_MOST]:
        together += entry.size
        found.append(await container.look(entry, kept=together <= _LONGEST_TOGETHER))
    await container.hash([said for _, signed in found if signed is not None for said in signed.items()])
    return tuple([facts if signed is None else container.compared(facts, signed) for facts, signed in found])


_Objects = Mapping[int, str]
"""By the identifiers of objects, what a signature says that their digests are."""


class _Container:
    """Header and table as they are written, and the digests of objects that were asked for."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._header = b""
        self.entries: list[_Entry] = []
        self._digests: dict[tuple[str, int], str] = {}

    async def open(self) -> None:
        """Read the tables of a container that is known to be sound."""
        header = await self._read(0, HEADER.size)
        launch, magic, version, _, identity, _, _, _, places, table, *_ = HEADER.unpack(header)
        self._header = launch + magic + version + identity
        raw = await self._read(table, places * DESCRIPTOR.size)
        self.entries = [_Entry(*fields) for fields in DESCRIPTOR.iter_unpack(raw) if fields[1]]

    async def look(self, signature: _Entry, *, kept: bool) -> tuple[SignatureFacts, _Objects | None]:
        """One signature, and the objects that are to be compared with it; None where it is judged. What is too long to be `kept` is not
        looked at."""
        hashed, fingerprint = struct.unpack_from("<i20s", signature.detail)
        key = fingerprint.hex().upper() if any(fingerprint) else None
        name = {1: "sha256", 2: "sha384", 3: "sha512", 4: "blake2s", 5: "blake2b"}.get(hashed, str(hashed))
        group = signature.link & ~_GROUP if signature.link & _GROUP == _GROUP else None
        if signature.size > LONGEST or not kept:
            return SignatureFacts(name, key, group=group, fault="It is too long to be looked at."), None
        message = await self._read(signature.offset, signature.size)
        kind = _kind(message)
        if kind is None:
            return SignatureFacts(name, key, group=group), None
        try:
            text, signed = message.decode(), _signed(_payload(message) if kind == "pgp" else _wrapped(message).payload)
            objects = self._compare(signed, group)
        except (_Fault, UnicodeDecodeError) as fault:
            reason = str(fault) if isinstance(fault, _Fault) else "It is no text."
            return SignatureFacts(name, key, group=group, kind=kind, fault=reason), None
        return SignatureFacts(name, key, group=group, kind=kind, message=text, primary=self._holds_root(group)), objects

    def _holds_root(self, group: int | None) -> bool:
        """Whether the root file system that would run is in the group. Of several none is known to be it."""
        roots = [one for one in self.entries if one.kind == DataType.PARTITION and _PARTITION.unpack_from(one.detail)[1] == _PRIMARY]
        return len(roots) == 1 and roots[0].group & ~_GROUP == group

    def _compare(self, signed: _Signed, group: int | None) -> _Objects:
        """The objects of the group, if they are those that were signed, and header and descriptors are what was. Raises _Fault."""
        members = [one for one in self.entries if one.group & ~_GROUP == group and one.kind != DataType.SIGNATURE]
        if group is None or not members:
            raise _Fault("It signs no group of objects.")
        least = min(one.identifier for one in members)
        covered = {least + one.relative_id: one for one in signed.objects}
        if len(covered) != len(signed.objects) or set(covered) != {one.identifier for one in members}:
            raise _Fault("It does not sign all objects of its group, or others that are not there.")
        self._require(signed.header.digest, self._header, "the header")
        for one in members:
            said = covered[one.identifier]
            self._require(said.descriptor_digest, one.protected(least), f"the descriptor of object {one.identifier}")
            _algorithm(said.object_digest)
        return {one.identifier: covered[one.identifier].object_digest for one in members}

    def _require(self, digest: str, content: bytes, what: str) -> None:
        algorithm = _algorithm(digest)
        if f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" != digest:
            raise _Fault(f"{what[0].upper()}{what[1:]} is not what was signed.")

    async def hash(self, wanted: Iterable[tuple[int, str]]) -> None:
        """Learn the digests that objects have by the algorithms of those that are said of them: each is read once."""
        algorithms: dict[int, set[str]] = {}
        for identifier, digest in wanted:
            algorithms.setdefault(identifier, set()).add(_algorithm(digest))
        for entry in self.entries:
            if entry.identifier in algorithms:
                hashers = {algorithm: hashlib.new(algorithm) for algorithm in algorithms[entry.identifier]}
                await self._feed(entry, tuple(hashers.values()))
                self._digests |= {(algorithm, entry.identifier): f"{algorithm}:{one.hexdigest()}" for algorithm, one in hashers.items()}

    async def _feed(self, entry: _Entry, hashers: Sequence[hashlib._Hash]) -> None:
        """All of an object's bytes; while a piece is hashed the next one is read."""
        end = entry.offset + entry.size
        piece = b""
        for offset in range(entry.offset, end, _PIECE):
            piece, _ = await asyncio.gather(self._read(offset, min(_PIECE, end - offset)), asyncio.to_thread(_update, hashers, piece))
        await asyncio.to_thread(_update, hashers, piece)

    def compared(self, facts: SignatureFacts, objects: _Objects) -> SignatureFacts:
        """A signature as it is worth once the objects are hashed."""
        for identifier, said in objects.items():
            if self._digests[_algorithm(said), identifier] != said:
                fault = f"Object {identifier} is not what was signed."
                return msgspec.structs.replace(facts, message=None, primary=False, fault=fault)
        return facts


def _update(hashers: Iterable[hashlib._Hash], piece: bytes) -> None:
    for hasher in hashers:
        hasher.update(piece)


def _kind(message: bytes) -> str | None:
    if message.startswith(_CLEAR_SIGNED):
        return "pgp"
    return "dsse" if message.lstrip().startswith(b"{") else None


def _wrapped(message: bytes) -> dsse.Wrapped:
    try:
        return dsse.parse(message, PAYLOAD_TYPE)
    except ValueError as error:
        raise _Fault(str(error)) from error


def _algorithm(digest: str) -> str:
    algorithm = _ALGORITHMS.get(digest.partition(":")[0])
    if algorithm is None:
        raise _Fault("It uses a digest that is not known here.")
    return algorithm


def _signed(payload: bytes) -> _Signed:
    if payload.startswith(b"SIFHASH:"):
        raise _Fault("It is of an old form, which signs neither header nor descriptors.")
    try:
        signed = msgspec.json.decode(payload, type=_Signed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _Fault("What it signs cannot be read.") from error
    if signed.version != 1:
        raise _Fault(f"It is of version {signed.version}, and only 1 is known.")
    return signed


def _payload(message: bytes) -> bytes:
    """What a clear-signed message says (RFC 9580 §7), read without a key. Whoever judges it compares this with what was signed."""
    head, found, rest = message.replace(b"\r\n", b"\n").partition(b"\n\n")
    text, ended, _ = rest.partition(b"\n" + _SIGNATURE)
    if not found or not ended or _SIGNATURE in head:
        raise _Fault("It is no clear-signed message.")
    return b"\n".join(line.removeprefix(b"- ") for line in text.split(b"\n"))


def judge(found: SignatureFacts, certificates: Iterable[bytes], clock: Clock, public_keys: Iterable[PublicKey] = ()) -> Verdict:
    """What a signature is worth now, with these keys: binary ones of OpenPGP, and those that an envelope is asked for.

    Costs one verification, about a millisecond; an envelope, one for each key that it names.
    """
    if found.fault is not None:
        return Verdict(State.ALTERED, found.fingerprint, reason=found.fault)
    if found.kind == "dsse" and found.message is not None:
        return _enveloped(found, dsse.parse(found.message, PAYLOAD_TYPE), public_keys, clock)
    if found.kind != "pgp" or found.message is None:
        return Verdict(State.UNSUPPORTED, found.fingerprint, reason="Signatures of this kind are not verified here.")
    message = found.message.encode()
    keys = _known(certificates)
    key = keys.get((found.fingerprint or "").lower())
    signed_at = openpgp.signature_time(message)
    if key is None:
        return Verdict(State.UNKNOWN_KEY, found.fingerprint, signed_at, "No key of this fingerprint is known here.")
    if key.revoked:
        return Verdict(State.REVOKED_KEY, found.fingerprint, signed_at, "The key has been revoked.")
    if key.expires_at is not None and key.expires_at <= clock():
        return Verdict(State.EXPIRED_KEY, found.fingerprint, signed_at, f"The key expired on {key.expires_at:%Y-%m-%d}.")
    return _verified(found, message, key.binary, signed_at)


def _enveloped(found: SignatureFacts, wrapped: dsse.Wrapped, keys: Iterable[PublicKey], clock: Clock) -> Verdict:
    """The best verdict that one of the keys leads to. An envelope does not say when it was signed."""
    verdicts = []
    for key in keys:
        tried = [signature for key_id, signature in wrapped.signatures if key_id == key.key_id]
        if any(key.made(signature, wrapped.signed, found.hash) for signature in tried):
            verdicts.append(in_time(key, clock()))
        elif tried:
            verdicts.append(not_made(key))
    if verdicts:
        return best(verdicts)
    named = ", ".join(key_id[:_LONGEST_ID] for key_id, _ in wrapped.signatures if key_id) or "none"
    return Verdict(State.UNKNOWN_KEY, reason=f"The project trusts no public key or certificate that has made it. It names: {named}.")


def _verified(found: SignatureFacts, message: bytes, key: bytes, signed_at: datetime | None) -> Verdict:
    text = openpgp.verify(message, key)
    try:
        # What the bytes were compared with was read without the key: it must be what the key has signed.
        holds = text is not None and _signed(text) == _signed(_payload(message))
    except _Fault:
        holds = False
    if not holds:
        return Verdict(State.INVALID, found.fingerprint, signed_at, "The key has not made this signature.")
    return Verdict(State.VALID, found.fingerprint, signed_at)


def _known(certificates: Iterable[bytes]) -> Mapping[str, openpgp.Certificate]:
    found = {}
    for binary in certificates:
        try:
            key = openpgp.parse(binary)
        except InvalidInput:
            continue
        found[key.fingerprint] = key
    return found
