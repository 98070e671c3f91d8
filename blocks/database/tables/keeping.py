"""What is known of the data's own limits: gaps between imports, shapes that a canary saw, and what stays erased."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Index, String, Text
from sqlmodel import Field, SQLModel

from blocks.database.tables.columns import json_column, text_column, time_column


class Gap(SQLModel, table=True):
    """An import that shares no post with the one before it: posts of the time in between were probably missed.

    One row at most per import (the later one); both are of one hashtag, collection and library.
    """

    __tablename__ = "gaps"
    __table_args__ = (Index("ix_gaps_hashtag", "hashtag", "collection"),)
    import_id: str = Field(sa_column=Column(String(36), primary_key=True))
    previous_import_id: str = Field(sa_column=Column(String(36), nullable=False))
    hashtag: str = text_column(nullable=False)
    """The tag, in lower case."""
    collection: str = text_column(nullable=False)
    library: str = Field(sa_column=Column(String(16), nullable=False))
    from_at: datetime = time_column(nullable=False)
    """When the previous import was submitted."""
    until_at: datetime = time_column(nullable=False)
    """When this import was submitted."""
    noted_at: datetime = time_column(nullable=False)


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
