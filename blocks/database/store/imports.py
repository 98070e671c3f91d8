"""The ledger of imports: every step is written before it is taken, and is taken by exactly one.

    planned ──▶ sending ──▶ submitted ──▶ collecting ──▶ complete
       ▲           │ │           │             └───────▶ empty (looked at again: collecting)
       └──refused──┘ └▶ ambiguous ─ resolve ─▶ planned | submitted | dropped
    and `failed` from wherever the API refused or gave up the import.

Each transition is one conditional update: it returns whether it happened, and an illegal one changes nothing.
`now` is by itself the time by the database's clock (see `leases.clock`); tests give their own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, and_, case, literal, or_

from blocks.database.store import leases, spend
from blocks.database.store.import_items import ItemSeen, PollResult, record_poll
from blocks.database.store.import_plans import Ticket, plan_import
from blocks.database.store.import_rows import (
    RUNNING,
    SENT_AGAIN,
    STATES,
    FoundPost,
    OpenImport,
    ambiguous,
    by_task,
    find_imports,
    found_posts,
    get,
    give_up_submissions,
    imports,
    move,
    of_run,
    open_imports,
    read,
    unfinished,
    with_note,
    without_post,
)
from blocks.database.store.leases import Alive
from blocks.database.store.resolving import Decision, resolve
from blocks.outside_words import plain

__all__ = [
    "LOOK_AGAIN_HOURS",
    "STATES",
    "Decision",
    "FoundPost",
    "ItemSeen",
    "OpenImport",
    "PollResult",
    "Ticket",
    "ambiguous",
    "back_to_planned",
    "by_task",
    "find_imports",
    "finish_import",
    "found_posts",
    "get",
    "lease_import",
    "mark_ambiguous",
    "mark_failed",
    "mark_sending",
    "mark_submitted",
    "of_run",
    "open_imports",
    "plan_import",
    "record_poll",
    "recover_sending",
    "release_import",
    "reopen",
    "resolve",
    "start_following",
    "take_late_looks",
    "unfinished",
    "without_post",
]

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
    alive: Alive = leases.alive,
) -> bool:
    """planned → sending, to be committed before the request leaves; True for exactly one caller.

    `spend_id` names the reservation that pays for it. False where the import is not planned any more, or another living
    holder has its lease.
    """
    at = leases.clock(conn, now)
    planned = imports.c.state == "planned"
    for row in read(conn, imports.c.import_id == import_id, planned, lock=True):
        if leases.is_free(row.lease_owner, row.lease_until, now=at, me=owner, alive=alive):
            lease = {"lease_owner": owner, "lease_until": leases.ends(at)}
            moved = move(conn, import_id, planned, state="sending", sending_at=at, note=_noted(None), **lease)
            if moved and spend_id is not None:
                spend.mark_sent(conn, spend_id, now=at)
            return moved
    return False


def _sent_by(owner: str | None) -> Any:
    """Rows whose submission `owner` is waiting for.

    Also where others gave it up for dead meanwhile: its answer, however late, is better than doubt.
    """
    if owner is None:
        return imports.c.state == "sending"
    return and_(imports.c.state.in_(("sending", "ambiguous")), imports.c.lease_owner == owner)


def mark_submitted(
    conn: Connection, import_id: str, task_id: str, *, owner: str | None = None, now: datetime | None = None
) -> bool:
    """sending → submitted: the API accepted it under this task id.

    With `owner` a late answer is taken too: while the import is in doubt, or was planned again and not sent yet.
    Where it comes too late for that it is written into the note, for it is paid for, and False is returned.
    """
    at = leases.clock(conn, now)
    taken = _sent_by(owner)
    if owner is not None:
        taken = or_(taken, and_(imports.c.state == "planned", imports.c.lease_owner == owner))
    if move(conn, import_id, taken, state="submitted", task_id=task_id, submitted_at=at, note=_noted(None)):
        return True
    for row in read(conn, imports.c.import_id == import_id, lock=True):
        if row.task_id != task_id:
            late = with_note(row.note, f"the API also accepted it as task {task_id}, which came too late")
            move(conn, import_id, imports.c.state == row.state, note=late)
    return False


def back_to_planned(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> bool:
    """sending → planned: nothing was started, and it may be sent again. The lease stays with its holder."""
    at = leases.clock(conn, now)
    # In the index of shared plans another may stand by now, if this one was in doubt meanwhile.
    values: dict[str, Any] = {"state": "planned", "note": _noted(note), "lease_until": leases.ends(at)}
    sending = and_(imports.c.state == "sending", _sent_by(owner))
    if move(conn, import_id, sending, **values):
        return True
    return owner is not None and move(conn, import_id, _sent_by(owner), **values, forced=True)


def mark_failed(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> bool:
    """planned or sending → failed: the API refused it. A refusal that comes too late changes nothing: the import is
    another's by then, who was told to send it again, and may have."""
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
) -> bool:
    """sending → ambiguous: it was sent, and what the API did with it is unknown. Never sent again by itself."""
    sending = and_(imports.c.state == "sending", _sent_by(owner))
    return move(conn, import_id, sending, state="ambiguous", note=_noted(note), lease_until=None)


def recover_sending(
    conn: Connection, *, account: str | None = None, now: datetime | None = None, alive: Alive = leases.alive
) -> list[str]:
    """sending → ambiguous for each submission whose sender is dead or silent; the ids of those."""
    mine = [] if account is None else [imports.c.account == account]
    return give_up_submissions(conn, read(conn, imports.c.state == "sending", *mine), now=leases.clock(conn, now), alive=alive)


def lease_import(
    conn: Connection, import_id: str, *, owner: str, now: datetime | None = None, alive: Alive = leases.alive
) -> bool:
    """Take (or renew) the lease of an import that is planned, under way or `empty`; False if another holds it.

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
    return False


def release_import(conn: Connection, import_id: str, *, owner: str) -> bool:
    """Give an import's lease back; one that is being sent keeps it, for nobody knows yet what came of it."""
    mine = and_(imports.c.lease_owner == owner, imports.c.state.not_in(("sending", "ambiguous")))
    return move(conn, import_id, mine, lease_owner=None, lease_until=None)


def start_following(conn: Connection, import_id: str, *, now: datetime | None = None) -> OpenImport:
    """The import as it stands, to be polled; one that ended `empty` is collecting again, with a new deadline.

    While such a look lasts `next_look_at` says when it began, and the deadline counts from there.
    """
    at = leases.clock(conn, now)
    again = {"state": "collecting", "looks": imports.c.looks + 1, "next_look_at": at, "quiet_polls": 0}
    move(conn, import_id, imports.c.state == "empty", **again)
    return get(conn, import_id)


def reopen(conn: Connection, import_id: str, *, now: datetime | None = None) -> bool:
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
) -> bool:
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
    return False


def _next_look(ended: datetime, now: datetime) -> datetime | None:
    looks = (ended + timedelta(hours=hours) for hours in LOOK_AGAIN_HOURS)
    return next((look for look in looks if look > now), None)


def take_late_looks(conn: Connection, account: str, *, most: int, now: datetime | None = None) -> list[OpenImport]:
    """Imports that ended `complete` with less than was asked for, and are due to be polled once more.

    Whoever takes a look has it, also if nothing comes of it: the next one is due later, the last 24 h after the end.
    """
    at = leases.clock(conn, now)
    due = and_(imports.c.state == "complete", imports.c.next_look_at <= at, imports.c.task_id.is_not(None))
    taken = []
    for row in read(conn, imports.c.account == account, due, _listed < imports.c.requested, lock=True)[:most]:
        looked = {"looks": imports.c.looks + 1, "next_look_at": _next_look(row.finished_at or at, at)}
        if move(conn, row.import_id, due, **looked):
            taken.append(row)
    return taken
