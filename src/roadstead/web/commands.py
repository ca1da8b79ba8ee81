"""The commands to copy for one artifact: only those that work for its kind, as its project is set."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from roadstead.oci.artifact_type import SIF
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.registry.rows import ProjectRow

_LIBRARY_PARTS = 3
"""Names of more parts than this cannot be written for `library://`."""


class Command(msgspec.Struct, frozen=True):
    """A command line, and who types it."""

    label: str
    text: str


class Server(msgspec.Struct, frozen=True):
    """How clients name this registry, and whether they reach it by HTTPS."""

    host: str
    secure: bool

    @classmethod
    def of(cls, base_url: str) -> Server:
        """The one at that address."""
        address = urlsplit(base_url)
        return cls(address.netloc, address.scheme == "https")

    @property
    def plain(self) -> str:
        """What Apptainer must be told where there is no TLS."""
        return "" if self.secure else "--no-https "

    @property
    def has_library(self) -> bool:
        """Whether the remotes of Apptainer, which take no port and no plain HTTP, can name it."""
        return self.secure and ":" not in self.host.rpartition("]")[2]


def commands(server: Server, project: ProjectRow, name: RepositoryName, reference: Reference, kind: str) -> list[Command]:
    """By tag or by digest, as `reference` is; empty for what is neither image nor SIF."""
    if kind not in ("IMAGE", SIF):
        return []
    converts = project.conversion_policy.when != "off"
    if isinstance(reference, Digest):
        return _by_digest(server, f"{server.host}/{name}@{reference}", kind)
    where = f"{server.host}/{name}:{reference}"
    return [
        *_by_tag(server, where, kind, converts=converts, sif_as_image=project.sif_as_image),
        *_library(server, name, reference, kind, converts),
    ]


def _by_digest(server: Server, where: str, kind: str) -> list[Command]:
    if kind == SIF:
        return [Command("Apptainer", f"apptainer pull {server.plain}oras://{where}")]
    docker = [Command("Docker", f"docker pull {where}"), Command("Podman", f"podman pull {where}")]
    return [*docker, Command("Apptainer, converted on your machine", f"apptainer pull {server.plain}docker://{where}")]


def _by_tag(server: Server, where: str, kind: str, *, converts: bool, sif_as_image: bool) -> list[Command]:
    if kind == SIF:
        found = [Command("Apptainer", f"apptainer pull {server.plain}oras://{where}")]
        if converts:
            found += [Command("Docker", f"docker pull {where}")] if sif_as_image else []
            found += [Command("Podman", f"podman pull {where}.oci")]
        return found
    found = [Command("Docker", f"docker pull {where}"), Command("Podman", f"podman pull {where}")]
    if converts:
        found.append(Command("Apptainer, converted once by the registry", f"apptainer pull {server.plain}oras://{where}.sif"))
    return [*found, Command("Apptainer, converted on your machine", f"apptainer pull {server.plain}docker://{where}")]


def _library(server: Server, name: RepositoryName, tag: Reference, kind: str, converts: bool) -> list[Command]:
    if not server.has_library or str(name).count("/") >= _LIBRARY_PARTS or (kind != SIF and not converts):
        return []
    return [Command("Apptainer, by library", f"apptainer pull library://{name}:{tag}")]
