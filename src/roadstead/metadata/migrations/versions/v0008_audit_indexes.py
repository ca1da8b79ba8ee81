"""What people look for in the audit log: by what was done, and by the beginning of what it was done to."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = ("action", "resource")


def upgrade() -> None:
    for column in _COLUMNS:
        op.create_index(f"ix_audit_log_{column}_id", "audit_log", [column, "id"])


def downgrade() -> None:
    for column in _COLUMNS:
        op.drop_index(f"ix_audit_log_{column}_id", "audit_log")
