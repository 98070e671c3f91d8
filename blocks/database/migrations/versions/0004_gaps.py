"""Gaps between imports, the shapes that a canary saw, and what is to stay erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gaps",
        sa.Column("import_id", sa.String(length=36), nullable=False),
        sa.Column("previous_import_id", sa.String(length=36), nullable=False),
        sa.Column("hashtag", sa.Text(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("library", sa.String(length=16), nullable=False),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("import_id"),
    )
    op.create_index("ix_gaps_hashtag", "gaps", ["hashtag", "collection"])
    op.create_table(
        "canary_shapes",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("shape", sa.Text()),
        sa.Column("keys", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("platform", "post_id", "channel"),
    )
    op.create_table(
        "erased",
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_hash"),
    )
    op.add_column("imports", sa.Column("withheld", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("imports", "withheld")
    op.drop_table("erased")
    op.drop_table("canary_shapes")
    op.drop_table("gaps")
