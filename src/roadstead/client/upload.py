"""Content to a registry: files as blobs, SIFs, and manifests copied from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

from roadstead.client.download import Tell
from roadstead.client.locations import Location
from roadstead.client.session import Body, Session
from roadstead.errors import InvalidSif, NotFound
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
    _put(session, to.repository, Digest.of(EMPTY_CONFIG), len(EMPTY_CONFIG), lambda: iter((EMPTY_CONFIG,)))
    _put(session, to.repository, digest, size, lambda: _read(file, tell))
    tell(size)
    manifest = sif_manifest(digest, size, file.name)
    session.put_manifest(to.repository, to.reference, manifest, types.OCI_MANIFEST)
    return Digest.of(manifest)


def copy(source: Session, origin: Location, target: Session, to: Location) -> Digest:
    """Copy what the origin names, an index with all that it lists; blobs are mounted where both are at one registry."""
    return _copy(source, origin.repository, origin.reference, target, to.repository, to.reference)


def _copy(source: Session, origin: RepositoryName, what: Reference, target: Session, to: RepositoryName, name: Reference) -> Digest:
    fetched = source.manifest(origin, what)
    for child in fetched.manifest.children:
        _copy(source, origin, child.digest, target, to, child.digest)
    for blob in fetched.manifest.required_blobs():
        mount = origin if source.url == target.url else None
        _put(target, to, blob.digest, blob.size, _blob(source, origin, blob), mount)
    reference = fetched.digest if isinstance(name, Digest) else name
    target.put_manifest(to, reference, fetched.content, fetched.manifest.media_type)
    return fetched.digest


def _blob(source: Session, repository: RepositoryName, blob: Descriptor) -> Body:
    def read() -> Iterator[bytes]:
        with source.stream("GET", f"/v2/{repository}/blobs/{blob.digest}") as answer:
            yield from answer.iter_raw()

    return read


def _put(session: Session, repository: RepositoryName, digest: Digest, size: int, body: Body, mount: RepositoryName | None = None) -> None:
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
    place = urljoin(session.url, answer.headers["location"])
    joined = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode({'digest': digest})}"
    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    with session.stream("PUT", joined, headers=headers, body=body):
        pass


def _read(path: Path, tell: Tell) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
            tell(file.tell())
