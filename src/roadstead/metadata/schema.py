"""Every table, declared once, for SQLite and PostgreSQL alike.

    accounts ─┬─< projects ─┬─< repositories ─┬─< manifests ──< manifest_references >─┐
              │             │                 ├─< tags, tag_history                   │
              │             │                 ├─< blob_links >── contents ──< digests │
              │             │                 └─< uploads          └──────────────────┘
              │             ├─< quota_charges >── contents, quota_entries
              │             └─< trusted_keys
              ├─< credentials (sessions too), robots
              ├─< identities >── login_sources
              ├─< account_groups >── groups
              ├─< openpgp_keys ──< openpgp_handles, openpgp_user_ids
              ├─< members >── projects (also groups ─< members)
              └─< events (outbox), audit_log

    projects ──< jobs ──< job_log
    signing_keys, configuration, login_failures, rate_windows, leases, schedules, storage_samples, clusters

* Ids are 64-bit and never reused (AUTOINCREMENT, identity): outside clients keep them. Rows refer to each other by id, so a
  rename is one row.
* What a user deletes is marked with `deleted_at` first; the unique indexes count only live rows.
* A **content** row is bytes in the content store. Its digests are aliases: the same bytes may be known by sha256 and by sha512.
* A **blob link** makes a content visible in one repository; nothing else does.
* A **quota charge** says that a content counts in a project, once, whatever number of its repositories link it; the entries of
  `quota_entries` add up to what the project uses (bytes), so that counting one more is an insert and waits for nobody.
* A **manifest** is repository + digest as pushed, with its exact bytes, so that a manifest GET is one query. A **derived** manifest is one
  that this registry made of another, its subject: it goes with that, and what only such manifests name counts in no quota. It is an
  ordinary one from the moment that somebody pushes the same bytes.

Life of content, said once (the collector is `upkeep.collect`):

* A link is *loose* when no live manifest of its repository refers to its content, whichever of the two came first. A link that is loose
  and was untouched (`blob_links.touched_at`) for the grace period may be unlinked. Pushing, mounting and a HEAD that answers 200 touch it.
* The last unlink of a content sets `contents.doomed_at`; linking again, by push or mount, clears it, in the same row.
* Bytes go only when `doomed_at` is older than a second grace period, longer than any presigned URL lives, by compare-and-swap on
  `doomed_at` and `state`: who links first wins, who collects first makes the content absent for everybody.

Times are BIGINT microseconds since 1970-01-01T00:00Z, the same on both databases and as cheap to compare as an integer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
    true,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Microseconds since the epoch, as stored; exact."""
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(stored: int) -> datetime:
    """The aware UTC time of a stored value; exact."""
    return EPOCH + timedelta(microseconds=stored)


class Moment(TypeDecorator[datetime]):
    """An aware UTC time, stored as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Aware time to integer; a naive time raises TypeError."""
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Integer to aware time."""
        return None if value is None else from_microseconds(value)


# Names sort by their bytes (distribution-spec "Listing Tags": ASCIIbetical), which SQLite does by itself.
Name = String().with_variant(String(collation="C"), "postgresql")
# SQLite makes only a column of type exactly INTEGER its 64-bit row id.
Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Id, Identity(always=False), primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False, **options: Any) -> Column[int]:
    return Column(name, Id, ForeignKey(f"{target}.id"), nullable=nullable, **options)


def _live_unique(name: str, *columns: Any) -> Index:
    """Unique among rows that are not deleted."""
    return Index(name, *columns, unique=True, sqlite_where=text("deleted_at IS NULL"), postgresql_where=text("deleted_at IS NULL"))


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("name", Name, nullable=False, unique=True),
    Column("password_hash", Text),
    Column("is_admin", Boolean, nullable=False, server_default=false()),
    Column("created_at", Moment, nullable=False),
    Column("disabled_at", Moment),
    Column("kind", String, nullable=False, server_default="user"),
    Column("source", String, nullable=False, server_default="local"),
    Column("email", String),
    Column("real_name", String),
    Column("comment", String),
    Column("deleted_at", Moment),
    # Bearer tokens and sessions from before this moment are refused.
    Column("valid_from", Moment),
    sqlite_autoincrement=True,
)

# What stands in for a password: only its hash is here (SHA-256 of 160 random bytes or more needs no salt).
credentials = Table(
    "credentials",
    metadata,
    _id(),
    _ref("account_id", "accounts", index=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("secret_hash", String, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("level", String, nullable=False),
    Column("project_ids", Text),
    # What a refresh token was given for; it is revoked together with that.
    _ref("parent_id", "credentials", nullable=True),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    Column("last_used_from", String),
    sqlite_autoincrement=True,
)

# A robot is an account too, so that whatever names an account can name a robot.
robots = Table(
    "robots",
    metadata,
    _ref("account_id", "accounts", primary_key=True, autoincrement=False),
    _ref("project_id", "projects", nullable=True, index=True),
    Column("short_name", Name, nullable=False),
    Column("description", String, nullable=False, server_default=""),
    Column("permissions", Text, nullable=False),
    Column("duration_days", Integer, nullable=False, server_default="-1"),
    Column("expires_at", Moment),
    _ref("created_by", "accounts", nullable=True),
    Column("updated_at", Moment, nullable=False),
)

# Where accounts may prove who they are besides here: directories and identity providers, asked in the order of `position`.
login_sources = Table(
    "login_sources",
    metadata,
    _id(),
    Column("name", Name, nullable=False),
    Column("kind", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("settings", Text, nullable=False),
    # The password or client secret with which we speak to it, encrypted with the installation's secret key of that id.
    Column("secret", LargeBinary),
    Column("encryption_key_id", String),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("deleted_at", Moment),
    CheckConstraint("kind IN ('ldap', 'oidc')", name="kind"),
    _live_unique("uq_login_sources_name_live", "name"),
    sqlite_autoincrement=True,
)

# Who an account is at a source: `subject` never changes there (an OIDC subject, an LDAP entry's UUID), `name` may. `gone_at` is since when
# the source does not know the subject any more; where that disabled the account too, its `disabled_at` is the same moment.
identities = Table(
    "identities",
    metadata,
    _id(),
    _ref("account_id", "accounts", index=True),
    _ref("source_id", "login_sources"),
    Column("subject", Name, nullable=False),
    Column("name", String, nullable=False),
    Column("linked_at", Moment, nullable=False),
    Column("last_login_at", Moment),
    Column("gone_at", Moment),
    Index("uq_identities_source_id_subject", "source_id", "subject", unique=True),
    sqlite_autoincrement=True,
)

# Logins that failed, by the name that was tried and the address that tried it. Names need not be accounts.
login_failures = Table(
    "login_failures",
    metadata,
    Column("name", Name, primary_key=True),
    Column("address", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", Moment, nullable=False, index=True),
    Column("blocked_until", Moment),
)

# How many requests or pulls somebody has made in a window of time, summed over all workers and replicas.
rate_windows = Table(
    "rate_windows",
    metadata,
    Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("started_at", Moment, primary_key=True, index=True),
    Column("used", BigInteger, nullable=False),
)

# What administrators have set while the registry runs, as JSON by key; what is not here has its default.
configuration = Table(
    "configuration",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

# What only one of several job workers may do at a time, and who does it until when.
leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("held_until", Moment, nullable=False),
)

# A group of accounts. One of a source (by its name) has as `external_id` what that calls it, and its members are who the source says.
groups = Table(
    "groups",
    metadata,
    _id(),
    Column("name", Name, nullable=False, unique=True),
    Column("source", String, nullable=False, server_default="local"),
    Column("external_id", String),
    Column("created_at", Moment, nullable=False),
    Index("uq_groups_source_external_id", "source", "external_id", unique=True, **_where("external_id IS NOT NULL")),
    sqlite_autoincrement=True,
)

account_groups = Table(
    "account_groups",
    metadata,
    _ref("account_id", "accounts", primary_key=True),
    _ref("group_id", "groups", primary_key=True, index=True),
    Column("refreshed_at", Moment, nullable=False),
)

# Who has a role in a project, an account or a group: in the one repository at `path`, or with `path_prefix` in all whose path begins so;
# the empty prefix is the whole project.
members = Table(
    "members",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    _ref("account_id", "accounts", nullable=True, index=True),
    _ref("group_id", "groups", nullable=True, index=True),
    Column("role", String, nullable=False),
    Column("path", Name, nullable=False, server_default=""),
    Column("path_prefix", Boolean, nullable=False, server_default=true()),
    Column("created_at", Moment, nullable=False),
    CheckConstraint("(account_id IS NULL) <> (group_id IS NULL)", name="one_holder"),
    CheckConstraint("role IN ('projectAdmin', 'maintainer', 'developer', 'guest', 'limitedGuest')", name="role"),
    Index("uq_members_account", "project_id", "account_id", "path", "path_prefix", unique=True, **_where("account_id IS NOT NULL")),
    Index("uq_members_group", "project_id", "group_id", "path", "path_prefix", unique=True, **_where("group_id IS NOT NULL")),
    sqlite_autoincrement=True,
)

# Keys that sign bearer tokens. The private half is encrypted with the installation's secret key of that id.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column("public_jwk", Text, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
    Column("encryption_key_id", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("signs_until", Moment, nullable=False),
    Column("verifies_until", Moment, nullable=False),
)

# OpenPGP public keys, each of the account that pushed it first; `certificate` is binary. What stands beside it is read from it.
openpgp_keys = Table(
    "openpgp_keys",
    metadata,
    _id(),
    Column("fingerprint", Name, nullable=False, unique=True),
    _ref("account_id", "accounts", index=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("algorithm", Integer, nullable=False),
    Column("bits", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked", Boolean, nullable=False),
    Column("added_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    sqlite_autoincrement=True,
)

# By what a key is looked up: fingerprints and key ids, long and short, of the key and of its subkeys, in lower-case hexadecimal.
openpgp_handles = Table(
    "openpgp_handles",
    metadata,
    Column("handle", Name, primary_key=True),
    _ref("key_id", "openpgp_keys", primary_key=True, index=True),
)

openpgp_user_ids = Table(
    "openpgp_user_ids",
    metadata,
    _ref("key_id", "openpgp_keys", primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("user_id", Text, nullable=False),
    # The same in lower case, to search in.
    Column("folded", Text, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    _id(),
    Column("name", Name, nullable=False),
    Column("public", Boolean, nullable=False, server_default=false()),
    Column("description", Text, nullable=False, server_default=""),
    Column("updated_at", Moment),
    # Bytes that the project may use at most; NULL is without limit.
    Column("storage_limit", BigInteger),
    # When images are converted ('push', 'demand' or 'off'), who may cause it, and for which platforms of an index (separated by commas).
    Column("conversion", String, nullable=False, server_default="demand"),
    Column("anonymous_conversion", Boolean, nullable=False, server_default=false()),
    Column("conversion_platforms", String, nullable=False, server_default="linux/amd64"),
    # Whether clients that only run images get one when they ask for a tag that is a SIF.
    Column("sif_as_image", Boolean, nullable=False, server_default=true()),
    # Whether SIFs, and whether images, are given out only if a key that the project trusts has signed them.
    Column("only_signed_sifs", Boolean, nullable=False, server_default=false()),
    Column("only_signed_images", Boolean, nullable=False, server_default=false()),
    _ref("owner_id", "accounts", nullable=True),
    Column("created_at", Moment, nullable=False),
    Column("deleted_at", Moment),
    _live_unique("uq_projects_name_live", "name"),
    sqlite_autoincrement=True,
)

# Whose signatures a project trusts. Of `kind` 'openpgp' the key server has the key; else `key` is a public key ('public-key') or an X.509
# certificate ('certificate') as PEM. `fingerprint` is upper-case hexadecimal: OpenPGP's own, or SHA-256 of the DER.
trusted_keys = Table(
    "trusted_keys",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("kind", String, nullable=False),
    Column("fingerprint", Name, nullable=False),
    Column("name", String, nullable=False),
    Column("key", Text),
    _ref("added_by", "accounts", nullable=True),
    Column("added_at", Moment, nullable=False),
    CheckConstraint("kind IN ('openpgp', 'public-key', 'certificate')", name="kind"),
    CheckConstraint("(kind = 'openpgp') = (key IS NULL)", name="key"),
    Index("uq_trusted_keys_project_id_fingerprint", "project_id", "fingerprint", unique=True),
    sqlite_autoincrement=True,
)

repositories = Table(
    "repositories",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("path", Name, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment),
    Column("deleted_at", Moment),
    Column("pull_count", BigInteger, nullable=False, server_default="0"),
    Column("last_pulled_at", Moment),
    _live_unique("uq_repositories_project_id_path_live", "project_id", "path"),
    sqlite_autoincrement=True,
)

contents = Table(
    "contents",
    metadata,
    _id(),
    Column("size", BigInteger, nullable=False),
    Column("state", String, nullable=False, server_default="stored"),
    Column("store", String, nullable=False),
    Column("key", String, nullable=False),
    Column("encryption_key_id", String),
    Column("created_at", Moment, nullable=False),
    Column("doomed_at", Moment),
    CheckConstraint("state IN ('stored', 'deleting')", name="state"),
    Index("ix_contents_doomed_at", "doomed_at", **_where("doomed_at IS NOT NULL")),
    Index("uq_contents_store_key", "store", "key", unique=True),
    sqlite_autoincrement=True,
)

digests = Table(
    "digests",
    metadata,
    Column("digest", Name, primary_key=True),
    _ref("content_id", "contents", index=True),
)

blob_links = Table(
    "blob_links",
    metadata,
    _ref("repository_id", "repositories", primary_key=True),
    _ref("content_id", "contents", primary_key=True, index=True),
    Column("linked_at", Moment, nullable=False),
    _ref("linked_by", "accounts", nullable=True),
    Column("touched_at", Moment, nullable=False, index=True),
)

# What a SIF says of itself, read when a manifest that names it is pushed; `facts` is JSON (see `sif.facts`).
sif_facts = Table(
    "sif_facts",
    metadata,
    _ref("content_id", "contents", primary_key=True, autoincrement=False),
    Column("facts", Text, nullable=False),
    Column("read_at", Moment, nullable=False),
)

# What an image needs of machines; `facts` is JSON (see `sif.compatibility.image_facts`), the others are what is searched by.
image_facts = Table(
    "image_facts",
    metadata,
    _ref("manifest_id", "manifests", primary_key=True, autoincrement=False),
    Column("facts", Text, nullable=False),
    Column("architecture", String),
    Column("level", BigInteger),
    Column("glibc", BigInteger),
    Column("cuda", BigInteger),
    Column("rocm", BigInteger),
    Column("mpi", String, nullable=False),
    Column("base", String),
    Column("read_at", Moment, nullable=False),
)

# The machines of the site; `description` is JSON (see `sif.compatibility.verdict.Cluster`).
clusters = Table(
    "clusters",
    metadata,
    _id(),
    Column("name", Name, nullable=False),
    Column("description", Text, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("uq_clusters_name", "name", unique=True),
    sqlite_autoincrement=True,
)

quota_charges = Table(
    "quota_charges",
    metadata,
    _ref("project_id", "projects", primary_key=True),
    _ref("content_id", "contents", primary_key=True, index=True),
    Column("size", BigInteger, nullable=False),
    Column("charged_at", Moment, nullable=False),
)

quota_entries = Table(
    "quota_entries",
    metadata,
    _id(),
    _ref("project_id", "projects", index=True),
    Column("delta", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Of the few manifests that are indexes; a query must say it in these words for SQLite to know that their index serves it.
IS_LIVE_INDEX = (
    "media_type IN ('application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json')"
    " AND deleted_at IS NULL"
)

manifests = Table(
    "manifests",
    metadata,
    _id(),
    _ref("repository_id", "repositories"),
    Column("digest", Name, nullable=False),
    Column("media_type", String, nullable=False),
    Column("artifact_type", String),
    Column("subject_digest", String),
    Column("annotations", Text, nullable=False, server_default="{}"),
    Column("size", BigInteger, nullable=False),
    Column("pushed_at", Moment, nullable=False),
    _ref("pushed_by", "accounts", nullable=True),
    Column("pull_count", BigInteger, nullable=False, server_default="0"),
    Column("last_pulled_at", Moment),
    Column("deleted_at", Moment),
    # Of what this registry made of its subject, by which conversion (see `metadata.derived`); NULL of what it never made.
    Column("conversion", String),
    # Whether that is all: what somebody has pushed too, is like everything that is pushed.
    Column("derived", Boolean, nullable=False, server_default=false()),
    Column("content", LargeBinary, nullable=False),
    _live_unique("uq_manifests_repository_id_digest_live", "repository_id", "digest"),
    Index(
        "uq_manifests_conversion_live",
        "conversion",
        "subject_digest",
        "repository_id",
        unique=True,
        **_where("conversion IS NOT NULL AND deleted_at IS NULL"),
    ),
    Index("ix_manifests_subject", "repository_id", "subject_digest", **_where("subject_digest IS NOT NULL AND deleted_at IS NULL")),
    Index("ix_manifests_indexes", "repository_id", **_where(IS_LIVE_INDEX)),
    Index("ix_manifests_repository_id_pushed_at", "repository_id", "pushed_at", **_where("deleted_at IS NULL")),
    sqlite_autoincrement=True,
)

manifest_references = Table(
    "manifest_references",
    metadata,
    _ref("manifest_id", "manifests", primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("role", String, nullable=False),
    Column("digest", String, nullable=False),
    _ref("content_id", "contents", nullable=True),
    Index("ix_manifest_references_content_id", "content_id", **_where("content_id IS NOT NULL")),
    Index("ix_manifest_references_absent", "digest", **_where("content_id IS NULL")),
    CheckConstraint("role IN ('config', 'layer', 'manifest')", name="role"),
)

tags = Table(
    "tags",
    metadata,
    _id(),
    _ref("repository_id", "repositories"),
    Column("name", Name, nullable=False),
    _ref("manifest_id", "manifests", index=True),
    Column("created_at", Moment, nullable=False),
    Column("pushed_at", Moment, nullable=False),
    _ref("pushed_by", "accounts", nullable=True),
    Column("pull_count", BigInteger, nullable=False, server_default="0"),
    Column("last_pulled_at", Moment),
    Column("deleted_at", Moment),
    _live_unique("uq_tags_repository_id_name_live", "repository_id", "name"),
    # What was pushed last, wherever.
    Index("ix_tags_pushed_at", "pushed_at", **_where("deleted_at IS NULL")),
    sqlite_autoincrement=True,
)

tag_history = Table(
    "tag_history",
    metadata,
    _id(),
    _ref("repository_id", "repositories"),
    Column("tag", Name, nullable=False),
    Column("old_digest", String),
    Column("new_digest", String),
    _ref("actor_id", "accounts", nullable=True),
    Column("at", Moment, nullable=False),
    Index("ix_tag_history_repository_id_tag", "repository_id", "tag", "id"),
    sqlite_autoincrement=True,
)

uploads = Table(
    "uploads",
    metadata,
    _id(),
    Column("token", String, nullable=False, unique=True),
    _ref("repository_id", "repositories"),
    _ref("account_id", "accounts", nullable=True),
    Column("offset", BigInteger, nullable=False),
    # Bytes of the project's quota that are kept for this upload; it counts for the greater of this and `offset`.
    Column("reserved", BigInteger, nullable=False, server_default="0"),
    # How far its present writer was when it last said so: for people to look at.
    Column("arrived", BigInteger, nullable=False, server_default="0"),
    Column("state", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("claimed_until", Moment),
    Column("started_at", Moment, nullable=False),
    Column("touched_at", Moment, nullable=False, index=True),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    _id(),
    Column("type", String, nullable=False),
    _ref("actor_id", "accounts", nullable=True),
    _ref("project_id", "projects", nullable=True),
    _ref("repository_id", "repositories", nullable=True),
    _ref("manifest_id", "manifests", nullable=True),
    Column("tag", String),
    Column("old_digest", String),
    Column("new_digest", String),
    Column("at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("claimed_by", String),
    Column("claimed_until", Moment),
    Column("done_at", Moment),
    Index("ix_events_pending", "claimed_until", "id", **_where("done_at IS NULL")),
    sqlite_autoincrement=True,
)

# Who did what, from where, and how it ended. Rows are only added, and removed by age alone. `actor` and `resource` are names as they
# were then, and stay readable when what they name is gone; `amount` is how often the same happened in the second that one row stands for.
audit_log = Table(
    "audit_log",
    metadata,
    _id(),
    Column("at", Moment, nullable=False, index=True),
    _ref("actor_id", "accounts", nullable=True),
    Column("actor", Name, nullable=False),
    Column("address", String, nullable=False),
    Column("action", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("resource", Name, nullable=False),
    _ref("project_id", "projects", nullable=True),
    Column("result", String, nullable=False),
    Column("detail", Text),
    Column("amount", Integer, nullable=False, server_default="1"),
    Column("exported_at", Moment),
    Index("ix_audit_log_project_id_id", "project_id", "id"),
    Index("ix_audit_log_actor_id", "actor", "id"),
    Index("ix_audit_log_action_id", "action", "id"),
    Index("ix_audit_log_resource_id", "resource", "id"),
    Index("ix_audit_log_to_export", "id", **_where("exported_at IS NULL")),
    CheckConstraint("result IN ('success', 'denied', 'failed')", name="result"),
    sqlite_autoincrement=True,
)

# Work that outlives a request. A job is live until it has `finished_at`. `attempt` counts how often it was begun, and with `worker` tells
# its present run from all others; `failures` counts what speaks against it. `lane` is whose turn it is: the project's id, or 0 without one.
jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("kind", Name, nullable=False),
    Column("key", Name),
    _ref("project_id", "projects", nullable=True),
    Column("lane", BigInteger, nullable=False),
    Column("payload", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("run_after", Moment, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("worker", String),
    Column("lease_until", Moment),
    Column("cancel_requested_at", Moment),
    # How far it is, from 0 to 1, and in words what it is doing.
    Column("fraction", Float),
    Column("doing", String),
    # Why it failed, the last time, or was cancelled.
    Column("reason", String),
    Column("result", Text),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    CheckConstraint("state IN ('waiting', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
    CheckConstraint("(state = 'running') = (worker IS NOT NULL)", name="worker"),
    CheckConstraint("(state IN ('waiting', 'running')) = (finished_at IS NULL)", name="finished"),
    Index("uq_jobs_kind_key_live", "kind", "key", unique=True, **_where("key IS NOT NULL AND finished_at IS NULL")),
    Index("ix_jobs_waiting", "kind", "lane", "priority", "run_after", "id", **_where("state = 'waiting'")),
    Index("ix_jobs_running", "kind", "lane", **_where("state = 'running'")),
    # Partial, so that SQLite does not take it for counting what runs.
    Index("ix_jobs_served", "kind", "lane", "started_at", **_where("started_at IS NOT NULL")),
    Index("ix_jobs_finished_at", "finished_at", **_where("finished_at IS NOT NULL")),
    Index("ix_jobs_project_id_id", "project_id", "id"),
    # How the last job of a key ended.
    Index("ix_jobs_kind_key_id", "kind", "key", "id", **_where("key IS NOT NULL")),
    sqlite_autoincrement=True,
)

# What a job said, newest last; only so many lines of each are kept.
job_log = Table(
    "job_log",
    metadata,
    _id(),
    _ref("job_id", "jobs"),
    Column("attempt", Integer, nullable=False),
    Column("at", Moment, nullable=False),
    Column("line", Text, nullable=False),
    Index("ix_job_log_job_id_id", "job_id", "id"),
    sqlite_autoincrement=True,
)

# How much was stored at that time, in all projects together (bytes, each content once), and in how many repositories: see `upkeep.growth`.
storage_samples = Table(
    "storage_samples",
    metadata,
    Column("at", Moment, primary_key=True),
    Column("stored", BigInteger, nullable=False),
    Column("repositories", Integer, nullable=False),
)

# When each schedule of the program is next due; whoever moves `next_at` on enqueues its job. `rule` is what `next_at` was reckoned by.
schedules = Table(
    "schedules",
    metadata,
    Column("name", Name, primary_key=True),
    Column("rule", String, nullable=False),
    Column("next_at", Moment, nullable=False),
)
