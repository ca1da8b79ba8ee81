"""OpenPGP keys of accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "openpgp_keys",
        sa.Column("id", ID, sa.Identity(always=False), nullable=False),
        sa.Column("fingerprint", NAME, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("algorithm", sa.Integer(), nullable=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_openpgp_keys_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_openpgp_keys")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_openpgp_keys_fingerprint")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_openpgp_keys_account_id"), "openpgp_keys", ["account_id"])
    op.create_table(
        "openpgp_handles",
        sa.Column("handle", NAME, nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["openpgp_keys.id"], name=op.f("fk_openpgp_handles_key_id_openpgp_keys")),
        sa.PrimaryKeyConstraint("handle", "key_id", name=op.f("pk_openpgp_handles")),
    )
    op.create_index(op.f("ix_openpgp_handles_key_id"), "openpgp_handles", ["key_id"])
    op.create_table(
        "openpgp_user_ids",
        sa.Column("key_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["openpgp_keys.id"], name=op.f("fk_openpgp_user_ids_key_id_openpgp_keys")),
        sa.PrimaryKeyConstraint("key_id", "position", name=op.f("pk_openpgp_user_ids")),
    )


def downgrade() -> None:
    op.drop_table("openpgp_user_ids")
    op.drop_table("openpgp_handles")
    op.drop_table("openpgp_keys")
