"""Indexes for a million posts: leaders by any number, the plan's outlook, a hashtag's imports, the runs of a post."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_OF_PLAN = ["status", "posted_at", "resting_since", "rested_until", "platform", "post_id"]


def upgrade() -> None:
    op.drop_index("ix_posts_status", "posts")
    op.create_index("ix_posts_status", "posts", [*_OF_PLAN[:4], "first_seen_at", *_OF_PLAN[4:]])
    counts = ["plays", "views", "likes", "comments", "shares", "saves", "author_followers"]
    op.create_index("ix_posts_counts", "posts", [*counts, "platform", "post_id"])
    op.create_index("ix_imports_hashtag", "imports", ["hashtag"])
    op.create_index("ix_run_posts_post", "run_posts", ["platform", "post_id"])


def downgrade() -> None:
    op.drop_index("ix_run_posts_post", "run_posts")
    op.drop_index("ix_imports_hashtag", "imports")
    op.drop_index("ix_posts_counts", "posts")
    op.drop_index("ix_posts_status", "posts")
    op.create_index("ix_posts_status", "posts", _OF_PLAN)
