"""The ledger of imports: every step is written before it is taken, and is taken by exactly one.

    planned ──▶ sending ──▶ submitted ──▶ collecting ──▶ complete
       ▲           │ │           │             └───────▶ empty (looked at again: collecting)
       └──refused──┘ └▶ ambiguous ─ resolve ─▶ planned | submitted | dropped
    and `failed` from wherever the API refused or gave up the import.

Each transition is one conditional update: it returns the row that it wrote, and None where it is illegal, which
changes nothing.
`now` is by itself the time by the database's clock (see `leases.clock`); tests give their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Connection, Select, UpdateBase, and_, case, exists, literal, or_, select, update

from blocks.database.store import leases, money
from blocks.database.store.statements import insert_into, same_post, table_of
from blocks.database.store.work import OPEN_WORK
from blocks.database.tables import Import, ImportItem, Post, RunImport, Work
from blocks.database.tables.ledger import RUNNING
from blocks.errors import NotAPostUrl, StoreError
from blocks.outside_words import plain
from blocks.posts.identity import parse_post_url
from blocks.posts.record import Platform, PostRef
from blocks.processes import Alive, is_alive

imports = table_of(Import)
run_imports = table_of(RunImport)
items = table_of(ImportItem)
_posts = table_of(Post)
_work = table_of(Work)

OPEN = ("planned", "sending", *RUNNING)
ENDED = ("complete", "empty", "failed", "dropped")


SENDER_ENDED = "its sender ended between sending and the answer"

SENT_AGAIN = "sent again by hand"
"""In the note of an import that somebody had sent again, with how often."""


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


def _rows(conn: Connection, query: Select[Any] | UpdateBase) -> list[Import]:
    columns = list(query.exported_columns)
    # By the tables' own names for them: those in the database may be older.
    rows = [{column.key: row[column] for column in columns} for row in conn.execute(query).mappings()]
    return [Import(**row | {"wanted": row["wanted"] or {}}) for row in rows]


def read(conn: Connection, *conditions: Any, lock: bool = False) -> list[Import]:
    """Rows of the ledger under conditions, oldest first; `lock` holds them to the end of the transaction."""
    query = select(imports).where(*conditions).order_by(imports.c.planned_at, imports.c.import_id)
    return _rows(conn, query.with_for_update() if lock else query)


def get(conn: Connection, import_id: str) -> Import:
    """One import.

    Raises:
        StoreError: the ledger has none of that id.
    """
    found = read(conn, imports.c.import_id == import_id)
    if not found:
        raise StoreError(f"the ledger has no import {import_id}; `tagtrail status` lists those that need something")
    return found[0]


def find_imports(conn: Connection, start: str, *, limit: int = 10) -> list[Import]:
    """Imports whose id begins with `start`, so that people need not type all of it."""
    query = select(imports).where(imports.c.import_id.startswith(start, autoescape=True))
    return _rows(conn, query.order_by(imports.c.planned_at.desc()).limit(limit))


def open_imports(conn: Connection, account: str | None = None, *, now: datetime) -> list[Import]:
    """What a sweep takes up: every import under way, and each `empty` one that is due to be looked at again."""
    due = and_(imports.c.state == "empty", imports.c.next_look_at <= now)
    condition = or_(imports.c.state.in_(OPEN), due)
    return read(conn, condition, *([] if account is None else [imports.c.account == account]))


def by_task(conn: Connection, task_id: str) -> Import | None:
    """The import of a task of the API's, for callbacks; None if the ledger knows no such task."""
    return next(iter(read(conn, imports.c.task_id == task_id)), None)


def of_run(conn: Connection, run_id: str) -> list[tuple[Import, str]]:
    """The imports that a run works on, oldest first, and how it came by each: submitted, attached, reused."""
    links = select(run_imports.c.import_id, run_imports.c.how).where(run_imports.c.run_id == run_id)
    how = dict(conn.execute(links).all())
    return [(row, how[row.import_id]) for row in read(conn, imports.c.import_id.in_(list(how)))]


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
    """Imports of an account that the same request continues, whatever their age: under way, or with open posts."""
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
    if ref.key == (row.platform, row.post_id):
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


def move(conn: Connection, import_id: str, *where: ColumnElement[bool], **values: Any) -> Import | None:
    """Change an import's row where it is as the conditions say; the row as it is then, None if it is not."""
    changed = update(imports).where(imports.c.import_id == import_id, *where).values(**values).returning(imports)
    return next(iter(_rows(conn, changed)), None)


def insert_plan(conn: Connection, plan: dict[str, Any]) -> Import | None:
    """Write a new row; None where the index of shared plans has another."""
    insert = insert_into(imports).values(plan).on_conflict_do_nothing().returning(imports)
    return next(iter(_rows(conn, insert)), None)


def with_note(note: str | None, more: str) -> str:
    """A note with more behind it."""
    return f"{note}; {plain(more)}" if note else plain(more)


def give_up_submissions(conn: Connection, sending: Sequence[Import], *, now: datetime, alive: Alive) -> list[str]:
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


LOOK_AGAIN_HOURS = (1, 6, 24)
"""When an import that ended `empty` is looked at again, in hours after its end."""


def _noted(note: str | None) -> Any:
    """The new note; only how often somebody had an import sent again by hand is kept of the old one."""
    note = note if note is None else plain(note)
    kept = imports.c.note.contains(SENT_AGAIN, autoescape=True)
    if note is None:
        return case((kept, imports.c.note))
    return case((kept, imports.c.note + f"; {note}"), else_=note)


def mark_sending(
    conn: Connection,
    import_id: str,
    *,
    owner: str,
    spend_id: str | None = None,
    now: datetime | None = None,
    alive: Alive = is_alive,
) -> Import | None:
    """planned → sending, to be committed before the request leaves; the row for exactly one caller.

    `spend_id` names the reservation that pays for it. None where the import is not planned any more, or another living
    holder has its lease.
    """
    at = leases.clock(conn, now)
    planned = imports.c.state == "planned"
    for row in read(conn, imports.c.import_id == import_id, planned, lock=True):
        if leases.is_free(row.lease_owner, row.lease_until, now=at, me=owner, alive=alive):
            lease = {"lease_owner": owner, "lease_until": leases.ends(at)}
            moved = move(conn, import_id, planned, state="sending", sending_at=at, note=_noted(None), **lease)
            if moved is not None and spend_id is not None:
                money.mark_sent(conn, spend_id, now=at)
            return moved
    return None


def _sent_by(owner: str | None) -> Any:
    """Rows whose submission `owner` is waiting for.

    Also where others gave it up for dead meanwhile: its answer, however late, is better than none.
    """
    if owner is None:
        return imports.c.state == "sending"
    return and_(imports.c.state.in_(("sending", "ambiguous")), imports.c.lease_owner == owner)


def mark_submitted(
    conn: Connection,
    import_id: str,
    task_id: str,
    *,
    owner: str | None = None,
    follows: bool = True,
    now: datetime | None = None,
) -> Import | None:
    """sending → submitted: the API accepted it under this task id.

    `follows`: the owner polls it. Otherwise its lease ends at once, so that a callback finds nobody following it.

    With `owner` a late answer is taken too: while the import is ambiguous, or was planned again and not sent yet.
    Where it comes too late for that it is written into the note, for it is paid for, and None is returned.
    """
    at = leases.clock(conn, now)
    taken = _sent_by(owner)
    if owner is not None:
        taken = or_(taken, and_(imports.c.state == "planned", imports.c.lease_owner == owner))
    values: dict[str, Any] = {"state": "submitted", "task_id": task_id, "submitted_at": at, "note": _noted(None)}
    if not follows:
        values |= {"lease_owner": None, "lease_until": None}
    if (submitted := move(conn, import_id, taken, **values)) is not None:
        return submitted
    for row in read(conn, imports.c.import_id == import_id, lock=True):
        if row.task_id != task_id:
            late = with_note(row.note, f"the API also accepted it as task {task_id}, which came too late")
            move(conn, import_id, imports.c.state == row.state, note=late)
    return None


def back_to_planned(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> Import | None:
    """sending → planned: nothing was started, and it may be sent again. The lease stays with its holder."""
    at = leases.clock(conn, now)
    # In the index of shared plans another may stand by now, if this one was ambiguous meanwhile.
    values: dict[str, Any] = {"state": "planned", "note": _noted(note), "lease_until": leases.ends(at)}
    sending = and_(imports.c.state == "sending", _sent_by(owner))
    planned = move(conn, import_id, sending, **values)
    if planned is None and owner is not None:
        planned = move(conn, import_id, _sent_by(owner), **values, forced=True)
    return planned


def mark_failed(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> Import | None:
    """planned or sending → failed: the API refused it. A refusal that comes too late changes nothing: the import is
    another's by then, who was to send it again, and may have."""
    planned = imports.c.state == "planned"
    if owner is not None:
        planned &= or_(imports.c.lease_owner.is_(None), imports.c.lease_owner == owner)
    states = or_(planned, _sent_by(owner))
    at = leases.clock(conn, now)
    return move(
        conn, import_id, states, state="failed", note=_noted(note), finished_at=at, lease_owner=None, lease_until=None
    )


def mark_ambiguous(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> Import | None:
    """sending → ambiguous: it was sent, and what the API did with it is unknown. Never sent again by itself."""
    sending = and_(imports.c.state == "sending", _sent_by(owner))
    return move(conn, import_id, sending, state="ambiguous", note=_noted(note), lease_until=None)


def recover_sending(
    conn: Connection, *, account: str | None = None, now: datetime | None = None, alive: Alive = is_alive
) -> list[str]:
    """sending → ambiguous for each submission whose sender is dead or silent; the ids of those."""
    mine = [] if account is None else [imports.c.account == account]
    return give_up_submissions(
        conn, read(conn, imports.c.state == "sending", *mine), now=leases.clock(conn, now), alive=alive
    )


def lease_import(
    conn: Connection, import_id: str, *, owner: str, now: datetime | None = None, alive: Alive = is_alive
) -> Import | None:
    """Take (or renew) the lease of an import that is planned, under way or `empty`; None if another holds it.

    A submission whose sender died is never taken over: it becomes `ambiguous` here.
    """
    at = leases.clock(conn, now)
    for row in read(conn, imports.c.import_id == import_id, lock=True):
        if row.state == "sending" and row.lease_owner != owner:
            give_up_submissions(conn, [row], now=at, alive=alive)
        elif row.state in ("planned", "empty", *RUNNING) and leases.is_free(
            row.lease_owner, row.lease_until, now=at, me=owner, alive=alive
        ):
            return move(conn, import_id, imports.c.state == row.state, lease_owner=owner, lease_until=leases.ends(at))
    return None


def release_import(conn: Connection, import_id: str, *, owner: str) -> Import | None:
    """Give an import's lease back; one that is being sent keeps it, for nobody knows yet what came of it."""
    mine = and_(imports.c.lease_owner == owner, imports.c.state.not_in(("sending", "ambiguous")))
    return move(conn, import_id, mine, lease_owner=None, lease_until=None)


def start_following(conn: Connection, import_id: str, *, now: datetime | None = None) -> Import:
    """The import as it stands, to be polled; one that ended `empty` is collecting again, with a new deadline.

    While such a look lasts `next_look_at` says when it began, and the deadline counts from there.
    """
    at = leases.clock(conn, now)
    again = {"state": "collecting", "looks": imports.c.looks + 1, "next_look_at": at, "quiet_polls": 0}
    return move(conn, import_id, imports.c.state == "empty", **again) or get(conn, import_id)


def reopen(conn: Connection, import_id: str, *, now: datetime | None = None) -> Import | None:
    """complete → collecting: a callback tells of posts that it has not listed; a look with a new deadline."""
    ended = imports.c.state == "complete"
    again = {"looks": imports.c.looks + 1, "next_look_at": leases.clock(conn, now), "quiet_polls": 0}
    return move(conn, import_id, ended, state="collecting", **again)


_listed = imports.c.seen + imports.c.withheld


def finish_import(
    conn: Connection,
    import_id: str,
    *,
    state: Literal["complete", "empty"],
    note: str | None = None,
    now: datetime | None = None,
) -> Import | None:
    """submitted or collecting → complete (only with items) or empty (only without any); its lease is free.

    What ended `empty` is looked at again 1, 6 and 24 h after its first end, what ended `complete` with less than was
    asked for so long after its last one (`take_late_looks`); later `next_look_at` is None.
    """
    at = leases.clock(conn, now)
    values: dict[str, Any] = {"state": state, "lease_owner": None, "lease_until": None}
    if note is not None:
        values["note"] = note
    running = imports.c.state.in_(RUNNING)
    if state == "complete":
        look = literal(_next_look(at, at), imports.c.next_look_at.type)
        values |= {"finished_at": at, "next_look_at": case((_listed < imports.c.requested, look))}
        return move(conn, import_id, and_(running, _listed > 0), **values)
    for row in read(conn, imports.c.import_id == import_id, lock=True):
        ended = row.finished_at or at
        values |= {"finished_at": ended, "next_look_at": _next_look(ended, at)}
        return move(conn, import_id, and_(running, _listed == 0), **values)
    return None


def _next_look(ended: datetime, now: datetime) -> datetime | None:
    looks = (ended + timedelta(hours=hours) for hours in LOOK_AGAIN_HOURS)
    return next((look for look in looks if look > now), None)


def take_late_looks(conn: Connection, account: str, *, most: int, now: datetime | None = None) -> list[Import]:
    """Imports that ended `complete` with less than was asked for, and are due to be polled once more.

    Whoever takes a look has it, also if nothing comes of it: the next one is due later, the last 24 h after the end.
    """
    at = leases.clock(conn, now)
    due = and_(imports.c.state == "complete", imports.c.next_look_at <= at, imports.c.task_id.is_not(None))
    taken = []
    for row in read(conn, imports.c.account == account, due, _listed < imports.c.requested, lock=True)[:most]:
        looked = {"looks": imports.c.looks + 1, "next_look_at": _next_look(row.finished_at or at, at)}
        if (looked_at := move(conn, row.import_id, due, **looked)) is not None:
            taken.append(looked_at)
    return taken
