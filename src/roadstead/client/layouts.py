"""Images as directories (OCI layout; image-spec, image-layout.md): fetched into one, and sent from one.

DIR/oci-layout, DIR/index.json, DIR/blobs/<algorithm>/<hash>    appear at the end, whole
.DIR.<digest>.part/                                             what came so far
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from roadstead.client.download import Cache, Tell, download, translated
from roadstead.client.locations import Location
from roadstead.client.platforms import SIF_HEAD, of_sif, pick, require
from roadstead.client.session import Fetched, Session
from roadstead.client.upload import Counter, put_blob, read_file
from roadstead.errors import Conflict, InvalidInput
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import index_of, parse_manifest
from roadstead.oci.reference import Reference
from roadstead.oci.sif_manifest import sif_layer

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_LARGEST_CONFIG: Final = 4 << 20
_NAME: Final = "org.opencontainers.image.ref.name"


class _Machine(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""


def choose(session: Session, place: Location, platform: str | None) -> Fetched:
    """The image; of an index, that of the platform. Raises NotConvertible if there is none."""
    fetched = session.manifest(place.repository, place.reference)
    if not fetched.manifest.children:
        if platform:
            require(platform, _platform(session, place, fetched), place.text)
        return fetched
    return session.manifest(place.repository, pick(fetched.manifest.children, platform).digest)


def _platform(session: Session, place: Location, fetched: Fetched) -> str | None:
    """What an image says that it is for: a SIF in its first bytes, another in its configuration."""
    if layer := sif_layer(fetched.manifest):
        return of_sif(session.beginning(place.repository, layer, SIF_HEAD))
    config = fetched.manifest.config
    if config is None or config.size > _LARGEST_CONFIG:
        return None
    try:
        said = msgspec.json.decode(session.beginning(place.repository, config, config.size), type=_Machine)
    except msgspec.DecodeError:
        return None
    return f"{said.os}/{said.architecture}" if said.os and said.architecture else None


def pull_layout(session: Session, place: Location, image: Fetched, target: Path, tell: Tell, cache: Cache | None = None) -> None:
    """Fetch the image to a new directory. Raises Conflict if something is there, and as `download` does."""
    if target.exists():
        raise Conflict(f"{target} is there already.")
    part = target.with_name(f".{target.name}.{image.digest.encoded[:16]}.part")
    before = 0
    with translated(target):
        for blob in image.manifest.required_blobs():
            _fetch(session, place, blob, part, _shifted(tell, before), cache)
            before += blob.size
        _write(part, image.digest, image.content)
        tag = "" if isinstance(place.reference, Digest) else str(place.reference)
        named = Descriptor(image.manifest.media_type, image.digest, len(image.content), annotations={_NAME: tag} if tag else {})
        (part / "index.json").write_bytes(index_of([named]))
        (part / "oci-layout").write_bytes(_LAYOUT)
        part.replace(target)


def _fetch(session: Session, place: Location, blob: Descriptor, folder: Path, tell: Tell, cache: Cache | None) -> None:
    path = blob_path(folder, blob.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        download(session, place.repository, blob, path, tell, cache)
    tell(blob.size)


def _shifted(tell: Tell, before: int) -> Tell:
    return lambda done: tell(before + done)


def _write(folder: Path, digest: Digest, content: bytes) -> None:
    path = blob_path(folder, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def blob_path(folder: Path, digest: Digest) -> Path:
    """Where a blob lies in a layout."""
    return folder / "blobs" / digest.algorithm / digest.encoded


def size_of(source: Path) -> int:
    """Bytes of a file, or of all blobs of a layout."""
    return (
        sum(path.stat().st_size for path in (source / "blobs").rglob("*") if path.is_file()) if source.is_dir() else source.stat().st_size
    )


def push_layout(session: Session, to: Location, folder: Path, tell: Tell) -> Digest:
    """Push the image of a layout; of several, the one that has the tag's name. Raises InvalidInput if there is none."""
    try:
        index = parse_manifest((folder / "index.json").read_bytes(), types.OCI_INDEX)
    except OSError as error:
        raise InvalidInput(f"{folder} holds no image: it has no index.json.") from error
    named = [child for child in index.children if child.annotations.get(_NAME) == str(to.reference)] or list(index.children)
    if len(named) != 1:
        there = ", ".join(child.annotations.get(_NAME, str(child.digest)) for child in index.children)
        raise InvalidInput(f"{folder} does not say which of its images is meant: {there or 'it has none'}.")
    return _push(session, to, folder, named[0], to.reference, Counter(tell))


def _push(session: Session, to: Location, folder: Path, what: Descriptor, name: Reference, counter: Counter) -> Digest:
    content = _content(folder, what.digest)
    manifest = parse_manifest(content, what.media_type)
    for child in manifest.children:
        _push(session, to, folder, child, child.digest, counter)
    for blob in manifest.required_blobs():
        path = blob_path(folder, blob.digest)
        if not path.exists():
            raise InvalidInput(f"{folder} lacks the blob {blob.digest}.")
        put_blob(session, to.repository, blob.digest, blob.size, partial(read_file, path, counter.running))
        counter.finished(blob.size)
    session.put_manifest(to.repository, what.digest if isinstance(name, Digest) else name, content, manifest.media_type)
    return what.digest


def _content(folder: Path, digest: Digest) -> bytes:
    """A manifest of the layout, checked."""
    try:
        content = blob_path(folder, digest).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{folder} lacks the blob {digest}.") from error
    if not digest.matches(content):
        raise InvalidInput(f"{folder} is damaged: what lies under {digest} is something else.")
    return content
