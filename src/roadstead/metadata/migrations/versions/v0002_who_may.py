"""Credentials, robots, groups, members of projects, signing keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("source", sa.String(), server_default="local", nullable=False),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("name", name=op.f("uq_groups_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("public_jwk", sa.Text(), nullable=False),
        sa.Column("private_key", sa.LargeBinary(), nullable=False),
        sa.Column("encryption_key_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("signs_until", sa.BigInteger(), nullable=False),
        sa.Column("verifies_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "account_groups",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("group_id", ID, nullable=False),
        sa.Column("refreshed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_account_groups_account_id_accounts")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_account_groups_group_id_groups")),
        sa.PrimaryKeyConstraint("account_id", "group_id", name=op.f("pk_account_groups")),
    )
    op.create_index(op.f("ix_account_groups_group_id"), "account_groups", ["group_id"], unique=False)
    op.create_table(
        "credentials",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("hint", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("project_ids", sa.Text(), nullable=True),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_from", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_credentials_account_id_accounts")),
        sa.ForeignKeyConstraint(["parent_id"], ["credentials.id"], name=op.f("fk_credentials_parent_id_credentials")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credentials")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_credentials_secret_hash")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_credentials_account_id"), "credentials", ["account_id"], unique=False)
    op.create_table(
        "members",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("account_id", ID, nullable=True),
        sa.Column("group_id", ID, nullable=True),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("path", NAME, server_default="", nullable=False),
        sa.Column("path_prefix", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role IN ('projectAdmin', 'maintainer', 'developer', 'guest', 'limitedGuest')", name=op.f("ck_members_role")),
        sa.CheckConstraint("(account_id IS NULL) <> (group_id IS NULL)", name=op.f("ck_members_one_holder")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_members_account_id_accounts")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_members_group_id_groups")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_members_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_members_account_id"), "members", ["account_id"], unique=False)
    op.create_index(op.f("ix_members_group_id"), "members", ["group_id"], unique=False)
    op.create_index(
        "uq_members_account",
        "members",
        ["project_id", "account_id", "path", "path_prefix"],
        unique=True,
        sqlite_where=sa.text("account_id IS NOT NULL"),
        postgresql_where=sa.text("account_id IS NOT NULL"),
    )
    op.create_index(
        "uq_members_group",
        "members",
        ["project_id", "group_id", "path", "path_prefix"],
        unique=True,
        sqlite_where=sa.text("group_id IS NOT NULL"),
        postgresql_where=sa.text("group_id IS NOT NULL"),
    )
    op.create_table(
        "robots",
        sa.Column("account_id", ID, autoincrement=False, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("short_name", NAME, nullable=False),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("duration_days", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_by", ID, nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_robots_account_id_accounts")),
        sa.ForeignKeyConstraint(["created_by"], ["accounts.id"], name=op.f("fk_robots_created_by_accounts")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_robots_project_id_projects")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_robots")),
    )
    op.create_index(op.f("ix_robots_project_id"), "robots", ["project_id"], unique=False)
    op.add_column("accounts", sa.Column("kind", sa.String(), server_default="user", nullable=False))
    op.add_column("accounts", sa.Column("source", sa.String(), server_default="local", nullable=False))
    op.add_column("accounts", sa.Column("email", sa.String(), nullable=True))
    op.add_column("accounts", sa.Column("real_name", sa.String(), nullable=True))
    op.add_column("accounts", sa.Column("comment", sa.String(), nullable=True))
    op.add_column("accounts", sa.Column("deleted_at", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("valid_from", sa.BigInteger(), nullable=True))
    op.add_column("projects", sa.Column("description", sa.Text(), server_default="", nullable=False))
    op.add_column("projects", sa.Column("updated_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("projects", "updated_at")
    op.drop_column("projects", "description")
    op.drop_column("accounts", "valid_from")
    op.drop_column("accounts", "deleted_at")
    op.drop_column("accounts", "comment")
    op.drop_column("accounts", "real_name")
    op.drop_column("accounts", "email")
    op.drop_column("accounts", "source")
    op.drop_column("accounts", "kind")
    op.drop_table("robots")
    op.drop_table("members")
    op.drop_table("credentials")
    op.drop_table("account_groups")
    op.drop_table("signing_keys")
    op.drop_table("groups")
