"""Where something lies: `HOST/project/image:tag`, as image references are written everywhere."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from roadstead.errors import InvalidName
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName, TagName

_SCHEMES: Final = ("https://", "http://", "docker://", "oras://")
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(:(?P<port>\d{1,5}))?")
_LAST_PORT: Final = 65535


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
    found = _HOST.fullmatch(host)
    if found is None or not (found["port"] or "." in host or found["name"].startswith("[") or host == "localhost"):
        raise InvalidName(_without_host(text))
    if int(found["port"] or 0) > _LAST_PORT:
        raise InvalidName(f"{host} has no such port: the last is {_LAST_PORT}.")
    return host, rest.strip("/")


def _without_host(text: str) -> str:
    """What to write instead. Others take such a name as Docker Hub's; here a registry is always named."""
    said = f"{text[:80]!r} names no registry: write HOST/project/image:tag, as in registry.example.org/lab/tool:1.0."
    image = text.strip("/")
    if re.fullmatch(r"[a-z0-9][a-z0-9._/-]*(:[\w.-]+)?", image) and len(image) <= 80:
        return f"{said} Is it HOST/{'' if '/' in image else 'library/'}{image}?"
    return said


def bare_host(text: str) -> str:
    """The host alone, also where somebody copied it with a scheme or a slash. Raises InvalidName if there is none."""
    host, rest = host_of(text)
    if rest:
        raise InvalidName(f"Only the registry's name is wanted here: {host}")
    return host


def parse_location(text: str) -> Location:
    """Read a location; without tag and digest it is `latest`. Raises InvalidName, InvalidTag, InvalidDigest."""
    host, rest = host_of(text)
    if not rest:
        raise InvalidName(f"{host} is a registry: what is wanted of it? Write {host}/project/image:tag.")
    name, at, digest = rest.partition("@")
    path, colon, tag = name.partition(":")
    if at:
        return Location(host, RepositoryName.parse(path), Digest.parse(digest))
    return Location(host, RepositoryName.parse(path), TagName.parse(tag if colon else "latest"))


def names_one(text: str) -> bool:
    """Whether a tag or digest is written."""
    return ":" in text.rpartition("/")[2] or "@" in text
