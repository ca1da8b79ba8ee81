"""Every public act of a room that writes leaves an entry in the audit log, in its own transaction, or is exempt for a reason.

The acts are found in the source, so that a new one fails here until it is audited and has its example, or its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from pysequoia import Tsk
from sqlalchemy import Connection

import roadstead
from roadstead.access.access import Access
from roadstead.access.actor import SYSTEM, Action, Actor, Level, Role
from roadstead.access.audit import ResourceType
from roadstead.access.person import Person
from roadstead.access.public_keys import parse
from roadstead.access.robots import NewRobot
from roadstead.access.source_settings import OidcSettings
from roadstead.access.vault import Vault
from roadstead.content.memory import MemoryStore
from roadstead.errors import NotFound
from roadstead.jobs.queue import Queue
from roadstead.metadata import audit, jobs, login_sources
from roadstead.metadata.audit import AuditRow, NewAudit
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import NewJob
from roadstead.metadata.listing import Listing, Page
from roadstead.metadata.login_sources import SourceRow
from roadstead.metadata.schema import metadata
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatibility.verdict import Cluster
from roadstead.sif.convert import Conversion
from roadstead.sif.orders import Means
from roadstead.sif.room import SifRoom, makers
from roadstead.upkeep.jobs import Jobs
from tests.conftest import MakeRegistry
from tests.support.factories import BEGINNING, VAULT, Image, ManualClock, blob, image, push_blob, push_image, push_manifest
from tests.support.pem import public_pem

T = TypeVar("T")

_ROOMS = [
    path
    for room in ("access", "registry", "jobs", "upkeep", "sif", "upstreams")
    for path in sorted((Path(roadstead.__file__).parent / room).glob("*.py"))
]


class _Room:
    """One class of a room, as its source has it."""

    def __init__(self, node: ast.ClassDef) -> None:
        self.name = node.name
        self.methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
        begin = self.methods.get("__init__")
        given = [] if begin is None else [arg for arg in _arguments(begin) if arg.annotation]
        types = {arg.arg: ast.unparse(arg.annotation).removesuffix(" | None") for arg in given if arg.annotation}
        self.parts = {
            target.attr: types[one.value.id]
            for one in (begin.body if begin else ())
            if isinstance(one, ast.Assign) and isinstance(one.value, ast.Name) and one.value.id in types
            for target in one.targets
            if isinstance(target, ast.Attribute)
        }


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*function.args.args, *function.args.kwonlyargs]


@cache
def rooms() -> dict[str, list[_Room]]:
    """Every class by its name, which two rooms may both use."""
    found: dict[str, list[_Room]] = {}
    for path in _ROOMS:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(_Room(node))
    return found


def calls(room: _Room, method: str) -> Iterator[tuple[str, str]]:
    """The methods of this room and of its parts that a method names, as (class, method)."""
    for node in ast.walk(room.methods[method]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield room.name, node.attr
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Attribute)
            and isinstance(node.value.value, ast.Name)
            and node.value.value.id == "self"
        ):
            yield room.parts.get(node.value.attr, ""), node.attr


def writes(name: str, method: str, seen: frozenset[tuple[str, str]] = frozenset()) -> bool:
    """Whether a method writes to the database, itself or by another; making a project by a push is `Repositories.locate`'s own act."""
    if (name, method) == ("Database", "write"):
        return True
    if (name, method) in seen or (seen and (name, method) in _OWN_ACTS):
        return False
    named = [room for room in rooms().get(name, ()) if method in room.methods]
    return any(writes(*called, seen | {(name, method)}) for room in named for called in calls(room, method))


_OWN_ACTS = {("Repositories", "locate"), ("SigningKeys", "current")}


def acts() -> set[str]:
    """Every public method of a room that writes."""
    return {
        f"{room.name}.{method}"
        for room in chain.from_iterable(rooms().values())
        for method, function in room.methods.items()
        if not method.startswith("_") and isinstance(function, ast.AsyncFunctionDef) and writes(room.name, method)
    }


EXEMPT = {
    "Accounts.by_password": "a login, which is noted",
    "Accounts.flush_uses": "when a credential was used last, in batches; the login itself is noted",
    "Audit.flush": "writes the log itself",
    "AuditExport.close": "a lease, and no change of the registry",
    "AuditExport.run": "marks what is exported",
    "Blobs.keep_one": "part of a push",
    "Blobs.mount": "part of a push, whose manifest is audited; only that makes an image of it",
    "Blobs.record": "part of a push",
    "Blobs.size": "renews the time for which a blob without a manifest stays",
    "Compatibility.of": "has an image looked into, which changes nothing in it",
    "Conversions.ensure": "asks for a conversion; the pull for which that happens is audited, and what is made changes no image",
    "Derived.record": "what is made of a manifest that somebody pushed, and goes with it",
    "Derived.share": "what was made of the same manifest before",
    "Identities.admit": "a login by a source, audited by whoever opens the session or notes the login",
    "Groups.refresh": "what directories say; the accounts that it ends or gives back have entries",
    "Job.write": "what the kind of a job does; whoever asked for the job has an entry",
    "Logins.by_password": "a login at a directory, noted where it was asked for",
    "PullCounter.flush": "writes the entries of pulls",
    "Queue.add": "asks for work that nobody asked for",
    "RateLimits.purge": "forgets windows that are over",
    "RateLimits.share": "counts requests",
    "Remade.blob": "makes again what was made before",
    "Reservation.cover": "part of a push",
    "Reservation.settle": "part of a push",
    "SifGate.check": "part of a push",
    "SifGate.examine": "what a SIF says of itself, found in its bytes",
    "Sessions.purge": "removes rows of sessions that ended long ago; their end was audited",
    "SigningKeys.current": "replaces the signing key by age; nobody does so",
    "Uploads.cancel": "part of a push that does not happen",
    "Uploads.finish": "part of a push",
    "Uploads.push": "part of a push",
    "Uploads.start": "part of a push",
    "Sources.finish": "a login by browser, audited with its session; linking is `Identities.link`",
    "Sources.link": "proves who somebody is for `Identities.link`",
    "Sifs.delete": "deletes by `Manifests`, whose entries tell of it",
    "Sifs.record": "pushes by `Manifests.put`, whose entry tells of it",
    "Sifs.tag": "tags by `Manifests.put`, whose entry tells of it",
    "Throttle.attempt": "counts failed logins, which are noted",
    "Throttle.purge": "forgets failed logins",
    "Uploads.write": "part of a push",
    "Worker.run": "how jobs stand",
    "VirtualTags.absent": "asks for a conversion, as `Conversions.ensure`",
    "VirtualTags.as_image": "asks for a conversion, as `Conversions.ensure`",
    "Workshop.convert": "what a job does that somebody asked for, or a pull",
}
"""Class.method → why it needs no entry of its own."""

ADDRESS = "192.0.2.7"
GOOD, BETTER = "correct horse battery", "staple of another kind"
OIDC = OidcSettings(issuer="https://login.example.org", client_id="registry")
KEY = Tsk.generate("Grace <grace@example.org>").extract_certificate()
PEM = public_pem(ed25519.Ed25519PrivateKey.generate()).decode()
FINGERPRINT = parse(PEM.encode()).fingerprint
KESTREL = Cluster("kestrel", "amd64")
PERSON = Person(subject="7", name="grace")


class World:
    """A registry in which the actor may do everything, and what examples need in it."""

    def __init__(self, database: Database, access: Access, registry: Registry, actor: Actor) -> None:
        self._database = database
        self.access = access
        self.registry = registry
        self.jobs = Jobs(database, lambda: BEGINNING)
        queue = Queue(database, lambda: BEGINNING)
        self.clusters = Clusters(database, lambda: BEGINNING)
        self.sif = SifRoom(database, registry, queue, makers(database, MemoryStore(), Conversion(), Means()), lambda: BEGINNING)
        self.actor = actor

    @property
    def own_id(self) -> int:
        """The actor's account."""
        assert self.actor.account_id is not None
        return self.actor.account_id

    async def person(self) -> int:
        """Somebody else's account."""
        return (await self.access.people.add(SYSTEM, "grace", GOOD)).id

    async def robot(self) -> int:
        """A robot of the system."""
        row, _ = await self.access.robots.add(SYSTEM, NewRobot("ci", None, (), duration_days=-1))
        return row.id

    async def member(self) -> int:
        """A membership in the project of `VAULT`."""
        await self.person()
        return (await self.registry.projects.add_member(SYSTEM, VAULT.project, "grace", Role.GUEST)).id

    async def group(self, *members: int) -> int:
        """A group with these accounts in it; returns its id."""
        row = await self.access.groups.add(SYSTEM, "modellers")
        for account_id in members:
            await self.access.groups.add_member(SYSTEM, row.id, account_id)
        return row.id

    async def source(self) -> SourceRow:
        """A login source."""
        await self.access.sources.add(SYSTEM, "sso", OIDC)
        row = await self._database.read(lambda connection: login_sources.find(connection, "sso"))
        assert row is not None
        return row

    async def job(self, *, cancelled: bool = False) -> int:
        """A job; returns its id."""
        added = await self._database.write(lambda connection: jobs.enqueue(connection, NewJob("work"), BEGINNING))
        if cancelled:
            await self.jobs.cancel(SYSTEM, added.id)
        return added.id

    async def image(self) -> Image:
        """An image with a tag."""
        pushed = image()
        await push_image(self.registry, SYSTEM, VAULT, pushed, "latest")
        return pushed


async def _revoke_token(world: World) -> None:
    row, _ = await world.access.credentials.add_token(SYSTEM, world.own_id, "laptop", Level.READ)
    await world.access.credentials.revoke(world.actor, world.own_id, row.id)


async def _end_session(world: World) -> None:
    await world.access.sessions.open(msgspec.structs.replace(world.actor, address=""), "browser")
    [row] = await world.access.sessions.list(world.actor, world.own_id)
    await world.access.sessions.end(world.actor, world.own_id, row.id)


async def _end_all_sessions(world: World) -> None:
    await world.access.sessions.open(msgspec.structs.replace(world.actor, address=""), "browser")
    await world.access.sessions.end_all(world.actor, world.own_id)


async def _close_session(world: World) -> None:
    secret = await world.access.sessions.open(msgspec.structs.replace(world.actor, address=""), "browser")
    await world.access.sessions.close(secret, ADDRESS)


async def _remove_key(world: World) -> None:
    await world.access.openpgp_keys.push(msgspec.structs.replace(world.actor, address=""), bytes(KEY))
    await world.access.openpgp_keys.remove(world.actor, KEY.fingerprint)


async def _move_source(world: World) -> None:
    await world.access.sources.add(SYSTEM, "first", OIDC)
    await world.source()
    await world.access.sources.move(world.actor, "sso", 1)


async def _unlink(world: World) -> None:
    identities = world.access.identities
    await identities.link(msgspec.structs.replace(world.actor, address=""), await world.source(), PERSON)
    [row] = await identities.list(world.actor, world.own_id)
    await identities.unlink(world.actor, world.own_id, row.id)


async def _change_robot(world: World) -> None:
    robot_id = await world.robot()
    await world.access.robots.change(world.actor, robot_id, description="", disabled=True, duration_days=-1, permissions=())


async def _purge(world: World) -> None:
    await world.person()
    await world.access.audit.purge(world.actor, BEGINNING + timedelta(hours=1))


async def _push(world: World) -> None:
    pushed = image()
    for one in pushed.blobs:
        await push_blob(world.registry, SYSTEM, VAULT, one)
    await push_manifest(world.registry, world.actor, VAULT, pushed, "latest")


async def _delete_blob(world: World) -> None:
    digest = await push_blob(world.registry, SYSTEM, VAULT, blob())
    await world.registry.blobs.delete(world.actor, VAULT, digest)


async def _remove_project(world: World) -> None:
    await world.registry.projects.add(SYSTEM, "brief")
    await world.registry.projects.remove(world.actor, "brief")


Act = Callable[[World], Coroutine[Any, Any, object]]

EXAMPLES: dict[str, tuple[str, Act]] = {
    "Accounts.issue_refresh_token": ("create token admin/docker", lambda w: w.access.accounts.issue_refresh_token(w.actor, "docker")),
    "Audit.purge": ("purge audit before 2026-01-01T01:00:00+00:00", _purge),
    "Blobs.delete": (f"delete blob vault/app@{blob().digest}", _delete_blob),
    "Configuration.change": (
        "update configuration session_timeout",
        lambda w: w.access.configuration.change(w.actor, {"session_timeout": 5}),
    ),
    "Credentials.add_token": (
        "create token admin/laptop",
        lambda w: w.access.credentials.add_token(w.actor, w.own_id, "laptop", Level.READ),
    ),
    "Credentials.make_cli_secret": (
        "create token admin/CLI secret",
        lambda w: w.access.credentials.make_cli_secret(w.actor, w.own_id),
    ),
    "Credentials.revoke": ("delete token admin/laptop", _revoke_token),
    "Copies.copy": (
        f"push artifact vault/copy@{image().digest}",
        lambda w: _after(w.image(), lambda pushed: w.registry.copies.copy(w.actor, VAULT, pushed.digest, RepositoryName("vault/copy"))),
    ),
    "Clusters.add": ("create cluster kestrel", lambda w: w.clusters.add(w.actor, KESTREL)),
    "Clusters.change": (
        "update cluster kestrel",
        lambda w: _after(w.clusters.add(SYSTEM, KESTREL), lambda _: w.clusters.change(w.actor, msgspec.structs.replace(KESTREL, level=3))),
    ),
    "Clusters.remove": (
        "delete cluster kestrel",
        lambda w: _after(w.clusters.add(SYSTEM, KESTREL), lambda _: w.clusters.remove(w.actor, "kestrel")),
    ),
    "Groups.add": ("create group sailors", lambda w: w.access.groups.add(w.actor, "sailors")),
    "Groups.add_member": (
        "update group modellers",
        lambda w: _after(w.group(), lambda group: w.access.groups.add_member(w.actor, group, w.own_id)),
    ),
    "Groups.remove": ("delete group modellers", lambda w: _after(w.group(), lambda group: w.access.groups.remove(w.actor, group))),
    "Groups.remove_member": (
        "update group modellers",
        lambda w: _after(w.group(w.own_id), lambda group: w.access.groups.remove_member(w.actor, group, w.own_id)),
    ),
    "Groups.rename": ("update group modellers", lambda w: _after(w.group(), lambda group: w.access.groups.rename(w.actor, group, "crew"))),
    "Identities.link": (
        "update user admin",
        lambda w: _after(w.source(), lambda row: w.access.identities.link(w.actor, row, PERSON)),
    ),
    "Identities.unlink": ("update user admin", _unlink),
    "Jobs.cancel": ("update job work", lambda w: _after(w.job(), lambda job: w.jobs.cancel(w.actor, job))),
    "Jobs.retry": ("update job work", lambda w: _after(w.job(cancelled=True), lambda job: w.jobs.retry(w.actor, job))),
    "Manifests.add_tag": (
        "create tag vault/app:stable",
        lambda w: _after(w.image(), lambda pushed: w.registry.manifests.add_tag(w.actor, VAULT, pushed.digest, TagName("stable"))),
    ),
    "Manifests.delete": (
        f"delete artifact vault/app@{image().digest}",
        lambda w: _after(w.image(), lambda pushed: w.registry.manifests.delete(w.actor, VAULT, pushed.digest)),
    ),
    "Manifests.delete_whole": (
        f"delete artifact vault/app@{image().digest}",
        lambda w: _after(w.image(), lambda pushed: w.registry.manifests.delete_whole(w.actor, VAULT, pushed.digest)),
    ),
    "Manifests.put": (f"push artifact vault/app@{image().digest}", _push),
    "Manifests.remove_tag": (
        "delete tag vault/app:latest",
        lambda w: _after(w.image(), lambda pushed: w.registry.manifests.remove_tag(w.actor, VAULT, pushed.digest, TagName("latest"))),
    ),
    "OpenPgpKeys.push": (
        f"create key {KEY.fingerprint}",
        lambda w: w.access.openpgp_keys.push(w.actor, bytes(KEY)),
    ),
    "OpenPgpKeys.remove": (f"delete key {KEY.fingerprint}", _remove_key),
    "People.add": ("create user grace", lambda w: w.access.people.add(w.actor, "grace", GOOD)),
    "People.change_profile": (
        "update user grace",
        lambda w: _after(w.person(), lambda one: w.access.people.change_profile(w.actor, one, real_name="Grace Hopper")),
    ),
    "People.remove": ("delete user grace", lambda w: _after(w.person(), lambda one: w.access.people.remove(w.actor, one))),
    "People.set_admin": ("update user grace", lambda w: _after(w.person(), lambda one: w.access.people.set_admin(w.actor, one, True))),
    "People.set_disabled": (
        "update user grace",
        lambda w: _after(w.person(), lambda one: w.access.people.set_disabled(w.actor, one, True)),
    ),
    "People.set_password": (
        "update user grace",
        lambda w: _after(w.person(), lambda one: w.access.people.set_password(w.actor, one, BETTER)),
    ),
    "Projects.add": ("create project climate", lambda w: w.registry.projects.add(w.actor, "climate")),
    "Projects.add_group": (
        "create member vault/modellers",
        lambda w: _after(w.group(), lambda _: w.registry.projects.add_group(w.actor, VAULT.project, "modellers", Role.GUEST)),
    ),
    "Projects.add_member": (
        "create member vault/grace",
        lambda w: _after(w.person(), lambda _: w.registry.projects.add_member(w.actor, VAULT.project, "grace", Role.GUEST)),
    ),
    "Projects.change": ("update project vault", lambda w: w.registry.projects.change(w.actor, VAULT.project, public=True)),
    "Projects.remove": ("delete project brief", _remove_project),
    "Projects.remove_member": (
        "delete member vault/grace",
        lambda w: _after(w.member(), lambda one: w.registry.projects.remove_member(w.actor, VAULT.project, one)),
    ),
    "Projects.set_role": (
        "update member vault/grace",
        lambda w: _after(w.member(), lambda one: w.registry.projects.set_role(w.actor, VAULT.project, one, Role.DEVELOPER)),
    ),
    "Quotas.set": ("update quota vault", lambda w: w.registry.quotas.set(w.actor, VAULT.project, 10**9)),
    "Repositories.describe": (
        "update repository vault/app",
        lambda w: _after(w.image(), lambda _: w.registry.repositories.describe(w.actor, VAULT, "A model.")),
    ),
    "Repositories.introduce": ("update repository vault/app", lambda w: w.registry.repositories.introduce(w.actor, VAULT, "A model.")),
    "Repositories.locate": (
        "create project fresh",
        lambda w: w.registry.repositories.locate(w.actor, RepositoryName("fresh/app"), Action.PUSH),
    ),
    "Repositories.remove": (
        "delete repository vault/app",
        lambda w: _after(w.image(), lambda _: w.registry.repositories.remove(w.actor, VAULT)),
    ),
    "Robots.add": (
        "create robot robot$ci",
        lambda w: w.access.robots.add(w.actor, NewRobot("ci", None, (), duration_days=-1)),
    ),
    "Robots.change": ("update robot robot$ci", _change_robot),
    "Robots.remove": ("delete robot robot$ci", lambda w: _after(w.robot(), lambda one: w.access.robots.remove(w.actor, one))),
    "Robots.set_disabled": (
        "update robot robot$ci",
        lambda w: _after(w.robot(), lambda one: w.access.robots.set_disabled(w.actor, one, True)),
    ),
    "Robots.rotate": ("update robot robot$ci", lambda w: _after(w.robot(), lambda one: w.access.robots.rotate(w.actor, one))),
    "Sessions.close": ("logout session admin", _close_session),
    "Sessions.end": ("delete session admin", _end_session),
    "Sessions.end_all": ("delete session admin", _end_all_sessions),
    "Sessions.open": ("create session admin", lambda w: w.access.sessions.open(w.actor, "browser")),
    "ShownConversions.start": (
        f"update artifact vault/app@{image().digest}",
        lambda w: _after(w.image(), lambda pushed: w.sif.shown.start(w.actor, VAULT, pushed.digest)),
    ),
    "Sources.add": ("create source sso", lambda w: w.access.sources.add(w.actor, "sso", OIDC)),
    "Sources.change": (
        "update source sso",
        lambda w: _after(w.source(), lambda _: w.access.sources.change(w.actor, "sso", msgspec.structs.replace(OIDC, onboarding=False))),
    ),
    "Sources.move": ("update source sso", _move_source),
    "Sources.remove": ("delete source sso", lambda w: _after(w.source(), lambda _: w.access.sources.remove(w.actor, "sso"))),
    "Sources.set_enabled": (
        "update source sso",
        lambda w: _after(w.source(), lambda _: w.access.sources.set_enabled(w.actor, "sso", False)),
    ),
    "Trust.add": ("create project vault", lambda w: w.registry.trust.add(w.actor, VAULT.project, PEM)),
    "Trust.remove": (
        "delete project vault",
        lambda w: _after(
            w.registry.trust.add(SYSTEM, VAULT.project, PEM), lambda _: w.registry.trust.remove(w.actor, VAULT.project, FINGERPRINT)
        ),
    ),
    "Trust.require": (
        "update project vault",
        lambda w: _after(
            w.registry.trust.add(SYSTEM, VAULT.project, PEM), lambda _: w.registry.trust.require(w.actor, VAULT.project, sifs=True)
        ),
    ),
}
"""Class.method → the entry that it leaves, as "action type resource", and how to do it."""

BY_THE_SYSTEM: dict[str, tuple[str, Act]] = {
    "Accounts.ensure_admin": ("create user admin", lambda w: w.access.accounts.ensure_admin(GOOD, BEGINNING)),
    "Projects.ensure": ("create project climate", lambda w: w.registry.projects.ensure("climate", public=True)),
}
"""The same for what happens without anybody asking, at the first start."""


async def _after(made: Coroutine[Any, Any, T], act: Callable[[T], Coroutine[Any, Any, object]]) -> None:
    await act(await made)


@pytest.fixture
async def world(database: Database, make_registry: MakeRegistry, clock: ManualClock, admin: Actor) -> World:
    access = Access(database, Vault([b"k" * 32]), create_projects_on_push=True, clock=clock)
    clock.advance(timedelta(days=1))
    actor = msgspec.structs.replace(admin, address=ADDRESS)
    return World(database, access, make_registry(Rules(create_projects_on_push=True)), actor)


async def entries(world: World) -> list[tuple[str, str, str, str]]:
    """Of each entry: what, who, from where, result."""
    found, _ = await world.access.audit.list(SYSTEM, Listing(page=Page(size=1000)))
    return [(f"{row.action} {row.resource_type} {_named(row)}", row.actor, row.address, row.result) for row in found]


def _named(row: AuditRow) -> str:
    """The resource; of a job, whose number is not known before, its kind."""
    return row.resource.partition("/")[0] if row.resource_type == ResourceType.JOB else row.resource


def test_every_act_that_writes_has_its_example_or_a_reason() -> None:
    assert acts() == {*EXAMPLES, *BY_THE_SYSTEM, *EXEMPT}


@pytest.mark.parametrize("act", EXAMPLES)
async def test_the_act_is_audited(world: World, act: str) -> None:
    what, do = EXAMPLES[act]
    await do(world)
    assert [one for one in await entries(world) if one[2] == ADDRESS].count((what, "admin", ADDRESS, "success")) == 1


@pytest.mark.parametrize("act", EXAMPLES)
async def test_what_is_not_audited_is_not_done(world: World, act: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is in the change's own transaction: where it cannot be written, nothing is."""
    what, do = EXAMPLES[act]
    add = audit.add

    def refuse(connection: Connection, *new: NewAudit) -> None:
        if any(one.address == ADDRESS for one in new):
            before.append(dump(connection))
            raise NotFound("no log")
        add(connection, *new)

    before: list[object] = []
    monkeypatch.setattr(audit, "add", refuse)
    with pytest.raises(NotFound, match="no log"):
        await do(world)
    monkeypatch.undo()
    after = await database.read(dump)
    assert len(before) == 1
    assert after != before[0]  # the change had been made, and was undone
    assert what not in [one[0] for one in await entries(world) if one[2] == ADDRESS]


def dump(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {table.name: sorted(map(tuple, connection.execute(table.select())), key=repr) for table in metadata.sorted_tables}


@pytest.mark.parametrize("act", BY_THE_SYSTEM)
async def test_what_the_first_start_does_is_audited(act: str, database: Database, clock: ManualClock, store: MemoryStore) -> None:
    what, do = BY_THE_SYSTEM[act]
    access = Access(database, Vault([b"k" * 32]), clock=clock)
    world = World(database, access, Registry(database, store, clock=clock), SYSTEM)
    await do(world)
    await do(world)
    assert await entries(world) == [(what, "system", "", "success")]


async def test_a_push_and_a_deletion_tell_of_their_tags(world: World) -> None:
    first, second = image("first"), image("second")
    for one in (first, second):
        await push_image(world.registry, world.actor, VAULT, one, "latest")
    await push_manifest(world.registry, world.actor, VAULT, second, "latest")
    await world.registry.manifests.delete(world.actor, VAULT, second.digest)
    found = [what for what, _, address, _ in await entries(world) if address == ADDRESS]
    assert found[::-1] == [
        f"push artifact vault/app@{first.digest}",
        "create tag vault/app:latest",
        f"push artifact vault/app@{second.digest}",
        "update tag vault/app:latest",
        f"push artifact vault/app@{second.digest}",
        "delete tag vault/app:latest",
        f"delete artifact vault/app@{second.digest}",
    ]
