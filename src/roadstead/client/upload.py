"""Content to a registry: files as blobs, SIFs, and manifests copied from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec

from roadstead.client.download import Tell
from roadstead.client.locations import Location
from roadstead.client.session import AS_IT_IS, Body, Session
from roadstead.errors import InvalidSif, NotFound, Unavailable
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.oci.sif_manifest import EMPTY_CONFIG, sif_manifest

_PIECE = 1 << 20
_MAGIC = slice(32, 42)  # Where a SIF says that it is one.


def push_sif(session: Session, to: Location, file: Path, tell: Tell) -> Digest:
    """Push a SIF as `apptainer push oras://` does; the digest of its manifest. Raises InvalidSif, and as the session does."""
    with file.open("rb") as opened:
        if opened.read(_MAGIC.stop)[_MAGIC] != b"SIF_MAGIC\0":
            raise InvalidSif(f"{file} is not a SIF.")
        opened.seek(0)
        digest = Digest(f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}")
    size = file.stat().st_size
    put_blob(session, to.repository, Digest.of(EMPTY_CONFIG), len(EMPTY_CONFIG), lambda: iter((EMPTY_CONFIG,)))
    put_blob(session, to.repository, digest, size, lambda: read_file(file, tell))
    tell(size)
    manifest = sif_manifest(digest, size, file.name)
    session.put_manifest(to.repository, to.reference, manifest, types.OCI_MANIFEST)
    return Digest.of(manifest)


class Counter:
    """Counts bytes over several blobs."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._before = 0

    def running(self, done: int) -> None:
        """So much of the present blob has moved."""
        self._tell(self._before + done)

    def finished(self, size: int) -> None:
        """The present blob is over."""
        self._before += size
        self._tell(self._before)


def copy(source: Session, origin: Location, target: Session, to: Location, tell: Tell, *, referrers: bool = False) -> Digest:
    """Copy what the origin names, an index with all that it lists; blobs are mounted where both are at one registry.

    With `referrers` also what refers to it, and to what it lists: signatures, SBOMs and the like.
    """
    return _Copying(source, origin.repository, target, to.repository, Counter(tell), referrers).copy(origin.reference, to.reference)


class _Copying(msgspec.Struct, frozen=True):
    """A copy from one repository to another."""

    source: Session
    origin: RepositoryName
    target: Session
    to: RepositoryName
    counter: Counter
    referrers: bool

    def copy(self, what: Reference, name: Reference) -> Digest:
        """A manifest with all that it names."""
        fetched = self.source.manifest(self.origin, what)
        for child in fetched.manifest.children:
            self.copy(child.digest, child.digest)
        for blob in fetched.manifest.required_blobs():
            mount = self.origin if self.source.url == self.target.url else None
            put_blob(self.target, self.to, blob.digest, blob.size, self._body(blob), mount)
            self.counter.finished(blob.size)
        self.target.put_manifest(
            self.to, fetched.digest if isinstance(name, Digest) else name, fetched.content, fetched.manifest.media_type
        )
        if self.referrers:
            for digest in self.source.referrers(self.origin, fetched.digest):
                self.copy(digest, digest)
        return fetched.digest

    def _body(self, blob: Descriptor) -> Body:
        def read() -> Iterator[bytes]:
            done = 0
            with self.source.stream("GET", f"/v2/{self.origin}/blobs/{blob.digest}", headers=AS_IT_IS) as answer:
                for piece in answer.iter_raw():
                    yield piece
                    done += len(piece)
                    self.counter.running(done)

        return read


def put_blob(
    session: Session, repository: RepositoryName, digest: Digest, size: int, body: Body, mount: RepositoryName | None = None
) -> None:
    """Push a blob that is not there yet (distribution-spec, "Pushing a blob monolithically", "Mounting a blob")."""
    try:
        session.request("HEAD", f"/v2/{repository}/blobs/{digest}")
    except NotFound:
        _send(session, repository, digest, size, body, mount)


def _send(session: Session, repository: RepositoryName, digest: Digest, size: int, body: Body, mount: RepositoryName | None) -> None:
    asked = f"?{urlencode({'mount': digest, 'from': mount})}" if mount else ""
    answer = session.request("POST", f"/v2/{repository}/blobs/uploads/{asked}", content=b"")
    if answer.status_code == 201:
        return
    if "location" not in answer.headers:
        raise Unavailable(f"{session.host} does not say where the upload goes.")
    place = urljoin(str(answer.url), answer.headers["location"])
    joined = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode({'digest': digest})}"
    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    with session.stream("PUT", joined, headers=headers, body=body):
        pass


def read_file(path: Path, tell: Tell) -> Iterator[bytes]:
    """The file in pieces, telling how much of it has been read."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
            tell(file.tell())
