"""What users ask beyond OCI Distribution, of the management API: search, and conversions at the registry."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from roadstead.client.locations import Location
from roadstead.client.session import CATALOG, Session
from roadstead.errors import NotFound, Refused, Unavailable

_API: Final = "/api/v2.0"


class FoundRepository(msgspec.Struct, frozen=True):
    """A repository that was found."""

    name: str = msgspec.field(name="repository_name")
    public: bool = msgspec.field(name="project_public", default=False)
    artifacts: int = msgspec.field(name="artifact_count", default=0)
    pulls: int = msgspec.field(name="pull_count", default=0)

    @property
    def facts(self) -> dict[str, Any]:
        """By our names, not by the API's."""
        return {"name": self.name, "public": self.public, "artifacts": self.artifacts, "pulls": self.pulls}


class Found(msgspec.Struct, frozen=True):
    """What was found, by name."""

    projects: list[str]
    repositories: list[FoundRepository]


class Conversion(msgspec.Struct, frozen=True):
    """An image in another form; `state` is `converted`, `waiting`, `running`, or how it ended without that."""

    form: str
    source_digest: str
    state: str
    platform: str | None = None
    digest: str | None = None
    size: int | None = None
    progress: float | None = None
    doing: str | None = None
    reason: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """All of it, as it is printed."""
        return {name: getattr(self, name) for name in ("form", "platform", "source_digest", "state", "digest", "size")}


class _Project(msgspec.Struct, frozen=True):
    name: str


class _Answer(msgspec.Struct, frozen=True):
    project: list[_Project] = []
    repository: list[FoundRepository] = []


def find(session: Session, text: str) -> Found:
    """Projects and repositories by a part of their names. Raises NotFound where a registry has no such search."""
    try:
        answer = session.managed("GET", f"{_API}/search?{urlencode({'q': text})}", CATALOG)
        found = msgspec.json.decode(answer, type=_Answer)
    except (NotFound, msgspec.DecodeError) as error:
        raise NotFound(f"{session.host} offers no search to programs.") from error
    return Found([one.name for one in found.project], found.repository)


def has_project(session: Session, project: str) -> bool:
    """Whether there is such a project that the login may see; False also where a registry knows no projects."""
    try:
        session.managed("GET", f"{_API}/projects/{quote(project, safe='')}", CATALOG)
    except (NotFound, Refused):
        return False
    return True


def conversions(session: Session, place: Location) -> list[Conversion]:
    """How it stands with each."""
    return _conversions(session, "GET", place)


def begin_conversions(session: Session, place: Location) -> list[Conversion]:
    """Begin those that are not made."""
    return _conversions(session, "POST", place)


def _conversions(session: Session, method: str, place: Location) -> list[Conversion]:
    project, _, repository = place.repository.partition("/")
    # As in Harbor's clients, a slash within the repository's name is encoded twice.
    path = f"{_API}/projects/{project}/repositories/{quote(quote(repository, safe=''), safe='')}/artifacts/{place.reference}/conversions"
    try:
        return msgspec.json.decode(session.managed(method, path, f"repository:{place.repository}:pull,push"), type=list[Conversion])
    except msgspec.DecodeError as error:
        raise Unavailable(f"{session.host} does not convert images.") from error
