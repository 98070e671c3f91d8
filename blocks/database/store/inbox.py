"""The inbox: callbacks about known tasks, each stored once, sent to Prefect once, and answered by a poll."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, update

from blocks.completion import Callback, Said, kind_of
from blocks.database.store import leases
from blocks.database.store.imports import OPEN, imports, items
from blocks.database.store.statements import chunks, insert_missing, sanitise_text, table_of
from blocks.database.tables import Inbox

inbox = table_of(Inbox)


@dataclass(frozen=True, slots=True)
class Unemitted:
    """A stored callback whose event was not sent yet, with what the event names."""

    event_id: str
    task_id: str
    import_id: str
    video_no: str | None
    status: str
    received_at: datetime
    import_kind: str
    hashtag: str | None
    collection: str
    followed_until: datetime | None
    """Until when the lease of the run that follows the import holds; None: no run follows it."""
    handled: bool
    """A poll was asked after it, or the import needs none."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What callbacks have said of an import; `unhandled` are those that no poll was asked after yet."""

    said: Said | None
    unhandled: tuple[str, ...] = ()


def known_tasks(conn: Connection, task_ids: Iterable[str]) -> set[str]:
    """Those of the tasks that an import of the ledger has."""
    known: set[str] = set()
    for part in chunks(sorted(set(task_ids))):
        known |= set(conn.execute(select(imports.c.task_id).where(imports.c.task_id.in_(part))).scalars())
    return known


def receive(conn: Connection, callbacks: Sequence[Callback], *, now: datetime | None = None) -> None:
    """Store the callbacks whose task is in the ledger, each once.

    One that says nothing that an automation could wait for needs no event, and one about an import that has ended
    with all that was asked for needs no look: both are marked so at once.
    """
    at = leases.clock(conn, now)
    known: dict[str, Any] = {}
    for part in chunks(sorted({one.task_id for one in callbacks})):
        query = select(imports.c.import_id, imports.c.task_id, imports.c.state, _missing.label("missing"))
        known |= {row.task_id: row for row in conn.execute(query.where(imports.c.task_id.in_(part)))}
    rows = [
        {
            "event_id": one.event_id,
            "task_id": one.task_id,
            "import_id": row.import_id,
            "video_no": one.video_no,
            "status": one.status,
            "message": None if one.message is None else sanitise_text(one.message),
            "received_at": at,
            "emitted_at": at if one.kind == "other" else None,
            "handled_at": None if row.state in OPEN or (row.missing and _is_news(conn, row.import_id, one)) else at,
        }
        for one in callbacks
        if (row := known.get(one.task_id)) is not None
    ]
    insert_missing(conn, inbox, rows)


def _is_news(conn: Connection, import_id: str, one: Callback) -> bool:
    """Whether a callback tells of posts that an import, which has ended, has not listed."""
    if one.kind != "indexed":
        return one.kind == "succeeded"
    listed = select(items.c.item_key).where(items.c.import_id == import_id, items.c.video_no == one.video_no)
    return conn.execute(listed.limit(1)).first() is None


_missing = and_(imports.c.state.in_(("complete", "empty")), imports.c.seen + imports.c.withheld < imports.c.requested)
"""An import that has ended, and did not list all that was asked for."""


def worth_a_look() -> Any:
    """The condition that an import ended, and a callback that came since tells of posts that it has not listed.

    Indexing of a video that the import lists is no such news: only one with another number is.
    """
    unlisted = ~exists().where(items.c.import_id == inbox.c.import_id, items.c.video_no == inbox.c.video_no)
    news = or_(
        and_(inbox.c.video_no.is_(None), inbox.c.status == "SUCCEEDED"),
        and_(inbox.c.video_no.is_not(None), unlisted),
    )
    # From the few unhandled letters to their imports, not from all imports that ended.
    with_news = select(inbox.c.import_id).where(inbox.c.handled_at.is_(None), news)
    return and_(_missing, imports.c.import_id.in_(with_news))


def heard(conn: Connection, import_id: str) -> Heard:
    """What callbacks said of an import so far; a success outweighs a failure, whichever came first."""
    query = select(inbox.c.event_id, inbox.c.video_no, inbox.c.status, inbox.c.received_at, inbox.c.handled_at)
    rows = conn.execute(query.where(inbox.c.import_id == import_id).order_by(inbox.c.received_at)).all()
    by_kind = {kind_of(row.status, row.video_no): row.received_at for row in rows}
    said = None
    for kind in ("succeeded", "failed"):
        if said is None and kind in by_kind:
            said = Said(succeeded=kind == "succeeded", at=by_kind[kind])
    return Heard(said, tuple(row.event_id for row in rows if row.handled_at is None))


def unhandled(conn: Connection, import_id: str) -> tuple[str, ...]:
    """The ids of callbacks about an import that no poll was asked after yet."""
    query = select(inbox.c.event_id).where(inbox.c.import_id == import_id, inbox.c.handled_at.is_(None))
    return tuple(conn.execute(query).scalars())


def mark_handled(conn: Connection, event_ids: Iterable[str], *, now: datetime | None = None) -> None:
    """A poll that was asked after these had come was answered."""
    _mark(conn, event_ids, inbox.c.handled_at, leases.clock(conn, now))


def unemitted(conn: Connection, *, limit: int) -> list[Unemitted]:
    """Callbacks whose events were not sent yet, oldest first."""
    query = (
        select(
            inbox.c.event_id,
            inbox.c.task_id,
            inbox.c.import_id,
            inbox.c.video_no,
            inbox.c.status,
            inbox.c.received_at,
            imports.c.kind,
            imports.c.hashtag,
            imports.c.collection,
            imports.c.lease_until,
            inbox.c.handled_at.is_not(None),
        )
        .join(imports, imports.c.import_id == inbox.c.import_id)
        .where(inbox.c.emitted_at.is_(None))
        .order_by(inbox.c.received_at, inbox.c.event_id)
        .limit(limit)
    )
    return [Unemitted(*row) for row in conn.execute(query)]


def mark_emitted(conn: Connection, event_ids: Iterable[str], *, now: datetime | None = None) -> None:
    """The Prefect server took the events of these."""
    _mark(conn, event_ids, inbox.c.emitted_at, leases.clock(conn, now))


def _mark(conn: Connection, event_ids: Iterable[str], column: Any, at: datetime) -> None:
    for part in chunks(sorted(event_ids)):
        conn.execute(update(inbox).where(inbox.c.event_id.in_(part), column.is_(None)).values({column: at}))
