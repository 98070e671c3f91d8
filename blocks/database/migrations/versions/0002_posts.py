"""Posts, creators, snapshots, comments and raw answers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "comments",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("comment_id", sa.Text(), nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.Column("author", sa.Text()),
        sa.Column("text", sa.Text()),
        sa.Column("likes", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True)),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("platform", "comment_id"),
    )
    op.create_index("ix_comments_post", "comments", ["platform", "post_id"])
    op.create_table(
        "creators",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("author_username", sa.Text()),
        sa.Column("author_name", sa.Text()),
        sa.Column("verified", sa.Boolean()),
        sa.Column("followers", sa.BigInteger()),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("platform", "author_id"),
    )
    op.create_table(
        "posts",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("shortcode", sa.Text()),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("source_url", sa.Text()),
        sa.Column("author_id", sa.Text()),
        sa.Column("author_username", sa.Text()),
        sa.Column("author_name", sa.Text()),
        sa.Column("author_verified", sa.Boolean()),
        sa.Column("author_followers", sa.BigInteger()),
        sa.Column("caption", sa.Text()),
        sa.Column("hashtags", sa.JSON(none_as_null=True)),
        sa.Column("mentions", sa.JSON(none_as_null=True)),
        sa.Column("posted_at", sa.DateTime(timezone=True)),
        sa.Column("media_type", sa.String(length=16)),
        sa.Column("product_type", sa.Text()),
        sa.Column("duration_seconds", sa.Float(precision=53)),
        sa.Column("width", sa.BigInteger()),
        sa.Column("height", sa.BigInteger()),
        sa.Column("audio_id", sa.Text()),
        sa.Column("audio_title", sa.Text()),
        sa.Column("audio_artist", sa.Text()),
        sa.Column("audio_is_original", sa.Boolean()),
        sa.Column("has_audio", sa.Boolean()),
        sa.Column("location_name", sa.Text()),
        sa.Column("is_paid_partnership", sa.Boolean()),
        sa.Column("coauthors", sa.JSON(none_as_null=True)),
        sa.Column("tagged_users", sa.JSON(none_as_null=True)),
        sa.Column("plays", sa.BigInteger()),
        sa.Column("views", sa.BigInteger()),
        sa.Column("likes", sa.BigInteger()),
        sa.Column("likes_hidden", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("comments", sa.BigInteger()),
        sa.Column("shares", sa.BigInteger()),
        sa.Column("saves", sa.BigInteger()),
        sa.Column("null_reasons", sa.JSON(none_as_null=True)),
        sa.Column("extra", sa.JSON(none_as_null=True)),
        sa.Column("channel", sa.String(length=16)),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("enriched_at", sa.DateTime(timezone=True)),
        sa.Column("observed_at", sa.DateTime(timezone=True)),
        sa.Column("gone_at", sa.DateTime(timezone=True)),
        sa.Column("run_id", sa.String(length=64)),
        sa.Column("parser_version", sa.String(length=16)),
        sa.Column("raw_sha256", sa.String(length=64)),
        sa.PrimaryKeyConstraint("platform", "post_id"),
    )
    op.create_index("ix_posts_author", "posts", ["platform", "author_id"])
    op.create_index(op.f("ix_posts_posted_at"), "posts", ["posted_at"])
    op.create_index("ix_posts_status", "posts", ["status"])
    op.create_table(
        "raw_fetches",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("raw_sha256", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64)),
        sa.Column("parsed_at", sa.DateTime(timezone=True)),
        sa.Column("parser_version", sa.String(length=16)),
        sa.PrimaryKeyConstraint("platform", "post_id", "fetched_at"),
    )
    op.create_index("ix_raw_fetches_sha", "raw_fetches", ["raw_sha256"])
    op.create_index(
        "ix_raw_fetches_unparsed",
        "raw_fetches",
        ["fetched_at"],
        sqlite_where=sa.text("parsed_at IS NULL"),
        postgresql_where=sa.text("parsed_at IS NULL"),
    )
    op.create_table(
        "raw_payloads",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_table(
        "snapshots",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("age_seconds", sa.BigInteger()),
        sa.Column("target_age", sa.BigInteger()),
        sa.Column("lateness_seconds", sa.BigInteger()),
        sa.Column("plays", sa.BigInteger()),
        sa.Column("views", sa.BigInteger()),
        sa.Column("likes", sa.BigInteger()),
        sa.Column("likes_hidden", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("comments", sa.BigInteger()),
        sa.Column("shares", sa.BigInteger()),
        sa.Column("saves", sa.BigInteger()),
        sa.Column("author_followers", sa.BigInteger()),
        sa.Column("null_reasons", sa.JSON(none_as_null=True)),
        sa.Column("channel", sa.String(length=16)),
        sa.Column("run_id", sa.String(length=64)),
        sa.Column("parser_version", sa.String(length=16)),
        sa.Column("raw_sha256", sa.String(length=64)),
        sa.PrimaryKeyConstraint("platform", "post_id", "observed_at"),
    )
    op.create_index("ix_snapshots_observed", "snapshots", ["observed_at"])


def downgrade() -> None:
    op.drop_table("raw_fetches")
    op.drop_table("raw_payloads")
    op.drop_table("comments")
    op.drop_table("snapshots")
    op.drop_table("creators")
    op.drop_table("posts")
