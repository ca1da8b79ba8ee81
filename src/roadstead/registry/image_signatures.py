"""Signatures of images: manifests beside an image that speak about it, verified with the keys that its project trusts.

They are looked for when somebody asks, not kept apart: a signature that was pushed counts at once, one that was deleted no more, whatever
came first. What is read of them is remembered, as bytes under a digest never change; what they are worth is asked of the keys each time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.clock import Clock
from roadstead.access.public_keys import PublicKey, parse
from roadstead.access.verdicts import State, Verdict, best, in_time, not_made
from roadstead.content.store import ContentStore, LocalFile, Span, Stream
from roadstead.errors import InvalidManifest
from roadstead.metadata import signatures, trusted_keys
from roadstead.metadata.contents import BlobSelects
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.metadata.signatures import Speaking, SpeakingRow
from roadstead.metadata.trusted_keys import PemRow
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.claims import LONGEST, PREDICATE, SPEAKING, Claim, readers

MOST: Final = 32
"""So many signatures of one image are looked at, the newest."""

_LONGEST_MANIFEST: Final = 256 * 1024
_WANTED: Final = Speaking(SPEAKING, PREDICATE, _LONGEST_MANIFEST, 4 * MOST)
_MOST_INDEXES: Final = 16
_MOST_PARTS: Final = 64
_GENERATIONS: Final = 2
"""Of indexes in indexes."""
_MOST_LOOKS: Final = 128
"""Manifests whose signatures are looked for because of one pull."""
_REMEMBERED: Final = 16 << 20
"""Bytes of signatures that are kept as they are read."""
_COSTS: Final = 500  # of each that is kept, beside its bytes
_SEEN: Final = 10_000
_TOLD: Final = 5
_LONGEST_SAID: Final = 80
_BLOCK: Final = 512
_OCTAL: Final = re.compile(rb"[ \t\0]*([0-7]+)")
_BEGINNINGS: Final = (b"{", b"\xd2")
"""Of JSON, and of COSE: no compressed layer begins so."""


class ImageSignature(msgspec.Struct, frozen=True):
    """One signature, judged: `kind` is `cosign` or `notation`, `manifest` the one that it is in, `name` what the project calls the key."""

    kind: str
    manifest: Digest
    verdict: Verdict
    name: str | None = None


class _Search:
    """One question about a manifest: what was found of each that it leads to, and how many more may be looked at."""

    def __init__(self, project_id: int, repository_id: int) -> None:
        self.project_id = project_id
        self.repository_id = repository_id
        self.left = _MOST_LOOKS
        self.own: dict[Digest, Sequence[ImageSignature]] = {}
        self.naming: dict[Digest, Sequence[Digest]] = {}
        self.known: dict[tuple[Digest, int], str | None] = {}


class ImageSignatures:
    """Finds and judges them. Asks no policy: who asks here has done so."""

    def __init__(self, database: Database, store: ContentStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._blobs = BlobSelects(database)
        self._manifests = ManifestSelects(database)
        self._remembered: dict[Digest, Sequence[Claim]] = {}
        self._held = 0
        self._nothing: dict[Digest, bool] = {}

    async def of(self, project_id: int, repository_id: int, digest: Digest) -> Sequence[ImageSignature]:
        """The signatures of a manifest, the newest first."""

        def work(connection: Connection) -> tuple[Sequence[SpeakingRow], Sequence[PemRow]]:
            rows = signatures.about(connection, repository_id, digest, _WANTED)
            return rows, trusted_keys.in_pem(connection, project_id) if rows else []

        rows, trusted = await self._database.read(work)
        claims: list[tuple[Digest, Claim]] = []
        for row in rows:
            claims += [(row.digest, claim) for claim in await self._claims(repository_id, row)]
            if len(claims) >= MOST:
                break
        return await asyncio.to_thread(_judged, digest, claims[:MOST], trusted, self._clock()) if claims else []

    async def missing(self, name: RepositoryName, row: ManifestRow) -> str | None:
        """What keeps a manifest from going out where only signed images do, in a sentence.

        A signature of an index is one of all that it names. An index without one goes out if all that it names does. What holds nothing
        that could be run, as signatures do, needs none.
        """
        return await self._missing(name, row, _Search(row.project_id, row.repository_id))

    async def _missing(self, name: RepositoryName, row: ManifestRow, search: _Search) -> str | None:
        if await self._holds_nothing(row):
            return None
        why = await self._unsigned(search, row.digest, _GENERATIONS)
        return None if why is None or await self._all_go_out(name, row, search) else why

    async def unsigned(self, project_id: int, repository_id: int, digest: Digest) -> str | None:
        """Why no signature of a manifest counts, nor one of an index that names it; None if one does."""
        return await self._unsigned(_Search(project_id, repository_id), digest, _GENERATIONS)

    async def _unsigned(self, search: _Search, digest: Digest, generations: int) -> str | None:
        asked = digest, generations
        if asked not in search.known:
            search.known[asked] = await self._look(search, digest, generations)
        return search.known[asked]

    async def _look(self, search: _Search, digest: Digest, generations: int) -> str | None:
        found = search.own.get(digest)
        if found is None:
            if not search.left:
                return "There is too much around this one to look for signatures of all of it."
            search.left -= 1
            found = search.own[digest] = await self.of(search.project_id, search.repository_id, digest)
        if any(one.verdict.state is State.VALID for one in found):
            return None
        for index in await self._naming(search, digest) if generations else ():
            if await self._unsigned(search, index, generations - 1) is None:
                return None
        return " ".join(dict.fromkeys(_told(one) for one in found[:_TOLD])) or "This one is not signed."

    async def _naming(self, search: _Search, digest: Digest) -> Sequence[Digest]:
        if digest not in search.naming:
            work = partial(signatures.naming, repository_id=search.repository_id, digest=digest, most=_MOST_INDEXES)
            search.naming[digest] = await self._database.read(work) if search.left else ()
        return search.naming[digest]

    async def _all_go_out(self, name: RepositoryName, row: ManifestRow, search: _Search) -> bool:
        if row.media_type not in types.INDEX_TYPES:
            return False
        children = parse_manifest(row.content, row.media_type).children
        if len(children) > _MOST_PARTS:
            return False
        for child in children:
            found = await self._manifests.by_digest(name, child.digest)
            # An index in an index is asked for its own signature.
            if found is not None and (found.media_type in types.INDEX_TYPES or await self._missing(name, found, search) is not None):
                return False
        return True

    async def _holds_nothing(self, row: ManifestRow) -> bool:
        """Whether no layer could be a file system, whatever its media type says: some clients do not look at that."""
        if row.media_type in types.INDEX_TYPES:
            return False
        layers = parse_manifest(row.content, row.media_type).layers
        if len(layers) > _MOST_PARTS:
            return False
        for layer in layers:
            if not await self._is_nothing(row.repository_id, layer.digest):
                return False
        return True

    async def _is_nothing(self, repository_id: int, digest: Digest) -> bool:
        """Whether a blob begins as no file system does; remembered, as that never changes."""
        known = self._nothing.get(digest)
        if known is not None:
            return known
        beginning = await self.beginning(repository_id, digest, _BLOCK)
        found = beginning is not None and beginning.startswith(_BEGINNINGS) and not _is_tar(beginning)
        if beginning is not None:
            if len(self._nothing) >= _SEEN:
                self._nothing.clear()
            self._nothing[digest] = found
        return found

    async def _claims(self, repository_id: int, row: SpeakingRow) -> Sequence[Claim]:
        known = self._remembered.get(row.digest)
        if known is not None:
            return known
        claims, whole = [], True
        for layer, read in _readers(row):
            content = await self.beginning(repository_id, layer.digest, LONGEST + 1)
            content = None if content is None or len(content) > LONGEST else content
            whole = whole and content is not None
            claim = read(content)
            claims += [] if claim is None else [claim]
        if whole:
            self._remember(row.digest, claims)
        return claims

    def _remember(self, digest: Digest, claims: Sequence[Claim]) -> None:
        held = _COSTS + sum(_COSTS + len(one.message) + len(one.signature) + sum(map(len, one.digests)) for one in claims)
        if self._held + held > _REMEMBERED:
            self._remembered.clear()
            self._held = 0
        if digest not in self._remembered:
            self._held += held
        self._remembered[digest] = claims

    async def beginning(self, repository_id: int, digest: Digest, most: int) -> bytes | None:
        """The first bytes of a blob, as many as are wanted; None where it is not here."""
        blob = await self._blobs.find(repository_id, digest)
        if blob is None or blob.store != self._store.name:
            return None
        length = min(most, blob.size)
        if not length:
            return b""
        opened = await self._store.open(blob.key, blob.size, Span(0, length))
        if isinstance(opened, LocalFile):
            return await asyncio.to_thread(_beginning, opened, length)
        assert isinstance(opened, Stream), "nothing allowed it to be elsewhere"
        try:
            return b"".join([chunk async for chunk in opened.chunks])
        finally:
            await opened.chunks.aclose()


def _readers(row: SpeakingRow) -> Iterable[tuple[Descriptor, Callable[[bytes | None], Claim | None]]]:
    """The signatures in a manifest; of cosign's old form, which appends, the newest."""
    try:
        return list(readers(parse_manifest(row.content, row.media_type)))[-MOST:]
    except InvalidManifest:
        return ()


def _judged(digest: Digest, claims: Iterable[tuple[Digest, Claim]], trusted: Iterable[PemRow], now: datetime) -> Sequence[ImageSignature]:
    """Costs a verification, 100 µs, for each claim and key."""
    keys = {key: row.name for row in trusted if (key := parse(row.pem.encode()))}
    judged = [(manifest, claim, judge(digest, claim, list(keys), now)) for manifest, claim in claims]
    names = {key.fingerprint: name for key, name in keys.items()}
    return [ImageSignature(claim.kind, manifest, verdict, names.get(verdict.fingerprint or "")) for manifest, claim, verdict in judged]


def judge(digest: Digest, claim: Claim, keys: Sequence[PublicKey], now: datetime) -> Verdict:
    """What a claim to have signed `digest` is worth with these keys."""
    if claim.refused is not None:
        return Verdict(claim.refused[0], reason=claim.refused[1])
    if digest not in claim.digests:
        said = ", ".join(one[:_LONGEST_SAID] for one in claim.digests[:_TOLD]) or "nothing"
        return Verdict(State.ALTERED, signed_at=claim.signed_at, reason=f"It signs {said}, and not this.")
    verdicts = [in_time(key, now, claim.signed_at) for key in keys if _made(key, claim)]
    verdicts += [not_made(key, claim.signed_at) for key in keys if claim.named in (key.fingerprint, key.of_key) and not _made(key, claim)]
    if not verdicts:
        named = f" It names {claim.named}." if claim.named else ""
        return Verdict(State.UNKNOWN_KEY, signed_at=claim.signed_at, reason=f"The project trusts no key that has made it.{named}")
    found = best(verdicts)
    if found.state is State.VALID and claim.expires_at is not None and claim.expires_at <= now:
        return Verdict(State.EXPIRED, found.fingerprint, claim.signed_at, f"It was to count until {claim.expires_at:%Y-%m-%d}.")
    return found


def _made(key: PublicKey, claim: Claim) -> bool:
    return any(key.made(claim.signature, claim.message, algorithm) for algorithm in claim.algorithms)


def _told(one: ImageSignature) -> str:
    by = one.verdict.fingerprint
    return f"The signature{f' by {by}' if by else ''} does not count: {one.verdict.reason}"


def _beginning(file: LocalFile, length: int) -> bytes | None:
    try:
        with file.path.open("rb") as opened:
            return opened.read(length)
    except OSError:
        return None


def _is_tar(block: bytes) -> bool:
    """Whether it could be the first block of a tar archive: what every reader of one asks first is this sum (POSIX.1-2017, pax)."""
    said = _OCTAL.match(block, 148, 156)
    if said is None or len(block) < _BLOCK:
        return False
    summed = block[:148] + b" " * 8 + block[156:]
    # Some have summed the bytes as signed ones.
    return int(said[1], 8) in (sum(summed), sum(byte - 256 * (byte > 127) for byte in summed))
