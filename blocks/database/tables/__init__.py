"""The tables, as SQLModel classes; all times are aware and in UTC, all money whole millionths of a US dollar."""

from __future__ import annotations

from sqlmodel import SQLModel

from blocks.database.tables.columns import UtcDateTime
from blocks.database.tables.ledger import (
    Collection,
    Gap,
    Hashtag,
    Import,
    ImportItem,
    Inbox,
    Meta,
    Run,
    RunImport,
    RunPost,
)
from blocks.database.tables.posts import CanaryShape, Comment, Creator, Erased, Post, RawFetch, RawPayload, Snapshot
from blocks.database.tables.work import Budget, Failure, RateLimit, Spend, Work

METADATA = SQLModel.metadata
"""All tables."""

__all__ = [
    "METADATA",
    "Budget",
    "CanaryShape",
    "Collection",
    "Comment",
    "Creator",
    "Erased",
    "Failure",
    "Gap",
    "Hashtag",
    "Import",
    "ImportItem",
    "Inbox",
    "Meta",
    "Post",
    "RateLimit",
    "RawFetch",
    "RawPayload",
    "Run",
    "RunImport",
    "RunPost",
    "Snapshot",
    "Spend",
    "UtcDateTime",
    "Work",
]
