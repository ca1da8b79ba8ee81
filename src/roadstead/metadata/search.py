"""Search as one types, across kinds: projects, repositories, tags, digests, and the labels that SIFs have; and what was pushed last.

One statement finds all kinds, so that their order and their pages are one. What is asked for is compared without regard to the case of
ASCII letters, and its `%` and `_` are characters like all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from roadstead.metadata import artifacts
from roadstead.metadata.listing import Page
from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.quotas import stored_in
from roadstead.metadata.repositories import FULL_NAME, LIVE, holds_something
from roadstead.metadata.schema import accounts, digests, manifest_references, manifests, projects, repositories, sif_facts, tags
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName

_DIGEST: Final = re.compile(r"(?:(sha256|sha512)[:-])?([0-9a-f]{6,128})")
_EXACT, _PREFIX, _PART, _SAID = range(4)
_KINDS: Final = ("project", "repository", "tag", "digest", "label")
_FURTHEST: Final = 1000


class HitRow(msgspec.Struct, frozen=True):
    """What was found: its `kind` is project, repository, tag, digest or label, and tells which of the others there are.

    `digest` is a manifest's. `said` is the description of a project or repository, a label as `name=value`, or the digest that was found
    where it is that of a file that the manifest names.
    """

    kind: str
    project: str
    repository: RepositoryName | None
    tag: TagName | None
    digest: Digest | None
    said: str


class PushRow(msgspec.Struct, frozen=True):
    """A tag as it was pushed last. `by` is None where nobody in particular did."""

    manifest_id: int
    repository: RepositoryName
    tag: TagName
    digest: Digest
    media_type: str
    artifact_type: str | None
    by: str | None
    at: datetime


class UseRow(msgspec.Struct, frozen=True):
    """What a project stores, and may store (None: without limit), in bytes."""

    project: str
    stored: int
    limit: int | None


def find(connection: Connection, scope: ProjectScope, text: str, page: Page) -> tuple[list[HitRow], bool]:
    """A page of what the scope shows of `text`: what has exactly that name, then what begins with it, has it in its name, speaks of it.

    And whether there is more; beyond the first thousand there is none. `text` is neither empty nor has it the character U+0000.
    """
    offset = (page.number - 1) * page.size
    if offset >= _FURTHEST:
        return [], False
    seen = _seen(scope)
    kinds = [_projects(scope, text), _repositories(seen, text), _tags(seen, text), _labels(connection, seen, text)]
    if digest := _DIGEST.fullmatch(text.lower()):
        prefixes = [f"{algorithm}:{digest[2]}" for algorithm in ([digest[1]] if digest[1] else ["sha256", "sha512"])]
        kinds += [_manifests(seen, prefixes), _files(seen, prefixes)]
    found = union_all(*kinds).subquery()
    order = (found.c.rank, found.c.kind, found.c.project, found.c.path, found.c.tag, found.c.digest, found.c.said)
    columns = (found.c.kind, found.c.project, found.c.path, found.c.tag, found.c.digest, found.c.said)
    statement = select(*columns).order_by(*order).limit(page.size + 1).offset(offset)
    rows = [_hit(tuple(row)) for row in connection.execute(statement)]
    return rows[: page.size], len(rows) > page.size and offset + page.size < _FURTHEST


def _hit(row: tuple[Any, ...]) -> HitRow:
    kind, project, path, tag, digest, said = row
    name = None if path is None else RepositoryName(f"{project}/{path}")
    return HitRow(_KINDS[kind], project, name, tag and TagName(tag), digest and Digest(digest), said)


def _seen(scope: ProjectScope) -> CTE:
    """The repositories that the scope shows and that hold something: worked out once, for all kinds."""
    columns = (repositories.c.id, projects.c.name.label("project"), repositories.c.path, repositories.c.description)
    joined = select(*columns, FULL_NAME.label("name")).join_from(projects, repositories, repositories.c.project_id == projects.c.id)
    return joined.where(LIVE, scope.condition(), holds_something()).cte("seen")


def _row(
    rank: ColumnElement[int],
    kind: str,
    project: ColumnElement[str],
    path: ColumnElement[Any] | None = None,
    tag: ColumnElement[Any] | None = None,
    digest: ColumnElement[Any] | None = None,
    said: ColumnElement[Any] | None = None,
) -> Select[Any]:
    """The columns that all kinds have."""
    absent = cast(null(), String)
    return select(
        rank.label("rank"),
        literal(_KINDS.index(kind)).label("kind"),
        project.label("project"),
        (absent if path is None else path).label("path"),
        (absent if tag is None else tag).label("tag"),
        (absent if digest is None else digest).label("digest"),
        (literal("") if said is None else said).label("said"),
    )


def _rank(text: str, *names: ColumnElement[str]) -> ColumnElement[int]:
    """How well the best of these names fits; what fits none is there because of what it says."""
    exact = or_(*(func.lower(name) == text.lower() for name in names))
    prefix = or_(*(name.istartswith(text, autoescape=True) for name in names))
    part = or_(*(name.icontains(text, autoescape=True) for name in names))
    return case((exact, _EXACT), (prefix, _PREFIX), (part, _PART), else_=_SAID)


def _projects(scope: ProjectScope, text: str) -> Select[Any]:
    fits = or_(projects.c.name.icontains(text, autoescape=True), projects.c.description.icontains(text, autoescape=True))
    row = _row(_rank(text, projects.c.name), "project", projects.c.name, said=projects.c.description)
    return row.where(projects.c.deleted_at.is_(None), scope.of_projects(), fits)


def _repositories(seen: CTE, text: str) -> Select[Any]:
    """With a slash before it, a name's last part begins it too: people type `gromacs` for `lab/tools/gromacs`."""
    last = or_(func.lower(seen.c.name).endswith("/" + text.lower(), autoescape=True), func.lower(seen.c.name) == text.lower())
    begins = or_(seen.c.name.istartswith(text, autoescape=True), seen.c.name.icontains("/" + text, autoescape=True))
    part = seen.c.name.icontains(text, autoescape=True)
    rank = case((last, _EXACT), (begins, _PREFIX), (part, _PART), else_=_SAID)
    row = _row(rank, "repository", seen.c.project, seen.c.path, said=seen.c.description)
    return row.where(or_(part, seen.c.description.icontains(text, autoescape=True)))


def _tags(seen: CTE, text: str) -> Select[Any]:
    """By the tag's name; what has a colon is held against the whole reference, `lab/tools/gromacs:2026`."""
    name: ColumnElement[str] = seen.c.name + ":" + tags.c.name if ":" in text else tags.c.name
    row = _row(_rank(text, name), "tag", seen.c.project, seen.c.path, tags.c.name, manifests.c.digest)
    joined = row.join_from(seen, tags, tags.c.repository_id == seen.c.id).join(manifests, manifests.c.id == tags.c.manifest_id)
    return joined.where(tags.c.deleted_at.is_(None), name.icontains(text, autoescape=True))


def _begins(digest: ColumnElement[str], prefixes: list[str]) -> ColumnElement[bool]:
    """As a range, which an index serves: `g` comes after every hexadecimal digit."""
    return or_(*(and_(digest >= prefix, digest < f"{prefix}g") for prefix in prefixes))


def _whole(digest: ColumnElement[str], prefixes: list[str]) -> ColumnElement[int]:
    return case((digest.in_(prefixes), _EXACT), else_=_PREFIX)


def _manifests(seen: CTE, prefixes: list[str]) -> Select[Any]:
    row = _row(_whole(manifests.c.digest, prefixes), "digest", seen.c.project, seen.c.path, digest=manifests.c.digest)
    joined = row.join_from(seen, manifests, manifests.c.repository_id == seen.c.id)
    return joined.where(manifests.c.deleted_at.is_(None), _begins(manifests.c.digest, prefixes))


def _files(seen: CTE, prefixes: list[str]) -> Select[Any]:
    """Manifests by the digest of a file that they name, such as a SIF's."""
    row = _row(_whole(digests.c.digest, prefixes), "digest", seen.c.project, seen.c.path, digest=manifests.c.digest, said=digests.c.digest)
    return (
        row.join_from(digests, manifest_references, manifest_references.c.content_id == digests.c.content_id)
        .join(manifests, manifests.c.id == manifest_references.c.manifest_id)
        .join(seen, seen.c.id == manifests.c.repository_id)
        .where(manifests.c.deleted_at.is_(None), _begins(digests.c.digest, prefixes))
    )


def _labels(connection: Connection, seen: CTE, text: str) -> Select[Any]:
    """By the labels of SIFs: their names, values, or `name=value`."""
    label = _EACH_LABEL[connection.dialect.name]()
    said: ColumnElement[str] = label.c.key + "=" + label.c.value
    row = _row(literal(_SAID), "label", seen.c.project, seen.c.path, digest=manifests.c.digest, said=said)
    return (
        row.join_from(sif_facts, manifest_references, manifest_references.c.content_id == sif_facts.c.content_id)
        .join(manifests, manifests.c.id == manifest_references.c.manifest_id)
        .join(seen, seen.c.id == manifests.c.repository_id)
        .join(label, true())
        # The second condition spares most the reading of their JSON, in which only quotation marks and backslashes are written otherwise.
        .where(manifests.c.deleted_at.is_(None), _may_say(text), said.icontains(text, autoescape=True))
    )


def _may_say(text: str) -> ColumnElement[bool]:
    longest = max(re.split(r'["\\=\x00-\x1f]', text), key=len)
    return sif_facts.c.facts.icontains(longest, autoescape=True)


def _each_sqlite() -> Any:
    return func.json_each(sif_facts.c.facts, "$.labels").table_valued("key", "value")


def _each_postgresql() -> Any:
    # JSON may name the character U+0000, and PostgreSQL's JSON may not: what does so is not read.
    readable = ~sif_facts.c.facts.contains("\\u0000", autoescape=True)
    said = cast(case((readable, sif_facts.c.facts)), JSONB)["labels"]
    each = func.jsonb_each_text(case((func.jsonb_typeof(said) == "object", said)))
    return each.table_valued(column("key", String), column("value", String)).lateral("label")


_EACH_LABEL: Final[dict[str, Callable[[], Any]]] = {"sqlite": _each_sqlite, "postgresql": _each_postgresql}


def recent(connection: Connection, scope: ProjectScope, limit: int) -> list[PushRow]:
    """The tags that were pushed last in what the scope shows, the newest first; none by which a client says that it signed something."""
    columns = (manifests.c.digest, manifests.c.media_type, manifests.c.artifact_type, accounts.c.name, tags.c.pushed_at)
    statement = (
        select(manifests.c.id, projects.c.name, repositories.c.path, tags.c.name, *columns)
        .join_from(tags, repositories, repositories.c.id == tags.c.repository_id)
        .join(projects, projects.c.id == repositories.c.project_id)
        .join(manifests, manifests.c.id == tags.c.manifest_id)
        .outerjoin(accounts, accounts.c.id == tags.c.pushed_by)
        .where(tags.c.deleted_at.is_(None), LIVE, scope.condition(), ~tags.c.name.startswith("sha256-"))
        .order_by(tags.c.pushed_at.desc(), tags.c.id.desc())
        .limit(limit)
    )
    return [
        PushRow(row[0], RepositoryName(f"{row[1]}/{row[2]}"), TagName(row[3]), Digest(row[4]), *row[5:])
        for row in connection.execute(statement)
    ]


def recent_sizes(connection: Connection, rows: list[PushRow]) -> tuple[dict[int, int], set[int]]:
    """By manifest id, what each comes to in bytes; and those that are of SIFs."""
    ids = [row.manifest_id for row in rows]
    return artifacts.sizes(connection, ids), artifacts.sifs(connection, ids)


def use(connection: Connection, scope: ProjectScope, limit: int) -> list[UseRow]:
    """The projects that the scope shows for another reason than being public, with what they store, the largest first."""
    stored = cast(stored_in(projects.c.id), BigInteger).label("stored")
    statement = select(projects.c.name, stored, projects.c.storage_limit).where(projects.c.deleted_at.is_(None), scope.of_own_projects())
    return [UseRow(*row) for row in connection.execute(statement.order_by(stored.desc(), projects.c.name).limit(limit))]
