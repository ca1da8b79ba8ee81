"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:

    op.create_table(
        "accounts",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "contents",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), server_default="stored", nullable=False),
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("encryption_key_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("doomed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('stored', 'deleting')", name=op.f("ck_contents_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contents")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_contents_doomed_at",
        "contents",
        ["doomed_at"],
        unique=False,
        sqlite_where=sa.text("doomed_at IS NOT NULL"),
        postgresql_where=sa.text("doomed_at IS NOT NULL"),
    )
    op.create_index("uq_contents_store_key", "contents", ["store", "key"], unique=True)
    op.create_table(
        "digests",
        sa.Column("digest", NAME, nullable=False),
        sa.Column("content_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_digests_content_id_contents")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_digests")),
    )
    op.create_index(op.f("ix_digests_content_id"), "digests", ["content_id"], unique=False)
    op.create_table(
        "projects",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("public", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("owner_id", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["accounts.id"], name=op.f("fk_projects_owner_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_projects_name_live",
        "projects",
        ["name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "repositories",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("path", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("pull_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_pulled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_repositories_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_repositories_project_id_path_live",
        "repositories",
        ["project_id", "path"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "blob_links",
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("content_id", ID, nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.Column("linked_by", ID, nullable=True),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_blob_links_content_id_contents")),
        sa.ForeignKeyConstraint(["linked_by"], ["accounts.id"], name=op.f("fk_blob_links_linked_by_accounts")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_blob_links_repository_id_repositories")),
        sa.PrimaryKeyConstraint("repository_id", "content_id", name=op.f("pk_blob_links")),
    )
    op.create_index(op.f("ix_blob_links_content_id"), "blob_links", ["content_id"], unique=False)
    op.create_index(op.f("ix_blob_links_touched_at"), "blob_links", ["touched_at"], unique=False)
    op.create_table(
        "manifests",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("artifact_type", sa.String(), nullable=True),
        sa.Column("subject_digest", sa.String(), nullable=True),
        sa.Column("annotations", sa.Text(), server_default="{}", nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("pushed_by", ID, nullable=True),
        sa.Column("pull_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_pulled_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["pushed_by"], ["accounts.id"], name=op.f("fk_manifests_pushed_by_accounts")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_manifests_repository_id_repositories")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_manifests_subject",
        "manifests",
        ["repository_id", "subject_digest"],
        unique=False,
        sqlite_where=sa.text("subject_digest IS NOT NULL AND deleted_at IS NULL"),
        postgresql_where=sa.text("subject_digest IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "uq_manifests_repository_id_digest_live",
        "manifests",
        ["repository_id", "digest"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "tag_history",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("tag", NAME, nullable=False),
        sa.Column("old_digest", sa.String(), nullable=True),
        sa.Column("new_digest", sa.String(), nullable=True),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["accounts.id"], name=op.f("fk_tag_history_actor_id_accounts")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_tag_history_repository_id_repositories")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag_history")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tag_history_repository_id_tag", "tag_history", ["repository_id", "tag", "id"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=True),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_uploads_account_id_accounts")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_uploads_repository_id_repositories")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("token", name=op.f("uq_uploads_token")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_uploads_touched_at"), "uploads", ["touched_at"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("repository_id", ID, nullable=True),
        sa.Column("manifest_id", ID, nullable=True),
        sa.Column("tag", sa.String(), nullable=True),
        sa.Column("old_digest", sa.String(), nullable=True),
        sa.Column("new_digest", sa.String(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claimed_by", sa.String(), nullable=True),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["actor_id"], ["accounts.id"], name=op.f("fk_events_actor_id_accounts")),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name=op.f("fk_events_manifest_id_manifests")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_events_project_id_projects")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_events_repository_id_repositories")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_events_pending",
        "events",
        ["claimed_until", "id"],
        unique=False,
        sqlite_where=sa.text("done_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_table(
        "manifest_references",
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("content_id", ID, nullable=True),
        sa.CheckConstraint("role IN ('config', 'layer', 'manifest')", name=op.f("ck_manifest_references_role")),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_manifest_references_content_id_contents")),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name=op.f("fk_manifest_references_manifest_id_manifests")),
        sa.PrimaryKeyConstraint("manifest_id", "position", name=op.f("pk_manifest_references")),
    )
    op.create_index(
        "ix_manifest_references_absent",
        "manifest_references",
        ["digest"],
        unique=False,
        sqlite_where=sa.text("content_id IS NULL"),
        postgresql_where=sa.text("content_id IS NULL"),
    )
    op.create_index(
        "ix_manifest_references_content_id",
        "manifest_references",
        ["content_id"],
        unique=False,
        sqlite_where=sa.text("content_id IS NOT NULL"),
        postgresql_where=sa.text("content_id IS NOT NULL"),
    )
    op.create_table(
        "tags",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("manifest_id", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("pushed_by", ID, nullable=True),
        sa.Column("pull_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_pulled_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name=op.f("fk_tags_manifest_id_manifests")),
        sa.ForeignKeyConstraint(["pushed_by"], ["accounts.id"], name=op.f("fk_tags_pushed_by_accounts")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_tags_repository_id_repositories")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tags")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tags_manifest_id"), "tags", ["manifest_id"], unique=False)
    op.create_index(
        "uq_tags_repository_id_name_live",
        "tags",
        ["repository_id", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("tags")
    op.drop_table("manifest_references")
    op.drop_table("events")
    op.drop_table("uploads")
    op.drop_table("tag_history")
    op.drop_table("manifests")
    op.drop_table("blob_links")
    op.drop_table("repositories")
    op.drop_table("projects")
    op.drop_table("digests")
    op.drop_table("contents")
    op.drop_table("accounts")
