"""What was found: posts, creators, snapshots, comments, and the raw answers that they came from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, String, Text, text
from sqlmodel import Field, SQLModel

from blocks.database.tables.columns import UtcDateTime, count_column, json_column, text_column, time_column


class Post(SQLModel, table=True):
    """A post by its platform's own id; the numbers are the last snapshot's (see `Snapshot`)."""

    __tablename__ = "posts"
    __table_args__ = (
        # With all that the snapshot plan asks of a post: counting leaves the rows, which are wide, alone.
        Index(
            "ix_posts_status",
            "status", "posted_at", "resting_since", "rested_until", "first_seen_at", "platform", "post_id",
        ),
        # All numbers that posts are ranked by: the leaders in any of them are found without the rows.
        Index(
            "ix_posts_counts",
            "plays", "views", "likes", "comments", "shares", "saves", "author_followers", "platform", "post_id",
        ),
        Index("ix_posts_author", "platform", "author_id"),
        Index("ix_posts_first_seen", "first_seen_at"),
        Index("ix_posts_enriched", "enriched_at", "run_id"),
    )  # fmt: skip
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    post_id: str = Field(sa_column=Column(String(64), primary_key=True))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    """pending | enriched | failed | gone"""
    shortcode: str | None = Field(default=None, sa_column=Column(Text))
    url: str = text_column(nullable=False)
    source_url: str | None = Field(default=None, sa_column=Column(Text))
    """The URL in the form in which it first came: from an import or from the user."""
    author_id: str | None = Field(default=None, sa_column=Column(Text))
    author_username: str | None = Field(default=None, sa_column=Column(Text))
    author_name: str | None = Field(default=None, sa_column=Column(Text))
    author_verified: bool | None = None
    author_followers: int | None = count_column()
    caption: str | None = Field(default=None, sa_column=Column(Text))
    hashtags: list[str] | None = json_column()
    mentions: list[str] | None = json_column()
    posted_at: datetime | None = time_column(index=True)
    media_type: str | None = Field(default=None, sa_column=Column(String(16)))
    product_type: str | None = Field(default=None, sa_column=Column(Text))
    duration_seconds: float | None = Field(default=None, sa_column=Column(Float(53)))
    width: int | None = count_column()
    height: int | None = count_column()
    audio_id: str | None = Field(default=None, sa_column=Column(Text))
    audio_title: str | None = Field(default=None, sa_column=Column(Text))
    audio_artist: str | None = Field(default=None, sa_column=Column(Text))
    audio_is_original: bool | None = None
    has_audio: bool | None = None
    location_name: str | None = Field(default=None, sa_column=Column(Text))
    is_paid_partnership: bool | None = None
    coauthors: list[str] | None = json_column()
    tagged_users: list[str] | None = json_column()
    plays: int | None = count_column()
    views: int | None = count_column()
    likes: int | None = count_column()
    likes_hidden: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    comments: int | None = count_column()
    shares: int | None = count_column()
    saves: int | None = count_column()
    null_reasons: dict[str, str] | None = json_column()
    extra: dict[str, Any] | None = json_column()
    channel: str | None = Field(default=None, sa_column=Column(String(16)))
    first_seen_at: datetime = time_column(nullable=False)
    last_seen_at: datetime = time_column(nullable=False)
    enriched_at: datetime | None = time_column()
    """When metadata was first stored."""
    observed_at: datetime | None = time_column()
    """When the numbers of this row were measured."""
    gone_at: datetime | None = time_column()
    """When the platform said that the post is gone; numbers measured before stay as they were."""
    resting_since: datetime | None = time_column()
    """The measurement at which its numbers stood still, so that no more snapshots were planned; of the last rest."""
    rested_until: datetime | None = time_column()
    """The measurement that ended that rest; None while it rests, or if it never did."""
    run_id: str | None = Field(default=None, sa_column=Column(String(64)))
    """The run that measured them (or first saw the post)."""
    parser_version: str | None = Field(default=None, sa_column=Column(String(16)))
    raw_sha256: str | None = Field(default=None, sa_column=Column(String(64)))


class Creator(SQLModel, table=True):
    """An author of posts, as last seen; the history of followers stands in the snapshots."""

    __tablename__ = "creators"
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    author_id: str = Field(sa_column=Column(Text, primary_key=True))
    author_username: str | None = Field(default=None, sa_column=Column(Text))
    author_name: str | None = Field(default=None, sa_column=Column(Text))
    verified: bool | None = None
    followers: int | None = count_column()
    observed_at: datetime = time_column(nullable=False)
    first_seen_at: datetime = time_column(nullable=False)


class Snapshot(SQLModel, table=True):
    """A post's metrics at `observed_at`; append-only. Followers are the author's at that very moment."""

    __tablename__ = "snapshots"
    __table_args__ = (
        Index("ix_snapshots_observed", "observed_at"),
        Index(
            "ix_snapshots_target",
            "target_age",
            "platform",
            "post_id",
            sqlite_where=text("target_age IS NOT NULL"),
            postgresql_where=text("target_age IS NOT NULL"),
        ),
    )
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    post_id: str = Field(sa_column=Column(String(64), primary_key=True))
    observed_at: datetime = Field(sa_column=Column(UtcDateTime, primary_key=True))
    age_seconds: int | None = count_column()
    """observed_at - posted_at"""
    target_age: int | None = count_column()
    """The checkpoint of the snapshot plan that this answers, in seconds; None outside the plan."""
    lateness_seconds: int | None = count_column()
    """age_seconds - target_age"""
    plays: int | None = count_column()
    views: int | None = count_column()
    likes: int | None = count_column()
    likes_hidden: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    comments: int | None = count_column()
    shares: int | None = count_column()
    saves: int | None = count_column()
    author_followers: int | None = count_column()
    null_reasons: dict[str, str] | None = json_column()
    channel: str | None = Field(default=None, sa_column=Column(String(16)))
    run_id: str | None = Field(default=None, sa_column=Column(String(64)))
    parser_version: str | None = Field(default=None, sa_column=Column(String(16)))
    raw_sha256: str | None = Field(default=None, sa_column=Column(String(64)))


class Comment(SQLModel, table=True):
    """A comment that came with a post's metadata; the author is a keyed hash unless the settings say `keep`."""

    __tablename__ = "comments"
    __table_args__ = (Index("ix_comments_post", "platform", "post_id"),)
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    comment_id: str = Field(sa_column=Column(Text, primary_key=True))
    post_id: str = Field(sa_column=Column(String(64), nullable=False))
    author: str | None = Field(default=None, sa_column=Column(Text))
    text: str | None = Field(default=None, sa_column=Column(Text))
    likes: int | None = count_column()
    created_at: datetime | None = time_column()
    observed_at: datetime = time_column(nullable=False)


class RawPayload(SQLModel, table=True):
    """One answer's body as it came (commenters pseudonymised if so set), zlib-compressed, once per content."""

    __tablename__ = "raw_payloads"
    sha256: str = Field(sa_column=Column(String(64), primary_key=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    size: int = Field(sa_column=Column(Integer, nullable=False))
    """Bytes before compression."""


class RawFetch(SQLModel, table=True):
    """One metadata answer: which payload came for which post, from where and when."""

    __tablename__ = "raw_fetches"
    __table_args__ = (
        Index("ix_raw_fetches_sha", "raw_sha256"),
        Index(
            "ix_raw_fetches_unparsed",
            "fetched_at",
            sqlite_where=text("parsed_at IS NULL"),
            postgresql_where=text("parsed_at IS NULL"),
        ),
    )
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    post_id: str = Field(sa_column=Column(String(64), primary_key=True))
    fetched_at: datetime = Field(sa_column=Column(UtcDateTime, primary_key=True))
    raw_sha256: str = Field(sa_column=Column(String(64), nullable=False))
    channel: str = Field(sa_column=Column(String(16), nullable=False))
    url: str = text_column(nullable=False)
    """The URL that was asked for."""
    purpose: str = Field(sa_column=Column(String(32), nullable=False))
    run_id: str | None = Field(default=None, sa_column=Column(String(64)))
    parsed_at: datetime | None = time_column()
    """None: stored and not parsed yet (a run was killed between the two)."""
    parser_version: str | None = Field(default=None, sa_column=Column(String(16)))


class CanaryShape(SQLModel, table=True):
    """The form of a known post's payload as a canary saw it last, through one channel."""

    __tablename__ = "canary_shapes"
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    post_id: str = Field(sa_column=Column(String(64), primary_key=True))
    channel: str = Field(sa_column=Column(String(16), primary_key=True))
    shape: str | None = Field(default=None, sa_column=Column(Text))
    """Name of the mapper's table of paths; None where no mapper knew the payload."""
    keys: list[str] = json_column(nullable=False)
    """Paths of its keys, sorted; names of keys only, never values."""
    observed_at: datetime = time_column(nullable=False)
    changed_at: datetime = time_column(nullable=False)
    """When shape or keys were last other than before."""


class Erased(SQLModel, table=True):
    """A post or creator that was erased on request and is to stay out; the keyed hash names nobody."""

    __tablename__ = "erased"
    key_hash: str = Field(sa_column=Column(String(64), primary_key=True))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    """post | creator | commenter"""
    erased_at: datetime = time_column(nullable=False)
