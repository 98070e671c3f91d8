"""Indexes by which `status` counts without reading wide rows: posts by state and by day, listings, checkpoints, money."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_posts_status", "posts")
    op.create_index(
        "ix_posts_status", "posts", ["status", "posted_at", "resting_since", "rested_until", "platform", "post_id"]
    )
    op.create_index("ix_posts_first_seen", "posts", ["first_seen_at"])
    op.create_index("ix_posts_enriched", "posts", ["enriched_at", "run_id"])
    op.create_index(
        "ix_import_items_listed_again",
        "import_items",
        ["first_seen_at", "platform", "post_id"],
        sqlite_where=sa.text("was_new = 0"),
        postgresql_where=sa.text("NOT was_new"),
    )
    op.create_index(
        "ix_snapshots_target",
        "snapshots",
        ["target_age", "platform", "post_id"],
        sqlite_where=sa.text("target_age IS NOT NULL"),
        postgresql_where=sa.text("target_age IS NOT NULL"),
    )
    op.drop_index("ix_spend_day", "spend")
    op.create_index("ix_spend_day", "spend", ["day", "kind", "platform", "channel"])


def downgrade() -> None:
    op.drop_index("ix_spend_day", "spend")
    op.create_index("ix_spend_day", "spend", ["account", "day"])
    op.drop_index("ix_snapshots_target", "snapshots")
    op.drop_index("ix_import_items_listed_again", "import_items")
    op.drop_index("ix_posts_enriched", "posts")
    op.drop_index("ix_posts_first_seen", "posts")
    op.drop_index("ix_posts_status", "posts")
    op.create_index("ix_posts_status", "posts", ["status"])
