"""Search as one types, across kinds: projects, repositories, tags, digests, and the labels of SIFs and images; and what was pushed last.

One statement finds all kinds, so that their order and their pages are one; of each it takes no more than the page needs. What is
asked for is compared without regard to the case of ASCII letters, and its `%` and `_` are characters like all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    Subquery,
    and_,
    case,
    cast,
    column,
    exists,
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
from roadstead.metadata.likeness import ESCAPE, begins, contains, ends, escaped
from roadstead.metadata.listing import Page
from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.quotas import stored_in
from roadstead.metadata.repositories import FULL_NAME, LIVE
from roadstead.metadata.schema import (
    accounts,
    digests,
    image_facts,
    manifest_references,
    manifests,
    projects,
    repositories,
    sif_facts,
    tags,
)
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName

_DIGEST: Final = re.compile(r"(?:(sha256|sha512)[:-])?([0-9a-f]{6,128})")
_IN_TAGS: Final = re.compile(r"[\w.-]*", re.ASCII)
"""A part of a tag (distribution-spec, "Pulling manifests"). What has other characters is in none, and there are many to be read."""
_EXACT, _PREFIX, _PART, _SAID = range(4)
_KINDS: Final = ("project", "repository", "tag", "digest", "label")
_FURTHEST: Final = 1000
_NEWEST_TAGS: Final = 2000
_NEWEST: Final = 200
_FEW: Final = 200
_SHORTEST_IN_LABELS: Final = 3  # nearly every image has a label with any two letters in it


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
    end = min(offset + page.size + 1, _FURTHEST)
    best = [select(_in_order(kind).limit(end).subquery()) for kind in _of_all_kinds(connection, scope, text, end)]
    statement = _in_order(select(union_all(*best).subquery())).limit(end - offset).offset(offset)
    rows = [_hit(tuple(row)) for row in connection.execute(statement)]
    return rows[: page.size], len(rows) > page.size


def _of_all_kinds(connection: Connection, scope: ProjectScope, text: str, most: int) -> list[Select[Any]]:
    seen = _seen(scope)
    kinds = [_projects(scope, text), _repositories(seen, text)]
    if _IN_TAGS.fullmatch(text.rpartition(":")[2]):
        kinds.append(_tags(seen, text, most))
    if len(text) >= _SHORTEST_IN_LABELS:
        kinds += [labels for of in (_image_labels, _sif_labels) if (labels := of(connection, seen, text)) is not None]
    if digest := _DIGEST.fullmatch(text.lower()):
        prefixes = [f"{algorithm}:{digest[2]}" for algorithm in ([digest[1]] if digest[1] else ["sha256", "sha512"])]
        kinds += [_manifests(seen, prefixes), _files(seen, prefixes)]
    return kinds


def _in_order(found: Select[Any]) -> Select[Any]:
    """The best first; among equals by kind and name, so that pages follow each other."""
    columns = found.selected_columns
    return found.order_by(*(columns[name] for name in ("rank", "kind", "project", "path", "tag", "digest", "said")))


def _hit(row: tuple[Any, ...]) -> HitRow:
    _, kind, project, path, tag, digest, said = row
    name = None if path is None else RepositoryName(f"{project}/{path}")
    return HitRow(_KINDS[kind], project, name, tag and TagName(tag), digest and Digest(digest), said)


def _seen(scope: ProjectScope) -> Subquery:
    """The repositories that the scope shows."""
    columns = (repositories.c.id, projects.c.name.label("project"), repositories.c.path, repositories.c.description)
    joined = select(*columns, FULL_NAME.label("name")).join_from(projects, repositories, repositories.c.project_id == projects.c.id)
    return joined.where(LIVE, scope.condition()).subquery("seen")


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


def _rank(text: str, name: ColumnElement[str]) -> ColumnElement[int]:
    """How well a name fits; what it does not fit is there because of what it says."""
    exact = func.lower(name) == text.lower()
    return case((exact, _EXACT), (begins(name, text), _PREFIX), (contains(name, text), _PART), else_=_SAID)


def _projects(scope: ProjectScope, text: str) -> Select[Any]:
    fits = or_(contains(projects.c.name, text), contains(projects.c.description, text))
    row = _row(_rank(text, projects.c.name), "project", projects.c.name, said=projects.c.description)
    return row.where(projects.c.deleted_at.is_(None), scope.of_projects(), fits)


def _repositories(seen: Subquery, text: str) -> Select[Any]:
    """With a slash before it, a name's last part begins it too: people type `gromacs` for `lab/tools/gromacs`."""
    # SQLite puts each name together once and compares it several times; PostgreSQL plans better with what it knows of the tables.
    named = select(seen).cte("named").prefix_with("MATERIALIZED", dialect="sqlite")
    last = or_(ends(named.c.name, "/" + text), func.lower(named.c.name) == text.lower())
    first = or_(begins(named.c.name, text), contains(named.c.name, "/" + text))
    part = contains(named.c.name, text)
    rank = case((last, _EXACT), (first, _PREFIX), (part, _PART), else_=_SAID)
    row = _row(rank, "repository", named.c.project, named.c.path, said=named.c.description)
    holding = exists().where(manifests.c.repository_id == named.c.id, manifests.c.deleted_at.is_(None))
    return row.where(holding, or_(part, contains(named.c.description, text)))


def _tags(seen: Subquery, text: str, most: int) -> Select[Any]:
    """By the tag's name; what has a colon is held against the whole reference, `lab/tools/gromacs:2026`."""
    name: ColumnElement[str] = seen.c.name + ":" + tags.c.name if ":" in text else tags.c.name
    row = _row(_rank(text, name), "tag", seen.c.project, seen.c.path, tags.c.name).add_columns(tags.c.manifest_id)
    joined = row.join_from(seen, tags, tags.c.repository_id == seen.c.id)
    fitting = joined.where(tags.c.deleted_at.is_(None), *_fits_reference(seen, text))
    # Thousands may fit; only of those that are shown the manifests are read.
    best = _in_order(fitting).limit(most).subquery("best")
    shown = _row(best.c.rank, "tag", best.c.project, best.c.path, best.c.tag, manifests.c.digest)
    return shown.join_from(best, manifests, manifests.c.id == best.c.manifest_id)


def _fits_reference(seen: Subquery, text: str) -> list[ColumnElement[bool]]:
    """Neither name has a colon, so what is before one ends that of a repository, which spares the reading of all others' tags."""
    before, colon, behind = text.partition(":")
    if not colon:
        return [contains(tags.c.name, text)]
    return [ends(seen.c.name, before), begins(tags.c.name, behind)]


def _begins(digest: ColumnElement[str], prefixes: list[str]) -> ColumnElement[bool]:
    """As a range, which an index serves: `g` comes after every hexadecimal digit."""
    return or_(*(and_(digest >= prefix, digest < f"{prefix}g") for prefix in prefixes))


def _whole(digest: ColumnElement[str], prefixes: list[str]) -> ColumnElement[int]:
    return case((digest.in_(prefixes), _EXACT), else_=_PREFIX)


def _manifests(seen: Subquery, prefixes: list[str]) -> Select[Any]:
    row = _row(_whole(manifests.c.digest, prefixes), "digest", seen.c.project, seen.c.path, digest=manifests.c.digest)
    joined = row.join_from(seen, manifests, manifests.c.repository_id == seen.c.id)
    return joined.where(manifests.c.deleted_at.is_(None), _begins(manifests.c.digest, prefixes))


def _files(seen: Subquery, prefixes: list[str]) -> Select[Any]:
    """Manifests by the digest of a file that they name, such as a SIF's."""
    begun = (
        select(digests.c.content_id, digests.c.digest).where(_begins(digests.c.digest, prefixes)).cte("files").prefix_with("MATERIALIZED")
    )
    row = _row(_whole(begun.c.digest, prefixes), "digest", seen.c.project, seen.c.path, digest=manifests.c.digest, said=begun.c.digest)
    return (
        row.join_from(begun, manifest_references, manifest_references.c.content_id == begun.c.content_id)
        .join(manifests, manifests.c.id == manifest_references.c.manifest_id)
        .join(seen, seen.c.id == manifests.c.repository_id)
        .where(manifests.c.deleted_at.is_(None))
    )


def _sif_labels(connection: Connection, seen: Subquery, text: str) -> Select[Any] | None:
    """By the labels of SIFs: their names, values, or `name=value`; None where no SIF has such."""
    facts = sif_facts.c.facts
    each = _EACH_LABEL[connection.dialect.name](facts)
    said: ColumnElement[str] = each.c.key + "=" + each.c.value
    # The first condition spares most the reading of their JSON.
    fits = (contains(facts, _longest(text)), contains(said, text))
    of_files = select(sif_facts.c.content_id, said.label("said")).join_from(sif_facts, each, true()).where(*fits)
    # What few SIFs say is looked for before the many repositories, which SQLite does not find out by itself.
    few = [row[0] for row in connection.execute(of_files.with_only_columns(sif_facts.c.content_id).limit(_FEW + 1))]
    if not few:
        return None
    labels = of_files.cte("labels").prefix_with("MATERIALIZED")
    row = _row(literal(_SAID), "label", seen.c.project, seen.c.path, digest=manifests.c.digest, said=labels.c.said)
    if len(few) <= _FEW:
        row = row.where(manifest_references.c.content_id.in_(few))
    return (
        row.join_from(labels, manifest_references, manifest_references.c.content_id == labels.c.content_id)
        .join(manifests, manifests.c.id == manifest_references.c.manifest_id)
        .join(seen, seen.c.id == manifests.c.repository_id)
        .where(manifests.c.deleted_at.is_(None))
    )


def _image_labels(connection: Connection, seen: Subquery, text: str) -> Select[Any] | None:
    """By the labels of images and the annotations of their manifests, as far as they are kept with their facts; None where none has such.

    Of a word that many have, the newest images: all of them would have to be read to be put in order.
    """
    facts = image_facts.c.facts
    # As with SIFs: what few say is looked for before the many repositories.
    fitting = select(image_facts.c.manifest_id).where(_may_be_folded(facts, text)).limit(_FEW + 1)
    few = [row[0] for row in connection.execute(fitting)]
    if not few:
        return None
    newest = (
        select(image_facts.c.manifest_id, seen.c.project, seen.c.path, manifests.c.digest, facts)
        .join_from(image_facts, manifests, manifests.c.id == image_facts.c.manifest_id)
        .join(seen, seen.c.id == manifests.c.repository_id)
        .where(image_facts.c.manifest_id.in_(few) if len(few) <= _FEW else _may_be_folded(facts, text), manifests.c.deleted_at.is_(None))
        .order_by(image_facts.c.manifest_id.desc())
        .limit(_NEWEST)
        .cte("labelled")
        .prefix_with("MATERIALIZED")
    )
    each = _EACH_LABEL[connection.dialect.name](newest.c.facts)
    said: ColumnElement[str] = each.c.key + "=" + each.c.value
    row = _row(literal(_SAID), "label", newest.c.project, newest.c.path, digest=newest.c.digest, said=said)
    return row.select_from(newest.join(each, true())).where(contains(said, text))


def _may_be_folded(facts: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Whether the record may have such a label. What is searched of those stands last in it, in small letters: so PostgreSQL compares
    bytes, which is ten times as fast as letters of any case."""
    return facts.like(f'%"folded":"%{escaped(_longest(text.lower()))}%', escape=ESCAPE)


def _longest(text: str) -> str:
    """Of a text the longest part that is written so in JSON, where quotation marks, backslashes and control characters are not."""
    return max(re.split(r'["\\=\x00-\x1f]', text), key=len)


def _each_sqlite(facts: ColumnElement[str]) -> Any:
    return func.json_each(facts, "$.labels").table_valued("key", "value")


def _each_postgresql(facts: ColumnElement[str]) -> Any:
    # JSON may name the character U+0000, and PostgreSQL's JSON may not: what does so is not read.
    readable = ~facts.contains("\\u0000", autoescape=True)
    said = cast(case((readable, facts)), JSONB)["labels"]
    each = func.jsonb_each_text(case((func.jsonb_typeof(said) == "object", said)))
    return each.table_valued(column("key", String), column("value", String)).lateral("label")


_EACH_LABEL: Final[dict[str, Callable[[ColumnElement[str]], Any]]] = {"sqlite": _each_sqlite, "postgresql": _each_postgresql}


def recent(connection: Connection, scope: ProjectScope, limit: int) -> list[PushRow]:
    """The tags that were pushed last in what the scope shows, the newest first; none by which a client says that it signed something."""
    live = tags.c.deleted_at.is_(None)
    newest = select(tags.c.id).where(live).order_by(tags.c.pushed_at.desc(), tags.c.id.desc()).limit(_NEWEST_TAGS)
    columns = (manifests.c.digest, manifests.c.media_type, manifests.c.artifact_type, accounts.c.name, tags.c.pushed_at)
    statement = (
        select(manifests.c.id, projects.c.name, repositories.c.path, tags.c.name, *columns)
        .join_from(tags, repositories, repositories.c.id == tags.c.repository_id)
        .join(projects, projects.c.id == repositories.c.project_id)
        .join(manifests, manifests.c.id == tags.c.manifest_id)
        .outerjoin(accounts, accounts.c.id == tags.c.pushed_by)
        .where(live, LIVE, scope.condition(), ~tags.c.name.startswith("sha256-"))
        .order_by(tags.c.pushed_at.desc(), tags.c.id.desc())
        .limit(limit)
    )
    # Nearly everybody sees some of the newest of all, which an index leads to; who does not sees few, and those are put in order.
    rows = connection.execute(statement.where(tags.c.id.in_(newest))).all()
    if len(rows) < limit:
        rows = connection.execute(statement).all()
    return [PushRow(row[0], RepositoryName(f"{row[1]}/{row[2]}"), TagName(row[3]), Digest(row[4]), *row[5:]) for row in rows]


def recent_sizes(connection: Connection, rows: list[PushRow]) -> tuple[dict[int, int], set[int]]:
    """By manifest id, what each comes to in bytes; and those that are of SIFs."""
    ids = [row.manifest_id for row in rows]
    return artifacts.sizes(connection, ids), artifacts.sifs(connection, ids)


def use(connection: Connection, scope: ProjectScope, limit: int) -> list[UseRow]:
    """The projects that the scope shows for another reason than being public, with what they store, the largest first."""
    stored = cast(stored_in(projects.c.id), BigInteger).label("stored")
    statement = select(projects.c.name, stored, projects.c.storage_limit).where(projects.c.deleted_at.is_(None), scope.of_own_projects())
    return [UseRow(*row) for row in connection.execute(statement.order_by(stored.desc(), projects.c.name).limit(limit))]
