"""Where something lies: `HOST/project/image:tag`, as image references are written everywhere."""

from __future__ import annotations

import msgspec

from roadstead.errors import InvalidName
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName, TagName

_SCHEMES = ("https://", "http://", "docker://", "oras://")


class Location(msgspec.Struct, frozen=True):
    """A manifest of a repository at a registry."""

    host: str
    repository: RepositoryName
    reference: Reference

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.host}/{self.repository}{'@' if isinstance(self.reference, Digest) else ':'}{self.reference}"


def host_of(text: str) -> tuple[str, str]:
    """The host and what follows it, without a scheme. Raises InvalidName where no host stands."""
    for scheme in _SCHEMES:
        text = text.removeprefix(scheme)
    host, _, rest = text.partition("/")
    if not host or not ("." in host or ":" in host or host == "localhost"):
        raise InvalidName(f"{text[:80]!r} names no registry: write HOST/project/image:tag, as in registry.example.org/lab/tool:1.0.")
    return host, rest.strip("/")


def bare_host(text: str) -> str:
    """The host alone, also where somebody copied it with a scheme or a slash. Raises InvalidName if there is none."""
    host, rest = host_of(text)
    if rest:
        raise InvalidName(f"Only the registry's name is wanted here: {host}")
    return host


def parse_location(text: str) -> Location:
    """Read a location; without tag and digest it is `latest`. Raises InvalidName, InvalidTag, InvalidDigest."""
    host, rest = host_of(text)
    name, at, digest = rest.partition("@")
    path, colon, tag = name.partition(":")
    if at:
        return Location(host, RepositoryName.parse(path), Digest.parse(digest))
    return Location(host, RepositoryName.parse(path), TagName.parse(tag if colon else "latest"))
