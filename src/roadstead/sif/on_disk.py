"""Images in files: an OCI layout in a directory, the same in a tar archive, and the archives of `docker save`.

    oci-layout, index.json, blobs/<algorithm>/<hash>     image-spec v1.1, image-layout.md; also `docker save` of Docker 25 and newer
    manifest.json, and what it names                     Docker's own form; `docker save` of any version

Nothing is unpacked: what an archive holds is read where it lies in it.
"""

from __future__ import annotations

import os
import platform as machine
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import msgspec

from roadstead.errors import DigestMismatch, InvalidManifest, ManifestUnknown, NotConvertible, RoadsteadError, SizeMismatch
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import MANIFEST_LIMIT, Manifest, parse_manifest
from roadstead.sif.forms import fits, written
from roadstead.sif.inputs import Input, file_input

_REFERENCE: Final = "org.opencontainers.image.ref.name"
_LARGEST_CONFIGURATION: Final = 8 << 20
_MOST_MEMBERS: Final = 100_000
_DEEPEST: Final = 5  # Indexes within indexes.
_GO_NAMES: Final[Mapping[str, str]] = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
_FORMS: Final = ("oci-archive", "docker-archive", "oci")


class DiskImage(msgspec.Struct, frozen=True):
    """An image of one platform: `digest` is that of its manifest, or of its configuration where the archive has no manifest."""

    digest: Digest
    configuration: bytes
    layers: tuple[Input, ...]


class _Members(Protocol):
    """Files by name within a directory or an archive."""

    def find(self, name: str) -> Input | None:
        """The file of this name, None if there is none."""

    def read(self, name: str, most: int) -> bytes | None:
        """All of a file of at most so many bytes, None if there is none. Raises InvalidManifest if it is larger."""


class _DockerImage(msgspec.Struct, frozen=True):
    """One image in Docker's manifest.json."""

    config: str = msgspec.field(name="Config")
    layers: tuple[str, ...] = msgspec.field(name="Layers")
    tags: tuple[str, ...] | None = msgspec.field(default=None, name="RepoTags")


def default_platform() -> str:
    """linux on the architecture of this machine, in Go's name of it."""
    return f"linux/{_GO_NAMES.get(machine.machine(), machine.machine())}"


def open_image(source: str, platform: str | None = None) -> DiskImage:
    """The image at `source`: a path, or oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG].

    `platform` (os/architecture[/variant]) picks from an index; without it an index gives the one for this machine. Raises NotConvertible
    if there is no such image, ManifestUnknown if the tag is not there or is needed, InvalidManifest, DigestMismatch and SizeMismatch.
    """
    form, path, tag = _parse(source)
    try:
        members = _Directory(path) if path.is_dir() else _Archive(path)
    except (OSError, tarfile.TarError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not an uncompressed tar archive"
        raise NotConvertible(f"{path} cannot be read: {reason}.") from error
    is_docker = form == "docker-archive" or (not form and members.find("index.json") is None)
    return _open_docker(members, path, tag, platform) if is_docker else _open_layout(members, path, tag, platform)


def _parse(source: str) -> tuple[str, Path, str]:
    """Form, path and tag; what is not told is empty. A path that exists is a path, whatever it looks like."""
    if Path(source).exists():
        return "", Path(source), ""
    form = next((form for form in _FORMS if source.startswith(f"{form}:")), "")
    rest = source.removeprefix(f"{form}:") if form else source
    path, colon, tag = rest.partition(":")
    return (form, Path(rest), "") if Path(rest).exists() or not colon else (form, Path(path), tag)


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, name: str) -> Input | None:
        path = self._root / name
        return file_input(path) if path.is_file() else None

    def read(self, name: str, most: int) -> bytes | None:
        found = self.find(name)
        if found is None:
            return None
        _require_small(name, found.size, most)
        return (self._root / name).read_bytes()


class _Archive:
    """The members of a tar archive, symbolic links among them followed once: `docker save` of old wrote a layer twice that way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        with tarfile.open(path, "r:") as archive:
            for count, member in enumerate(archive):
                name = os.path.normpath(member.name)
                if count == _MOST_MEMBERS:
                    raise NotConvertible(f"{path} holds more than {_MOST_MEMBERS} files: it is no archive of images.")
                if member.issym():
                    links[name] = os.path.normpath(PurePosixPath(name).parent / member.linkname)
                elif member.isreg() and not member.issparse():
                    self._files[name] = (member.offset_data, member.size)
        for name, target in links.items():
            if target in self._files:
                self._files.setdefault(name, self._files[target])

    def find(self, name: str) -> Input | None:
        found = self._files.get(os.path.normpath(name))
        return file_input(self._path, *found) if found else None

    def read(self, name: str, most: int) -> bytes | None:
        found = self._files.get(os.path.normpath(name))
        if found is None:
            return None
        _require_small(name, found[1], most)
        with self._path.open("rb") as file:
            file.seek(found[0])
            return file.read(found[1])


def _require_small(name: str, size: int, most: int) -> None:
    if size > most:
        raise InvalidManifest(f"{name} has {size} bytes; at most {most} are read.")


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""


def _for_asked(image: DiskImage, platform: str | None) -> DiskImage:
    """The image. Raises NotConvertible if its configuration tells of another platform than was asked for, or not of Linux."""
    try:
        told = msgspec.to_builtins(msgspec.json.decode(image.configuration, type=_Platform))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidManifest(f"The image's configuration cannot be read: {error}.") from error
    if (platform is not None and not fits(platform, told)) or told["os"] not in ("linux", ""):
        raise NotConvertible(f"The image is not for {platform or 'linux'}, but for {written(told)}.")
    return image


# --- OCI's form -----------------------------------------------------------------------------------------------------------------


def _open_layout(members: _Members, path: Path, tag: str, platform: str | None) -> DiskImage:
    content = members.read("index.json", MANIFEST_LIMIT)
    if content is None:
        raise NotConvertible(f"{path} is neither an OCI layout (it has no index.json) nor an archive of docker save (no manifest.json).")
    index = _parsed(content, types.OCI_INDEX)
    named = _tagged(index, path, tag)
    for _ in range(_DEEPEST):
        manifest = _parsed(_blob(members, named, MANIFEST_LIMIT), named.media_type)
        if named.media_type not in types.INDEX_TYPES:
            return _for_asked(_image(members, named.digest, manifest), platform)
        named = _for_platform(manifest, platform)
    raise InvalidManifest("The image is an index of indexes of indexes.")


def _parsed(content: bytes, media_type: str) -> Manifest:
    try:
        return parse_manifest(content, media_type)
    except RoadsteadError as error:
        raise InvalidManifest(error.message) from error


def _tagged(index: Manifest, path: Path, tag: str) -> Descriptor:
    found = [child for child in index.children if not tag or child.annotations.get(_REFERENCE) == tag]
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted(child.annotations[_REFERENCE] for child in index.children if _REFERENCE in child.annotations)) or "no tags"
    if not tag and found:
        raise ManifestUnknown(f"{path} holds {len(found)} images: name one as oci:{path}:TAG. It has {known}.")
    raise ManifestUnknown(f"{path} does not hold {f'the tag {tag}' if tag else 'any image'}. It has {known}.")


def _for_platform(index: Manifest, platform: str | None) -> Descriptor:
    wanted = platform or default_platform()
    there = [child for child in index.children if child.platform and child.platform.get("os") != "unknown"]
    found = next((child for child in there if fits(wanted, child.platform or {})), None)
    if found is None and platform is None and len(there) == 1:
        return there[0]
    if found is None:
        raise NotConvertible(f"The image is not for {wanted}, but for {', '.join(written(child.platform or {}) for child in there)}.")
    return found


def _image(members: _Members, digest: Digest, manifest: Manifest) -> DiskImage:
    if manifest.config is None or manifest.config.media_type not in (types.OCI_CONFIG, types.DOCKER_CONFIG):
        raise NotConvertible("This is an artifact, not the image of a container.")
    configuration = _blob(members, manifest.config, _LARGEST_CONFIGURATION)
    return DiskImage(digest, configuration, tuple(_layer(members, layer) for layer in manifest.layers))


def _path_of(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _blob(members: _Members, named: Descriptor, most: int) -> bytes:
    content = members.read(_path_of(named.digest), most)
    if content is None:
        raise NotConvertible(f"{named.digest}, which the image names, is not there.")
    if not named.digest.matches(content):
        raise DigestMismatch(f"What lies there as {named.digest} is something else.")
    return content


def _layer(members: _Members, named: Descriptor) -> Input:
    """A layer; that it is the right one is seen by the digest of its uncompressed content, which the configuration has."""
    found = members.find(_path_of(named.digest))
    if found is None:
        raise NotConvertible(f"The layer {named.digest} is not there.")
    if found.size != named.size:
        raise SizeMismatch(f"The layer {named.digest} has {found.size} bytes, and its image says {named.size}.")
    return found


# --- Docker's form --------------------------------------------------------------------------------------------------------------


def _open_docker(members: _Members, path: Path, tag: str, platform: str | None) -> DiskImage:
    content = members.read("manifest.json", MANIFEST_LIMIT)
    if content is None:
        raise NotConvertible(f"{path} is neither an OCI layout (it has no index.json) nor an archive of docker save (no manifest.json).")
    try:
        images = msgspec.json.decode(content, type=tuple[_DockerImage, ...])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidManifest(f"manifest.json cannot be read: {error}.") from error
    image = _tagged_docker(images, path, tag)
    configuration = members.read(image.config, _LARGEST_CONFIGURATION)
    if configuration is None:
        raise NotConvertible(f"The configuration {image.config}, which manifest.json names, is not there.")
    layers = tuple(_docker_layer(members, name) for name in image.layers)
    return _for_asked(DiskImage(Digest.of(configuration), configuration, layers), platform)


def _tagged_docker(images: tuple[_DockerImage, ...], path: Path, tag: str) -> _DockerImage:
    found = [image for image in images if not tag or any(_means(name, tag) for name in image.tags or ())]
    if len(found) == 1:
        return found[0]
    known = ", ".join(name for image in images for name in image.tags or ()) or "no tags"
    if not tag and found:
        raise ManifestUnknown(f"{path} holds {len(found)} images: name one as docker-archive:{path}:NAME:TAG. It has {known}.")
    raise ManifestUnknown(f"{path} does not hold {f'the tag {tag}' if tag else 'any image'}. It has {known}.")


def _means(name: str, tag: str) -> bool:
    return name == tag or name.rpartition(":")[2] == tag


def _docker_layer(members: _Members, name: str) -> Input:
    found = members.find(name)
    if found is None:
        raise NotConvertible(f"The layer {name}, which manifest.json names, is not there.")
    return found
