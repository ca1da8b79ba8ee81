"""What is wanted of a conversion: the payload of its job."""

from __future__ import annotations

from typing import Final

import msgspec

from roadstead.metadata.jobs import NewJob
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.sif.forms import Form

KIND: Final = "convert"
ON_DEMAND: Final = 10
"""The priority of a job that somebody waits for."""
ON_PUSH: Final = 0
_ATTEMPTS: Final = 3


class Wanted(msgspec.Struct, frozen=True):
    """The image whose manifest is `source`, in another form, made by the conversion of that identity, beside it in its repository."""

    form: Form
    project_id: int
    repository_id: int
    name: str
    source: str
    conversion: str

    @property
    def repository(self) -> RepositoryName:
        """The repository's name."""
        return RepositoryName(self.name)

    @property
    def digest(self) -> Digest:
        """The digest of the source."""
        return Digest(self.source)

    @property
    def key(self) -> str:
        """The same for all who want the same: of such jobs one is live at most. An identity names its source."""
        return f"{self.repository_id}:{self.form}:{self.conversion}"

    def job(self, priority: int) -> NewJob:
        """The job that makes it."""
        payload = msgspec.json.encode(self).decode()
        return NewJob(KIND, payload, self.key, self.project_id, priority, max_attempts=_ATTEMPTS)


class Result(msgspec.Struct, frozen=True):
    """What a conversion's job answers: the manifest that was made, and whether an earlier conversion's outcome was shared instead."""

    digest: str
    shared: bool
