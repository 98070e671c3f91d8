"""What is still to be done and what it costs: work, failures, spend, budgets and rate limits."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Text, text
from sqlmodel import Field, SQLModel

from blocks.database.tables.columns import count_column, json_column, text_column, time_column


class Work(SQLModel, table=True):
    """What is to be bought for a post, for one purpose; claimed by lease so that nobody buys it twice.

    purpose: `enrich`, or `refresh:TARGET_AGE_SECONDS` · state: pending | claimed | done | failed | gone
    """

    __tablename__ = "work"
    __table_args__ = (Index("ix_work_state", "purpose", "state"),)
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    post_id: str = Field(sa_column=Column(String(64), primary_key=True))
    purpose: str = Field(sa_column=Column(String(32), primary_key=True))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    attempts: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    """Metadata calls made since it was last pending from new."""
    tries: dict[str, int] | None = json_column()
    """Calls since then that failed without an answer of use, by kind, over all runs and channels: {"lost": 2}."""
    asked_by: str | None = Field(default=None, sa_column=Column(String(64)))
    """The run that asked for it last, under whose cap it is bought; while that run is stopped it is held."""
    lease_owner: str | None = Field(default=None, sa_column=Column(Text))
    lease_until: datetime | None = time_column()
    updated_at: datetime = time_column(nullable=False)


class Failure(SQLModel, table=True):
    """A post (or import item) that was given up, with the reason; closed by a later success.

    stage: submit | poll | identify | metadata | parse | store
    """

    __tablename__ = "failures"
    __table_args__ = (
        Index(
            "uq_failures_open",
            "item_key",
            "stage",
            unique=True,
            sqlite_where=text("resolved_at IS NULL"),
            postgresql_where=text("resolved_at IS NULL"),
        ),
        Index("ix_failures_post", "platform", "post_id"),
    )
    failure_id: int | None = Field(default=None, sa_column=Column(Integer, primary_key=True, autoincrement=True))
    item_key: str = text_column(nullable=False)
    """`platform:post_id`, or `IMPORT_ID/ITEM_KEY` where no post is known."""
    platform: str | None = Field(default=None, sa_column=Column(String(16)))
    post_id: str | None = Field(default=None, sa_column=Column(String(64)))
    url: str | None = Field(default=None, sa_column=Column(Text))
    stage: str = Field(sa_column=Column(String(16), nullable=False))
    error_class: str = Field(sa_column=Column(String(64), nullable=False))
    code: str | None = Field(default=None, sa_column=Column(Text))
    message: str = text_column(nullable=False)
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    channel: str | None = Field(default=None, sa_column=Column(String(16)))
    raw_sha256: str | None = Field(default=None, sa_column=Column(String(64)))
    import_id: str | None = Field(default=None, sa_column=Column(String(36)))
    run_id: str | None = Field(default=None, sa_column=Column(String(64)))
    first_at: datetime = time_column(nullable=False)
    last_at: datetime = time_column(nullable=False)
    resolved_at: datetime | None = time_column()


class Spend(SQLModel, table=True):
    """Money reserved before calls and settled after them; what a killed run left reserved counts as spent."""

    __tablename__ = "spend"
    __table_args__ = (
        Index("ix_spend_run", "run_id"),
        Index("ix_spend_day", "day", "kind", "platform", "channel"),
        Index("ix_spend_import", "import_id"),
    )
    spend_id: str = Field(sa_column=Column(String(36), primary_key=True))
    account: str = Field(sa_column=Column(String(32), nullable=False))
    day: str = Field(sa_column=Column(String(10), nullable=False))
    """UTC date of the reservation, YYYY-MM-DD."""
    run_id: str = Field(sa_column=Column(String(64), nullable=False))
    """The run that buys."""
    asked_by: str | None = Field(default=None, sa_column=Column(String(64)))
    """The run for whose request it buys, under whose cap it counts as well; None: for its own."""
    collection: str | None = Field(default=None, sa_column=Column(Text))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    """import | metadata"""
    platform: str | None = Field(default=None, sa_column=Column(String(16)))
    channel: str | None = Field(default=None, sa_column=Column(String(16)))
    import_id: str | None = Field(default=None, sa_column=Column(String(36)))
    calls: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    """Calls that were made (metadata), or posts that were listed (import), once settled."""
    reserved_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    spent_micros: int | None = count_column()
    """None while reserved; then what was really (or possibly) billed."""
    reserved_at: datetime = time_column(nullable=False)
    sent_at: datetime | None = time_column()
    """When the import that it is for was about to be sent; None: it never was with this money (or it is metadata)."""
    settled_at: datetime | None = time_column()


class Budget(SQLModel, table=True):
    """Running totals, so that a cap is one conditional update: `run:ID`, `day:ACCOUNT:DATE`, `collection:NAME`."""

    __tablename__ = "budgets"
    scope: str = Field(sa_column=Column(Text, primary_key=True))
    used_micros: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    """Reserved and spent together."""


class RateLimit(SQLModel, table=True):
    """The next free slot of one account-wide limit; a row is one reservation of time."""

    __tablename__ = "rate_limits"
    account: str = Field(sa_column=Column(String(32), primary_key=True))
    name: str = Field(sa_column=Column(String(64), primary_key=True))
    next_at: float = Field(sa_column=Column(Float(53), nullable=False))
    """Seconds since the epoch, by the database's clock."""
    learned_interval: float | None = Field(default=None, sa_column=Column(Float(53)))
    """Seconds between slots that the server proved to ask for, longer than the settings'."""
    learned_at: float | None = Field(default=None, sa_column=Column(Float(53)))
