"""Names of the library API, and the ids that its clients hand back.

What that API calls an entity is a project, its collections and containers are parts of a repository's name: `entity/collection/container`
is the repository of that name. None of them has a life of its own, so an id is a name that may stand in a path, and needs no row:

    lab                                 entity: the project
    lab~tools                           collection
    lab~tools~gromacs                   container: the repository lab/tools/gromacs
    lab~tools~gromacs~sha256.<hex>      image: the SIF of that hash in it, whether it was uploaded or is only announced
"""

from __future__ import annotations

import re
from typing import Final

from roadstead.errors import InvalidDigest, InvalidInput, InvalidName
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName, TagName

BETWEEN: Final = "~"
"""Stands between the parts of an id: it needs no encoding in a path (RFC 3986 §2.3), and no name has it."""

DEFAULT_TAG: Final = TagName("latest")
_HASH: Final = re.compile(r"sha256\.([0-9a-f]{64})")


def parse_image(text: str) -> tuple[RepositoryName, Reference]:
    """Read `[entity/[collection/]]container[:tag]`, where `sha256.<hex>` in the tag's place is the hash of the file.

    Raises InvalidName, InvalidTag.
    """
    path, _, tag = text.partition(":")
    name = parse_name(path)
    if not tag:
        return name, DEFAULT_TAG
    found = _HASH.fullmatch(tag)
    return name, Digest.from_hash("sha256", found[1]) if found else TagName.parse(tag)


def parse_name(path: str) -> RepositoryName:
    """Read a container's name of one part or more. Raises InvalidName."""
    if "%" in path:
        raise InvalidName("A name in a URL is written without percent-encoding.")
    return RepositoryName.parse(path)


def parse_hash(text: str) -> Digest:
    """Read `sha256.<hex>`. Raises InvalidDigest."""
    found = _HASH.fullmatch(text)
    if found is None:
        raise InvalidDigest("The hash of an image is written as sha256, a dot, and 64 digits 0-9 and a-f.")
    return Digest.from_hash("sha256", found[1])


def written_hash(digest: Digest) -> str:
    """A hash as this API writes it."""
    return f"{digest.algorithm}.{digest.encoded}"


def written_id(name: str) -> str:
    """The id of what has that name."""
    return name.replace("/", BETWEEN)


def parse_id(identifier: str) -> RepositoryName:
    """The container of that id. Raises InvalidName."""
    return parse_name(identifier.replace(BETWEEN, "/"))


def image_id(name: RepositoryName, digest: Digest) -> str:
    """The id of a SIF in a repository."""
    return f"{written_id(name)}{BETWEEN}{written_hash(digest)}"


def parse_image_id(identifier: str) -> tuple[RepositoryName, Digest]:
    """The repository and the hash of an image's id. Raises InvalidName, InvalidDigest."""
    container, between, hashed = identifier.rpartition(BETWEEN)
    if not between:
        raise InvalidInput("This is not the id of an image.")
    return parse_id(container), parse_hash(hashed)


def parts(name: RepositoryName) -> tuple[str, str, str]:
    """Entity, collection and container; of a name of two parts the collection is empty."""
    collection, _, container = name.path.rpartition("/")
    return name.project, collection, container
