"""Callbacks in the inbox: which import each is about, and whether its event was sent."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inbox", sa.Column("import_id", sa.String(length=36)))
    op.add_column("inbox", sa.Column("emitted_at", sa.DateTime(timezone=True)))
    op.create_index("ix_inbox_import", "inbox", ["import_id"])
    op.create_index(
        "ix_inbox_unemitted",
        "inbox",
        ["received_at"],
        sqlite_where=sa.text("emitted_at IS NULL"),
        postgresql_where=sa.text("emitted_at IS NULL"),
    )
    op.create_index(
        "ix_inbox_unhandled",
        "inbox",
        ["import_id"],
        sqlite_where=sa.text("handled_at IS NULL"),
        postgresql_where=sa.text("handled_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_inbox_unhandled", "inbox")
    op.drop_index("ix_inbox_unemitted", "inbox")
    op.drop_index("ix_inbox_import", "inbox")
    op.drop_column("inbox", "emitted_at")
    op.drop_column("inbox", "import_id")
