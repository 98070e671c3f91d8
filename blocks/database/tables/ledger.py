"""What was asked for and bought: collections, hashtags, runs, and the ledger of imports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Text, text
from sqlmodel import Field, SQLModel

from blocks.completion import Clocks
from blocks.database.tables.columns import count_column, json_column, text_column, time_column


class Meta(SQLModel, table=True):
    """Single facts about this database, such as the key of the comment hashes."""

    __tablename__ = "meta"
    key: str = Field(sa_column=Column(String(64), primary_key=True))
    value: str = text_column(nullable=False)


class Collection(SQLModel, table=True):
    """A named set of hashtags: one client's or one study's."""

    __tablename__ = "collections"
    name: str = Field(sa_column=Column(Text, primary_key=True))
    created_at: datetime = time_column(nullable=False)


class Hashtag(SQLModel, table=True):
    """A hashtag that somebody followed; `tag` is NFC and in lower case, `shown` as it was first typed."""

    __tablename__ = "hashtags"
    tag: str = Field(sa_column=Column(Text, primary_key=True))
    shown: str = text_column(nullable=False)
    first_seen_at: datetime = time_column(nullable=False)


class Run(SQLModel, table=True):
    """One run of a flow: what it was asked, what it may spend, whether a person stopped it, what came of it."""

    __tablename__ = "runs"
    __table_args__ = (
        Index(
            "ix_runs_without_end",
            "run_id",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )
    run_id: str = Field(sa_column=Column(String(64), primary_key=True))
    flow: str = Field(sa_column=Column(String(64), nullable=False))
    account: str | None = Field(default=None, sa_column=Column(String(32)))
    collection: str | None = Field(default=None, sa_column=Column(Text))
    parameters: dict[str, Any] | None = json_column()
    started_at: datetime = time_column(nullable=False, index=True)
    finished_at: datetime | None = time_column()
    outcome: str | None = Field(default=None, sa_column=Column(String(20)))
    """done | attention | failed | halted | cancelled; None while it runs or where it was killed."""
    message: str | None = Field(default=None, sa_column=Column(Text))
    summary: dict[str, Any] | None = json_column()
    cap_micros: int | None = count_column()
    """What may be spent on what this run asks for, whoever buys it, in millionths of a US dollar; None: no cap."""
    sweeps: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    """A sweep: it buys what others asked for, and asks for nothing itself."""
    stopped_at: datetime | None = time_column()
    """When a person stopped it: from then on what it asked for is held."""
    stopped_by: str | None = Field(default=None, sa_column=Column(Text))
    stopped_why: str | None = Field(default=None, sa_column=Column(Text))
    lease_owner: str | None = Field(default=None, sa_column=Column(Text))
    lease_until: datetime | None = time_column()
    """Renewed while it runs: a run lives while it has no end and this lease is not over."""


class RunImport(SQLModel, table=True):
    """Which imports a run works on, and how it came by them: submitted | attached | reused."""

    __tablename__ = "run_imports"
    run_id: str = Field(sa_column=Column(String(64), primary_key=True))
    import_id: str = Field(sa_column=Column(String(36), primary_key=True, index=True))
    how: str = Field(sa_column=Column(String(16), nullable=False))


class RunPost(SQLModel, table=True):
    """Which posts a run was given by URL, or measures again; those of its imports stand in `import_items`."""

    __tablename__ = "run_posts"
    __table_args__ = (Index("ix_run_posts_post", "platform", "post_id"),)
    run_id: str = Field(sa_column=Column(String(64), primary_key=True))
    platform: str = Field(sa_column=Column(String(16), primary_key=True))
    post_id: str = Field(sa_column=Column(String(64), primary_key=True))
    purpose: str = Field(default="enrich", sa_column=Column(String(32), nullable=False, server_default="enrich"))
    """The purpose of the work (see `Work`) whose state is this post's outcome in the run."""


RUNNING = ("submitted", "collecting")
"""States of an import that is polled."""


class Import(SQLModel, table=True):
    """The ledger: one row per import, written before the import is sent.

    state: planned → sending → submitted → collecting → complete | empty | failed | ambiguous | dropped
    """

    __tablename__ = "imports"
    __table_args__ = (
        # Two runs that want the same import at the same moment: the second insert fails, and attaches.
        Index(
            "uq_imports_open_wish",
            "account",
            "dedup_key",
            unique=True,
            sqlite_where=text("state IN ('planned', 'sending') AND NOT forced"),
            postgresql_where=text("state IN ('planned', 'sending') AND NOT forced"),
        ),
        Index("ix_imports_state", "state"),
        Index("ix_imports_task", "task_id"),
        Index("ix_imports_hashtag", "hashtag"),
        Index("ix_imports_wish", "account", "dedup_key", "planned_at"),
    )
    import_id: str = Field(sa_column=Column(String(36), primary_key=True))
    account: str = Field(sa_column=Column(String(32), nullable=False))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    """hashtag | urls | creator"""
    hashtag: str | None = Field(default=None, sa_column=Column(Text))
    """The tag, in lower case (kind hashtag)."""
    wanted: dict[str, Any] = json_column()
    """What was asked for, as sent: {"hashtag": "LVMH"} | {"urls": [...]} | {"creator": "https://…"}."""
    dedup_key: str = Field(sa_column=Column("wish", String(64), key="dedup_key", nullable=False))
    """Hash of (kind, what, namespace, library): equal requests can share an import."""
    forced: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    """Submitted with `--fresh`: no older import was to be used again."""
    collection: str = text_column(nullable=False)
    namespace: str = text_column(nullable=False)
    library: str = Field(sa_column=Column(String(16), nullable=False))
    requested: int = Field(sa_column=Column(Integer, nullable=False))
    """Posts asked for."""
    state: str = Field(sa_column=Column(String(16), nullable=False))
    task_id: str | None = Field(default=None, sa_column=Column(Text))
    planned_at: datetime = time_column(nullable=False)
    sending_at: datetime | None = time_column()
    submitted_at: datetime | None = time_column()
    first_item_at: datetime | None = time_column()
    last_new_at: datetime | None = time_column()
    last_polled_at: datetime | None = time_column()
    polls: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    """Answered polls, of this import's whole life."""
    quiet_polls: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    """Answered polls in a row that brought nothing new, after the first item."""
    finished_at: datetime | None = time_column()
    next_look_at: datetime | None = time_column()
    """When an import that ended `empty`, or with less than was asked for, is looked at again (1, 6, 24 h after)."""
    looks: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    seen: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    new: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    known: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    withheld: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    """Listed (and billed) posts that are not kept, because they were erased on request."""
    cost_micros: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    run_id: str = Field(sa_column=Column(String(64), nullable=False))
    """The run that planned it."""
    asked_by: str | None = Field(default=None, sa_column=Column(String(64)))
    """The run that asked for it last (see `Work.asked_by`); its posts are asked for by the same run."""
    note: str | None = Field(default=None, sa_column=Column(Text))
    lease_owner: str | None = Field(default=None, sa_column=Column(Text))
    lease_until: datetime | None = time_column()

    @property
    def since(self) -> datetime:
        """When it was bought, as far as is known: submitted, or else planned. Re-use goes by this."""
        return self.submitted_at or self.planned_at

    def clocks(self) -> Clocks:
        """What `blocks.completion` decides by."""
        look = self.next_look_at if self.state in RUNNING else None
        return Clocks(
            since=look or self.since,
            requested=self.requested,
            # What was erased on request is listed and billed all the same.
            seen=self.seen + self.withheld,
            without_url=self.seen - self.new - self.known,
            quiet_polls=self.quiet_polls,
            first_item_at=self.first_item_at,
            last_new_at=self.last_new_at,
            last_polled_at=self.last_polled_at,
        )


class ImportItem(SQLModel, table=True):
    """One item that an import listed: the link between a post and the hashtag, import and runs that found it.

    `item_key` is `platform:post_id` where the URL names a post, else `no:VIDEO_NO` or `url:HASH`.
    """

    __tablename__ = "import_items"
    __table_args__ = (
        Index("ix_import_items_post", "platform", "post_id"),
        # What was known already when it was listed; the posts themselves say what was new.
        Index(
            "ix_import_items_listed_again",
            "first_seen_at",
            "platform",
            "post_id",
            sqlite_where=text("was_new = 0"),
            postgresql_where=text("NOT was_new"),
        ),
    )
    import_id: str = Field(sa_column=Column(String(36), primary_key=True))
    item_key: str = Field(sa_column=Column(Text, primary_key=True))
    video_no: str | None = Field(default=None, sa_column=Column(Text))
    source_url: str | None = Field(default=None, sa_column=Column(Text))
    """The URL in the form in which the import gave it."""
    item_status: str | None = Field(default=None, sa_column=Column(Text))
    """Indexing status as last listed (PARSE, UNPARSE, FAIL …); metadata does not need it."""
    platform: str | None = Field(default=None, sa_column=Column(String(16)))
    post_id: str | None = Field(default=None, sa_column=Column(String(64)))
    was_new: bool = Field(default=False, sa_column=Column(Boolean, nullable=False))
    """The post was not in the database before this import listed it."""
    first_seen_at: datetime = time_column(nullable=False)
    last_seen_at: datetime = time_column(nullable=False)


class Inbox(SQLModel, table=True):
    """Callbacks about imports of the ledger, as they came, once each."""

    __tablename__ = "inbox"
    __table_args__ = (
        Index("ix_inbox_import", "import_id"),
        Index(
            "ix_inbox_unemitted",
            "received_at",
            sqlite_where=text("emitted_at IS NULL"),
            postgresql_where=text("emitted_at IS NULL"),
        ),
        Index(
            "ix_inbox_unhandled",
            "import_id",
            sqlite_where=text("handled_at IS NULL"),
            postgresql_where=text("handled_at IS NULL"),
        ),
    )
    event_id: str = Field(sa_column=Column(String(36), primary_key=True))
    """Made of task, video and status: the same news has the same id, however often it comes."""
    task_id: str = text_column(nullable=False)
    import_id: str | None = Field(default=None, sa_column=Column(String(36)))
    video_no: str | None = Field(default=None, sa_column=Column(Text))
    status: str = text_column(nullable=False)
    """SUCCEEDED | FAILED | INDEXING_SUCCEEDED, or whatever else the service said, in capitals."""
    message: str | None = Field(default=None, sa_column=Column(Text))
    """The service's own words, without the secret of our address."""
    received_at: datetime = time_column(nullable=False)
    emitted_at: datetime | None = time_column()
    """When the Prefect server took its event, or when it was known that there is none for it."""
    handled_at: datetime | None = time_column()
    """When a poll that was asked after it was answered, or when it was known that there is nothing to look for."""


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
