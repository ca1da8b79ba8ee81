"""What projects convert, what was made of what, and what SIFs say of themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("projects", sa.Column("conversion", sa.String(), server_default="demand", nullable=False))
    op.add_column("projects", sa.Column("anonymous_conversion", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("projects", sa.Column("conversion_platforms", sa.String(), server_default="linux/amd64", nullable=False))
    op.add_column("projects", sa.Column("sif_as_image", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("manifests", sa.Column("conversion", sa.String(), nullable=True))
    op.add_column("manifests", sa.Column("derived", sa.Boolean(), server_default=sa.false(), nullable=False))
    _index(
        "uq_manifests_conversion_live",
        "manifests",
        ["conversion", "subject_digest", "repository_id"],
        "conversion IS NOT NULL AND deleted_at IS NULL",
        unique=True,
    )
    _index("ix_jobs_kind_key_id", "jobs", ["kind", "key", "id"], "key IS NOT NULL")
    op.create_table(
        "sif_facts",
        sa.Column("content_id", ID, autoincrement=False, nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_sif_facts_content_id_contents")),
        sa.PrimaryKeyConstraint("content_id", name=op.f("pk_sif_facts")),
    )


def _index(name: str, table: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_table("sif_facts")
    op.drop_index("ix_jobs_kind_key_id", "jobs")
    op.drop_index("uq_manifests_conversion_live", "manifests")
    op.drop_column("manifests", "derived")
    op.drop_column("manifests", "conversion")
    for column in ("sif_as_image", "conversion_platforms", "anonymous_conversion", "conversion"):
        op.drop_column("projects", column)
