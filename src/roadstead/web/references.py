"""The addresses of repositories and artifacts: written as image references are."""

from __future__ import annotations

from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName, parse_reference


def parse(text: str) -> tuple[RepositoryName, Reference | None]:
    """A repository, or an artifact in it. Raises InvalidInput."""
    if "@" in text:
        name, _, digest = text.partition("@")
        return RepositoryName.parse(name.partition(":")[0]), Digest.parse(digest)
    name, colon, tag = text.partition(":")
    return RepositoryName.parse(name), parse_reference(tag) if colon else None
