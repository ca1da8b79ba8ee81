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
_LIBRARY: Final = re.compile(r"lib[A-Za-z0-9_+-]{1,40}\.so\.[0-9]{1,4}", re.ASCII)
_ARCHITECTURES: Final = frozenset({"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x"})
_OTHERWISE: Final = {
    **dict.fromkeys(("x86_64", "x86-64", "x64"), "amd64"),
    **dict.fromkeys(("aarch64", "armv8", "armv8l"), "arm64"),
    **dict.fromkeys(("armv6l", "armv7l", "armhf"), "arm"),
    **dict.fromkeys(("i386", "i586", "i686", "x86"), "386"),
    **dict.fromkeys(("powerpc64le", "ppc64el"), "ppc64le"),
    **{"loongarch64": "loong64", "riscv": "riscv64", "mips64el": "mips64le"},
}
"""As `uname -m` and distributions write them."""
_FAMILIES: Final = {
    **dict.fromkeys(("openmpi", "open-mpi", "ompi"), "libmpi.so.40"),
    **dict.fromkeys(("mpich", "intelmpi", "mvapich", "mvapich2", "cray-mpich-abi"), "libmpi.so.12"),
}
"""What a family's library is called today: Open MPI's since version 3, and that of the MPICH ABI Compatibility Initiative."""


class Clusters:
    """Everybody may see them, as who asks where an image runs does; administrators describe them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def all(self, _actor: Actor) -> Sequence[Cluster]:
        """Every cluster, by name."""
        return [_read(text) for text in await self._database.read(rows.all_clusters)]

    async def get(self, _actor: Actor, name: str) -> Cluster:
        """One of them. Raises NotFound."""
        text = await self._database.read(partial(rows.find_cluster, name=name)) if _NAME.fullmatch(name) else None
        if text is None:
            raise _no_cluster(name)
        return _read(text)

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


def _read(text: str) -> Cluster:
    """A description as it was kept, maybe by a program that took other spellings."""
    return _spelt(msgspec.json.decode(text, type=Cluster))


def _spelt(cluster: Cluster) -> Cluster:
    """The same in the words that images are described with."""
    architecture, mpi = cluster.architecture.lower(), cluster.mpi
    return msgspec.structs.replace(
        cluster, architecture=_OTHERWISE.get(architecture, architecture), mpi=None if mpi is None else _FAMILIES.get(mpi.lower(), mpi)
    )


def _permitted(actor: Actor, given: Cluster) -> str:
    """The description as it is kept, of who may give one. Raises InvalidInput for one that no image could be held against."""
    policy.require_on_system(actor, Action.ADMINISTER)
    cluster = _spelt(given)
    if not _NAME.fullmatch(cluster.name):
        raise InvalidInput(
            "A cluster's name has 1 to 63 letters, digits, points, hyphens and underscores, and begins with a letter or digit."
        )
    if cluster.architecture not in _ARCHITECTURES:
        raise InvalidInput(f"The architecture is one of {', '.join(sorted(_ARCHITECTURES))}, or what uname -m says of one of them.")
    if cluster.level is not None and not 1 <= cluster.level <= 4:
        raise InvalidInput("The x86-64 level is from 1 to 4.")
    for what, version in (("glibc", cluster.glibc), ("the NVIDIA driver", cluster.driver), ("ROCm", cluster.rocm)):
        if version is not None and parse_version(version) is None:
            raise InvalidInput(f"The version of {what} is written as in 2.34 or 550.54.14.")
    if cluster.mpi is not None and not _LIBRARY.fullmatch(cluster.mpi):
        raise InvalidInput(
            "MPI is described by the name of the library that programs are linked with: libmpi.so.12 for MPICH and its relatives,"
            " libmpi.so.40 for Open MPI. The words openmpi, mpich, mvapich and intelmpi stand for these."
        )
    return msgspec.json.encode(cluster).decode()


def _no_cluster(name: str) -> NotFound:
    return NotFound(f"There is no cluster {name[:63]!r}.")
