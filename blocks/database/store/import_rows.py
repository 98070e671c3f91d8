"""Rows of the ledger as plain values, and all that is only read from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, or_, select, update

from blocks.completion import Clocks
from blocks.database.store import leases
from blocks.database.store.leases import Alive
from blocks.database.store.statements import same_post, table_of
from blocks.database.store.work import OPEN_WORK
from blocks.database.tables import Import, ImportItem, Post, RunImport, Work
from blocks.errors import NotAPostUrl, StoreError
from blocks.outside_words import plain
from blocks.posts.identity import parse_post_url
from blocks.posts.record import Platform, PostRef

imports, run_imports, items = table_of(Import), table_of(RunImport), table_of(ImportItem)
_posts, _work = table_of(Post), table_of(Work)

RUNNING = ("submitted", "collecting")
OPEN = ("planned", "sending", *RUNNING)
ENDED = ("complete", "empty", "failed", "dropped")
STATES = (*OPEN, "ambiguous", *ENDED)


SENDER_ENDED = "its sender ended between sending and the answer"

SENT_AGAIN = "sent again by hand"
"""In the note of an import that somebody had sent again, with how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenImport:
    """One row of the ledger (see `Import` for the columns), open or not; `how` is set where a run asked for it."""

    import_id: str
    account: str
    kind: str
    hashtag: str | None
    wanted: dict[str, Any]
    wish: str
    forced: bool
    collection: str
    namespace: str
    library: str
    requested: int
    state: str
    task_id: str | None
    planned_at: datetime
    sending_at: datetime | None
    submitted_at: datetime | None
    first_item_at: datetime | None
    last_new_at: datetime | None
    last_polled_at: datetime | None
    polls: int
    quiet_polls: int
    finished_at: datetime | None
    next_look_at: datetime | None
    looks: int
    seen: int
    new: int
    known: int
    withheld: int
    cost_micros: int
    run_id: str
    asked_by: str | None
    note: str | None
    lease_owner: str | None
    lease_until: datetime | None
    how: str | None = None

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

    def deadline(self, deadline_seconds: float) -> datetime:
        """When this import, or the present look at it, is given up."""
        return self.clocks().deadline(deadline_seconds)


@dataclass(frozen=True, slots=True)
class FoundPost:
    """A post that an import listed (or a user gave), and its URL in the form in which it came.

    `purpose` is that of the work (see `Work`) for which the post is to be measured. `collection` is the one that
    found it, and that pays for it in a run over all collections. From `ends_at` on nothing is bought for it any more.
    """

    ref: PostRef
    source_url: str | None
    purpose: str = "enrich"
    collection: str | None = None
    ends_at: datetime | None = None


def _rows(conn: Connection, query: Select[Any]) -> list[OpenImport]:
    return [OpenImport(**{**row, "wanted": row["wanted"] or {}}) for row in conn.execute(query).mappings()]


def read(conn: Connection, *conditions: Any, lock: bool = False) -> list[OpenImport]:
    """Rows of the ledger under conditions, oldest first; `lock` holds them to the end of the transaction."""
    query = select(imports).where(*conditions).order_by(imports.c.planned_at, imports.c.import_id)
    return _rows(conn, query.with_for_update() if lock else query)


def get(conn: Connection, import_id: str) -> OpenImport:
    """One import.

    Raises:
        StoreError: the ledger has none of that id.
    """
    found = read(conn, imports.c.import_id == import_id)
    if not found:
        raise StoreError(f"the ledger has no import {import_id}; `tagtrail status` lists those that need something")
    return found[0]


def find_imports(conn: Connection, start: str, *, limit: int = 10) -> list[OpenImport]:
    """Imports whose id begins with `start`, so that people need not type all of it."""
    query = select(imports).where(imports.c.import_id.startswith(start, autoescape=True))
    return _rows(conn, query.order_by(imports.c.planned_at.desc()).limit(limit))


def open_imports(conn: Connection, account: str | None = None, *, now: datetime) -> list[OpenImport]:
    """What a sweep takes up: every import under way, and each `empty` one that is due to be looked at again."""
    due = and_(imports.c.state == "empty", imports.c.next_look_at <= now)
    condition = or_(imports.c.state.in_(OPEN), due)
    return read(conn, condition, *([] if account is None else [imports.c.account == account]))


def ambiguous(conn: Connection, account: str | None = None) -> list[OpenImport]:
    """Imports whose submission ended in doubt, and which wait for somebody to decide (`resolve`)."""
    return read(conn, imports.c.state == "ambiguous", *([] if account is None else [imports.c.account == account]))


def by_task(conn: Connection, task_id: str) -> OpenImport | None:
    """The import of a task of the API's, for callbacks; None if the ledger knows no such task."""
    return next(iter(read(conn, imports.c.task_id == task_id)), None)


def of_run(conn: Connection, run_id: str) -> list[OpenImport]:
    """The imports that a run works on, with `how` it came by each (submitted, attached, reused)."""
    query = (
        select(imports, run_imports.c.how)
        .join(run_imports, run_imports.c.import_id == imports.c.import_id)
        .where(run_imports.c.run_id == run_id)
        .order_by(imports.c.planned_at, imports.c.import_id)
    )
    return _rows(conn, query)


def found_posts(conn: Connection, import_id: str, *, open_only: bool = False) -> list[FoundPost]:
    """Every post that an import has listed so far, in the order of listing; `open_only`: those not settled yet."""
    query = (
        select(items.c.platform, items.c.post_id, items.c.source_url, _posts.c.url, _posts.c.shortcode)
        .add_columns(imports.c.collection)
        .join(imports, imports.c.import_id == items.c.import_id)
        .outerjoin(_posts, same_post(_posts.c, items.c))
        .where(items.c.import_id == import_id, items.c.post_id.is_not(None))
        .order_by(items.c.first_seen_at, items.c.item_key)
    )
    if open_only:
        query = query.where(exists().where(same_post(_work.c, items.c), _work.c.purpose == "enrich", OPEN_WORK))
    return [FoundPost(_ref(row), row.source_url, collection=row.collection) for row in conn.execute(query)]


def unfinished(conn: Connection, account: str) -> set[str]:
    """Imports of an account that the same wish continues, whatever their age: under way, or with open posts."""
    continued = or_(imports.c.state.in_(RUNNING), and_(imports.c.state == "complete", with_open_posts()))
    return set(conn.execute(select(imports.c.import_id).where(imports.c.account == account, continued)).scalars())


def with_open_posts() -> ColumnElement[bool]:
    """The condition that an import listed posts that are not settled."""
    of_import = (items.c.import_id == imports.c.import_id, same_post(_work.c, items.c))
    return exists().where(*of_import, _work.c.purpose == "enrich", OPEN_WORK).correlate(imports)


def _ref(row: Any) -> PostRef:
    """The identity of a listed post; its URL tells all of it, the post's own row most of it."""
    try:
        ref = parse_post_url(row.source_url or "")
    except NotAPostUrl:
        return PostRef(cast(Platform, row.platform), row.post_id, row.url or row.source_url or "", row.shortcode)
    if (ref.platform, ref.post_id) == (row.platform, row.post_id):
        return ref
    return PostRef(cast(Platform, row.platform), row.post_id, row.url or ref.url, row.shortcode)


def without_post(conn: Connection, import_ids: Iterable[str]) -> list[tuple[str, str, str | None, str | None]]:
    """Listed items that name no post of a known platform: (import_id, item_key, source_url, item_status)."""
    query = (
        select(items.c.import_id, items.c.item_key, items.c.source_url, items.c.item_status)
        .where(items.c.import_id.in_(list(import_ids)), items.c.post_id.is_(None))
        .order_by(items.c.import_id, items.c.item_key)
    )
    return [tuple(row) for row in conn.execute(query)]


def move(conn: Connection, import_id: str, where: Any, **values: Any) -> bool:
    """Change an import's row where it is as `where` says; False if it is not."""
    changed = conn.execute(update(imports).where(imports.c.import_id == import_id, where).values(**values)).rowcount
    return bool(changed)


def with_note(note: str | None, more: str) -> str:
    """A note with more behind it."""
    return f"{note}; {plain(more)}" if note else plain(more)


def give_up_submissions(conn: Connection, sending: Sequence[OpenImport], *, now: datetime, alive: Alive) -> list[str]:
    """Mark those submissions `ambiguous` whose holder is dead or silent; their ids.

    The holder stays written: should its answer come after all, it is still taken (see `mark_submitted`).
    """
    changed = []
    for one in sending:
        if not leases.is_free(one.lease_owner, one.lease_until, now=now, alive=alive):
            continue
        unchanged = and_(
            imports.c.import_id == one.import_id,
            imports.c.state == "sending",
            imports.c.lease_until.is_not_distinct_from(one.lease_until),
        )
        if conn.execute(update(imports).where(unchanged).values(state="ambiguous", note=SENDER_ENDED)).rowcount:
            changed.append(one.import_id)
    return changed
