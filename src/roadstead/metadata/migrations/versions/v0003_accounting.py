"""Login sources and identities, throttling, configuration, quotas, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")

# What a project holds already counts in it: each content that one of its live repositories links, once.
CHARGE = """
INSERT INTO quota_charges (project_id, content_id, size, charged_at)
SELECT repositories.project_id, contents.id, contents.size, MIN(blob_links.linked_at)
FROM blob_links
JOIN repositories ON repositories.id = blob_links.repository_id
JOIN projects ON projects.id = repositories.project_id
JOIN contents ON contents.id = blob_links.content_id
WHERE repositories.deleted_at IS NULL AND projects.deleted_at IS NULL
GROUP BY repositories.project_id, contents.id, contents.size
"""
ENTER = "INSERT INTO quota_entries (project_id, delta) SELECT project_id, SUM(size) FROM quota_charges GROUP BY project_id"


def upgrade() -> None:
    _who()
    _abuse()
    _quotas()
    _audit()


def _who() -> None:
    op.create_table(
        "login_sources",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("encryption_key_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('ldap', 'oidc')", name=op.f("ck_login_sources_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_sources")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_login_sources_name_live",
        "login_sources",
        ["name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "identities",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("subject", NAME, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=True),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_identities_account_id_accounts")),
        sa.ForeignKeyConstraint(["source_id"], ["login_sources.id"], name=op.f("fk_identities_source_id_login_sources")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_identities_account_id"), "identities", ["account_id"], unique=False)
    op.create_index("uq_identities_source_id_subject", "identities", ["source_id", "subject"], unique=True)
    external = sa.text("external_id IS NOT NULL")
    op.create_index(
        "uq_groups_source_external_id",
        "groups",
        ["source", "external_id"],
        unique=True,
        sqlite_where=external,
        postgresql_where=external,
    )


def _abuse() -> None:
    op.create_table(
        "login_failures",
        sa.Column("name", NAME, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("blocked_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", "address", name=op.f("pk_login_failures")),
    )
    op.create_index(op.f("ix_login_failures_last_at"), "login_failures", ["last_at"], unique=False)
    op.create_table(
        "rate_windows",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", "started_at", name=op.f("pk_rate_windows")),
    )
    op.create_index(op.f("ix_rate_windows_started_at"), "rate_windows", ["started_at"], unique=False)
    op.create_table(
        "configuration",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_configuration")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _quotas() -> None:
    op.create_table(
        "quota_charges",
        sa.Column("project_id", ID, nullable=False),
        sa.Column("content_id", ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("charged_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_quota_charges_content_id_contents")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_quota_charges_project_id_projects")),
        sa.PrimaryKeyConstraint("project_id", "content_id", name=op.f("pk_quota_charges")),
    )
    op.create_index(op.f("ix_quota_charges_content_id"), "quota_charges", ["content_id"], unique=False)
    op.create_table(
        "quota_entries",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_quota_entries_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_entries")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_quota_entries_project_id"), "quota_entries", ["project_id"], unique=False)
    op.add_column("projects", sa.Column("storage_limit", sa.BigInteger(), nullable=True))
    op.add_column("uploads", sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(CHARGE)
    op.execute(ENTER)


def _audit() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("resource_type", sa.String(), nullable=False),
        sa.Column("resource", NAME, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("result", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("amount", sa.Integer(), server_default="1", nullable=False),
        sa.Column("exported_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("result IN ('success', 'denied', 'failed')", name=op.f("ck_audit_log_result")),
        sa.ForeignKeyConstraint(["actor_id"], ["accounts.id"], name=op.f("fk_audit_log_actor_id_accounts")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_audit_log_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"], unique=False)
    op.create_index("ix_audit_log_project_id_id", "audit_log", ["project_id", "id"], unique=False)
    op.create_index("ix_audit_log_actor_id", "audit_log", ["actor", "id"], unique=False)
    not_exported = sa.text("exported_at IS NULL")
    op.create_index("ix_audit_log_to_export", "audit_log", ["id"], unique=False, sqlite_where=not_exported, postgresql_where=not_exported)
    op.add_column("repositories", sa.Column("description", sa.Text(), server_default="", nullable=False))
    op.add_column("repositories", sa.Column("updated_at", sa.BigInteger(), nullable=True))
    live = sa.text("deleted_at IS NULL")
    newest = ["repository_id", "pushed_at"]
    index = sa.text(
        "media_type IN ('application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json')"
        " AND deleted_at IS NULL"
    )
    op.create_index("ix_manifests_indexes", "manifests", ["repository_id"], unique=False, sqlite_where=index, postgresql_where=index)
    op.create_index("ix_manifests_repository_id_pushed_at", "manifests", newest, unique=False, sqlite_where=live, postgresql_where=live)


def downgrade() -> None:
    op.drop_index("uq_groups_source_external_id", "groups")
    op.drop_index("ix_manifests_repository_id_pushed_at", "manifests")
    op.drop_index("ix_manifests_indexes", "manifests")
    op.drop_column("repositories", "updated_at")
    op.drop_column("repositories", "description")
    op.drop_column("uploads", "reserved")
    op.drop_column("projects", "storage_limit")
    for table in (
        "audit_log",
        "quota_entries",
        "quota_charges",
        "leases",
        "configuration",
        "rate_windows",
        "login_failures",
        "identities",
        "login_sources",
    ):
        op.drop_table(table)
