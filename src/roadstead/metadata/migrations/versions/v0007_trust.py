"""Keys that projects trust, and what asks for them; what images need of machines, and the clusters; what is stored over time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "trusted_keys",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("fingerprint", NAME, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("added_by", ID, nullable=True),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('openpgp', 'public-key', 'certificate')", name=op.f("ck_trusted_keys_kind")),
        sa.CheckConstraint("(kind = 'openpgp') = (key IS NULL)", name=op.f("ck_trusted_keys_key")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_trusted_keys_project_id_projects")),
        sa.ForeignKeyConstraint(["added_by"], ["accounts.id"], name=op.f("fk_trusted_keys_added_by_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trusted_keys")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_trusted_keys_project_id_fingerprint", "trusted_keys", ["project_id", "fingerprint"], unique=True)
    op.create_table(
        "image_facts",
        sa.Column("manifest_id", ID, autoincrement=False, nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("architecture", sa.String(), nullable=True),
        sa.Column("level", sa.BigInteger(), nullable=True),
        sa.Column("glibc", sa.BigInteger(), nullable=True),
        sa.Column("cuda", sa.BigInteger(), nullable=True),
        sa.Column("rocm", sa.BigInteger(), nullable=True),
        sa.Column("mpi", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=True),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name=op.f("fk_image_facts_manifest_id_manifests")),
        sa.PrimaryKeyConstraint("manifest_id", name=op.f("pk_image_facts")),
    )
    op.create_table(
        "clusters",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clusters")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_clusters_name", "clusters", ["name"], unique=True)
    op.create_table(
        "storage_samples",
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("repositories", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_storage_samples")),
    )
    for name in ("only_signed_sifs", "only_signed_images"):
        op.add_column("projects", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("uploads", sa.Column("arrived", sa.BigInteger(), server_default="0", nullable=False))
    live = sa.text("deleted_at IS NULL")
    op.create_index("ix_tags_pushed_at", "tags", ["pushed_at"], sqlite_where=live, postgresql_where=live)


def downgrade() -> None:
    op.drop_index("ix_tags_pushed_at", "tags")
    op.drop_column("uploads", "arrived")
    for name in ("only_signed_images", "only_signed_sifs"):
        op.drop_column("projects", name)
    op.drop_table("storage_samples")
    op.drop_table("clusters")
    op.drop_table("image_facts")
    op.drop_table("trusted_keys")
