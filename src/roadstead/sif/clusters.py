"""The clusters of the site, as its administrators describe them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.errors import Conflict, InvalidInput, NotFound
from roadstead.metadata import audit
from roadstead.metadata import compatibility as rows
from roadstead.metadata.database import Database
from roadstead.sif.compatibility.verdict import Cluster
from roadstead.sif.compatibility.versions import parse_version

MOST: Final = 100
"""So many clusters may be described: every image is held against each."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,60}", re.ASCII)


class Clusters:
    """Everybody may see them, as who asks where an image runs does; administrators describe them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def all(self, _actor: Actor) -> Sequence[Cluster]:
        """Every cluster, by name."""
        return [msgspec.json.decode(text, type=Cluster) for text in await self._database.read(rows.all_clusters)]

    async def get(self, _actor: Actor, name: str) -> Cluster:
        """One of them. Raises NotFound."""
        text = await self._database.read(partial(rows.find_cluster, name=name)) if _NAME.fullmatch(name) else None
        if text is None:
            raise _no_cluster(name)
        return msgspec.json.decode(text, type=Cluster)

    async def add(self, actor: Actor, cluster: Cluster) -> None:
        """Describe a cluster. Raises InvalidInput with what cannot be, Conflict if the name is taken or there are too many."""
        text = _permitted(actor, cluster)

        def work(connection: Connection) -> None:
            if len(rows.all_clusters(connection)) >= MOST:
                raise Conflict(f"There are {MOST} clusters already; that is as many as may be described.")
            if not rows.add_cluster(connection, cluster.name, text, self._clock()):
                raise Conflict(f"There is a cluster {cluster.name!r} already.")
            self._note(connection, actor, Operation.CREATE, cluster.name)

        await self._database.write(work)

    async def change(self, actor: Actor, cluster: Cluster) -> None:
        """Describe a cluster otherwise, all of it. Raises InvalidInput, NotFound."""
        text = _permitted(actor, cluster)

        def work(connection: Connection) -> None:
            if not rows.change_cluster(connection, cluster.name, text, self._clock()):
                raise _no_cluster(cluster.name)
            self._note(connection, actor, Operation.UPDATE, cluster.name)

        await self._database.write(work)

    async def remove(self, actor: Actor, name: str) -> None:
        """Forget a cluster. Raises NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)

        def work(connection: Connection) -> None:
            if not (_NAME.fullmatch(name) and rows.remove_cluster(connection, name)):
                raise _no_cluster(name)
            self._note(connection, actor, Operation.DELETE, name)

        await self._database.write(work)

    def _note(self, connection: Connection, actor: Actor, operation: Operation, name: str) -> None:
        audit.add(connection, audited(actor, self._clock(), operation, ResourceType.CLUSTER, name))


def _permitted(actor: Actor, cluster: Cluster) -> str:
    """The description as it is kept, of who may give one. Raises InvalidInput for one that no image could be held against."""
    policy.require_on_system(actor, Action.ADMINISTER)
    if not _NAME.fullmatch(cluster.name):
        raise InvalidInput(
            "A cluster's name has 1 to 63 letters, digits, points, hyphens and underscores, and begins with a letter or digit."
        )
    if not _WORD.fullmatch(cluster.architecture):
        raise InvalidInput("The architecture is written as amd64, arm64 or ppc64le.")
    if cluster.level is not None and not 1 <= cluster.level <= 4:
        raise InvalidInput("The x86-64 level is from 1 to 4.")
    for what, version in (("glibc", cluster.glibc), ("the NVIDIA driver", cluster.driver), ("ROCm", cluster.rocm)):
        if version is not None and parse_version(version) is None:
            raise InvalidInput(f"The version of {what} is written as in 2.34 or 550.54.14.")
    if cluster.mpi is not None and not _WORD.fullmatch(cluster.mpi):
        raise InvalidInput(
            "MPI is described by the name of its library: libmpi.so.12 for MPICH and its relatives, libmpi.so.40 for Open MPI."
        )
    return msgspec.json.encode(cluster).decode()


def _no_cluster(name: str) -> NotFound:
    return NotFound(f"There is no cluster {name[:63]!r}.")
