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

_LIBRARY = "Apptainer, by library"
_ONCE = "Apptainer, converted once by the registry"


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
    def plain_http(self) -> str:
        """What Helm and oras must be told where there is no TLS."""
        return "" if self.secure else "--plain-http "

    @property
    def address(self) -> str:
        """For clients that want a URL."""
        return f"{'https' if self.secure else 'http'}://{self.host}"

    @property
    def has_library(self) -> bool:
        """Whether the remotes of Apptainer, which take no port and no plain HTTP, can name it."""
        return self.secure and ":" not in self.host.rpartition("]")[2]


class Known(msgspec.Struct, frozen=True):
    """What else is known: the SIF that was made of an image, or the image of a SIF; the file of a SIF; the version of a chart; whether
    the reader is nobody."""

    converted: Digest | None = None
    file: Digest | None = None
    version: str | None = None
    anonymous: bool = False


def commands(
    server: Server, project: ProjectRow, name: RepositoryName, reference: Reference, kind: str, known: Known | None = None
) -> list[Command]:
    """By tag or by digest, as `reference` is. What is neither image nor SIF nor chart is a matter of files."""
    at = _At(server, project, name, reference, known or Known())
    if kind == SIF:
        return at.sif_by_digest() if isinstance(reference, Digest) else at.sif_by_tag()
    if kind == "IMAGE":
        return at.image_by_digest() if isinstance(reference, Digest) else at.image_by_tag()
    if kind == "CHART" and not isinstance(reference, Digest):
        return at.chart()
    return at.files()


class _At(msgspec.Struct, frozen=True):
    """One artifact by one of its names."""

    server: Server
    project: ProjectRow
    name: RepositoryName
    reference: Reference
    known: Known

    @property
    def where(self) -> str:
        """As docker names it."""
        return f"{self.server.host}/{self.name}{'@' if isinstance(self.reference, Digest) else ':'}{self.reference}"

    @property
    def is_there(self) -> bool:
        """Whether everybody who may pull gets the other form."""
        return self.known.converted is not None or self.project.conversion_policy.anonymous

    @property
    def converts(self) -> bool:
        """Whether the reader gets the other form: who is nobody may have nothing converted."""
        return self.project.conversion_policy.when != "off" and (self.is_there or not self.known.anonymous)

    def image_by_tag(self) -> list[Command]:
        found = self._docker()
        if self.converts:
            found.append(Command(_ONCE, f"apptainer pull {self.server.plain}oras://{self.where}.sif"))
        library = self._library(str(self.reference), is_there=self.is_there) if self.converts else []
        return [*found, self._here(), *library]

    def image_by_digest(self) -> list[Command]:
        made = self.known.converted
        once = [] if made is None else [Command(_ONCE, f"apptainer pull {self.server.plain}oras://{self.server.host}/{self.name}@{made}")]
        return [*self._docker(), *once, self._here()]

    def sif_by_tag(self) -> list[Command]:
        found = [self._oras()]
        if self.converts:
            found += [Command("Docker", f"docker pull {self.where}")] if self.project.sif_as_image else []
            found += [Command("Podman", f"podman pull {self.where}.oci")]
        return [*found, *self._library(str(self.reference), is_there=True)]

    def sif_by_digest(self) -> list[Command]:
        file = self.known.file
        return [self._oras(), *([] if file is None else self._library(f"{file.algorithm}.{file.encoded}", is_there=True))]

    def chart(self) -> list[Command]:
        # A tag has no +, for which Helm writes an underscore.
        version = self.known.version if (self.known.version or "").replace("+", "_") == self.reference else None
        where = f"oci://{self.server.host}/{self.name} --version {version or self.reference}"
        return [Command("Helm", f"helm pull {self.server.plain_http}{where}")]

    def files(self) -> list[Command]:
        return [Command("oras", f"oras pull {self.server.plain_http}{self.where}")]

    def _docker(self) -> list[Command]:
        return [Command("Docker", f"docker pull {self.where}"), Command("Podman", f"podman pull {self.where}")]

    def _oras(self) -> Command:
        return Command("Apptainer", f"apptainer pull {self.server.plain}oras://{self.where}")

    def _here(self) -> Command:
        return Command("Apptainer, converted on your machine", f"apptainer pull {self.server.plain}docker://{self.where}")

    def _library(self, tag: str, *, is_there: bool) -> list[Command]:
        """Who names the library at the command line shows it no token: that is enough where everybody may have what `is_there`."""
        if str(self.name).count("/") >= _LIBRARY_PARTS:
            return []
        pull = f"library://{self.name}:{tag}"
        if self.project.public and is_there:
            return [Command(_LIBRARY, f"apptainer pull --library {self.server.address} {pull}")]
        if not self.server.has_library:
            return []
        host = self.server.host
        once = Command(f"{_LIBRARY}: once", f"apptainer remote add --no-login {host} {host} && apptainer remote login {host}")
        return [once, Command(_LIBRARY, f"apptainer pull {pull}")]
