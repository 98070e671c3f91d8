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

from sqlalchemy import Connection, and_, case, or_, update

from blocks.database.store import leases
from blocks.database.store.import_items import ItemSeen, PollResult, record_poll
from blocks.database.store.import_plans import Ticket, doubtful, plan_import
from blocks.database.store.import_rows import (
    RUNNING,
    STATES,
    FoundPost,
    OpenImport,
    ambiguous,
    by_task,
    find_imports,
    found_posts,
    get,
    imports,
    of_run,
    open_imports,
    read,
    without_post,
)
from blocks.database.store.leases import Alive
from blocks.memories.errors import UsageError

__all__ = [
    "LOOK_AGAIN_HOURS",
    "STATES",
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
    "without_post",
]

LOOK_AGAIN_HOURS = (1, 6, 24)
"""When an import that ended `empty` is looked at again, in hours after its end."""

Decision = Literal["resubmit", "attach", "drop"]


def _move(conn: Connection, import_id: str, where: Any, **values: Any) -> bool:
    changed = conn.execute(update(imports).where(imports.c.import_id == import_id, where).values(**values)).rowcount
    return bool(changed)


_BY_HAND = "sent again by hand"


def _noted(note: str | None) -> Any:
    """The new note; only how often somebody had an import sent again by hand is kept of the old one."""
    kept = imports.c.note.contains(_BY_HAND, autoescape=True)
    if note is None:
        return case((kept, imports.c.note))
    return case((kept, imports.c.note + f"; {note}"), else_=note)


def mark_sending(
    conn: Connection, import_id: str, *, owner: str, now: datetime | None = None, alive: Alive = leases.alive
) -> bool:
    """planned → sending, to be committed before the request leaves; True for exactly one caller.

    False where the import is not planned any more, or another living holder has its lease.
    """
    at = leases.clock(conn, now)
    planned = imports.c.state == "planned"
    for row in read(conn, imports.c.import_id == import_id, planned, lock=True):
        if leases.is_free(row.lease_owner, row.lease_until, now=at, me=owner, alive=alive):
            lease = {"lease_owner": owner, "lease_until": leases.ends(at)}
            return _move(conn, import_id, planned, state="sending", sending_at=at, note=_noted(None), **lease)
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
    if _move(conn, import_id, taken, state="submitted", task_id=task_id, submitted_at=at, note=_noted(None)):
        return True
    for row in read(conn, imports.c.import_id == import_id, lock=True):
        if row.task_id != task_id:
            late = _with_note(row.note, f"the API also accepted it as task {task_id}, which came too late")
            _move(conn, import_id, imports.c.state == row.state, note=late)
    return False


def back_to_planned(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> bool:
    """sending → planned: nothing was started, and it may be sent again. The lease stays with its holder."""
    at = leases.clock(conn, now)
    # In the index of shared plans another may stand by now, if this one was in doubt meanwhile.
    values: dict[str, Any] = {"state": "planned", "note": _noted(note), "lease_until": leases.ends(at)}
    sending = and_(imports.c.state == "sending", _sent_by(owner))
    if _move(conn, import_id, sending, **values):
        return True
    return owner is not None and _move(conn, import_id, _sent_by(owner), **values, forced=True)


def mark_failed(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> bool:
    """planned, sending, submitted or collecting → failed: the API refused it, or said that it failed."""
    states = or_(imports.c.state.in_(("planned", *RUNNING)), _sent_by(owner))
    at = leases.clock(conn, now)
    return _move(
        conn, import_id, states, state="failed", note=_noted(note), finished_at=at, lease_owner=None, lease_until=None
    )


def mark_ambiguous(
    conn: Connection, import_id: str, *, note: str, owner: str | None = None, now: datetime | None = None
) -> bool:
    """sending → ambiguous: it was sent, and what the API did with it is unknown. Never sent again by itself."""
    sending = and_(imports.c.state == "sending", _sent_by(owner))
    return _move(conn, import_id, sending, state="ambiguous", note=_noted(note), lease_until=None)


def recover_sending(
    conn: Connection, *, account: str | None = None, now: datetime | None = None, alive: Alive = leases.alive
) -> list[str]:
    """sending → ambiguous for each submission whose sender is dead or silent; the ids of those."""
    mine = [] if account is None else [imports.c.account == account]
    return doubtful(conn, read(conn, imports.c.state == "sending", *mine), now=leases.clock(conn, now), alive=alive)


def resolve(
    conn: Connection,
    import_id: str,
    decision: Decision,
    *,
    task_id: str | None = None,
    now: datetime | None = None,
    alive: Alive = leases.alive,
) -> bool:
    """Decide an import that is in doubt; False if it is not (any more).

    `resubmit`: planned again, for the next run to send; the note counts how often. `attach`: it was accepted as
    `task_id`, which is polled from now on. `drop`: given up; the wish is free for a new import. A planned import
    whose lease is free, which nobody is about to send, can be dropped too.

    Raises:
        UsageError: `attach` without a task id, or with one that another import has.
        StoreError: the ledger has no such import.
    """
    row = get(conn, import_id)
    doubt = imports.c.state == "ambiguous"
    at = leases.clock(conn, now)
    if decision == "attach":
        task_id = (task_id or "").strip()
        if not task_id:
            raise UsageError("name the task to attach: --attach TASK_ID, as the vendor's console shows it")
        other = by_task(conn, task_id)
        if other is not None and other.import_id != import_id:
            raise UsageError(
                f"task {task_id} belongs to import {other.import_id} already; name another, or drop this one"
            )
        note = f"attached to task {task_id} by hand"
        return _move(conn, import_id, doubt, state="submitted", task_id=task_id, submitted_at=at, note=note)
    if decision == "drop":
        dropped = {"state": "dropped", "finished_at": at, "lease_owner": None, "note": "dropped by hand"}
        planned = and_(imports.c.state == "planned", imports.c.import_id == import_id)
        for plan in read(conn, planned, lock=True):
            if leases.is_free(plan.lease_owner, plan.lease_until, now=at, alive=alive):
                return _move(conn, import_id, planned, **dropped, lease_until=None)
        return _move(conn, import_id, doubt, **dropped)
    times = (row.note or "").count(_BY_HAND) + 1
    note = _with_note(row.note, f"{_BY_HAND} ({times})")
    # Whoever decides this means this very import: it need not be the only one of its wish.
    return _move(conn, import_id, doubt, state="planned", forced=True, planned_at=at, lease_until=None, note=note)


def _with_note(note: str | None, more: str) -> str:
    return f"{note}; {more}" if note else more


def lease_import(
    conn: Connection, import_id: str, *, owner: str, now: datetime | None = None, alive: Alive = leases.alive
) -> bool:
    """Take (or renew) the lease of an import that is planned, under way or `empty`; False if another holds it.

    A submission whose sender died is never taken over: it becomes `ambiguous` here.
    """
    at = leases.clock(conn, now)
    for row in read(conn, imports.c.import_id == import_id, lock=True):
        if row.state == "sending" and row.lease_owner != owner:
            doubtful(conn, [row], now=at, alive=alive)
        elif row.state in ("planned", "empty", *RUNNING) and leases.is_free(
            row.lease_owner, row.lease_until, now=at, me=owner, alive=alive
        ):
            return _move(conn, import_id, imports.c.state == row.state, lease_owner=owner, lease_until=leases.ends(at))
    return False


def release_import(conn: Connection, import_id: str, *, owner: str) -> bool:
    """Give an import's lease back; one that is being sent keeps it, for nobody knows yet what came of it."""
    mine = and_(imports.c.lease_owner == owner, imports.c.state.not_in(("sending", "ambiguous")))
    return _move(conn, import_id, mine, lease_owner=None, lease_until=None)


def start_following(conn: Connection, import_id: str, *, now: datetime | None = None) -> OpenImport:
    """The import as it stands, to be polled; one that ended `empty` is collecting again, with a new deadline.

    While such a look lasts `next_look_at` says when it began, and the deadline counts from there.
    """
    at = leases.clock(conn, now)
    again = {"state": "collecting", "looks": imports.c.looks + 1, "next_look_at": at, "quiet_polls": 0}
    _move(conn, import_id, imports.c.state == "empty", **again)
    return get(conn, import_id)


def reopen(conn: Connection, import_id: str, *, now: datetime | None = None) -> bool:
    """complete or failed → collecting: a callback tells of posts that it has not listed; a look with a new deadline."""
    ended = and_(imports.c.state.in_(("complete", "failed")), imports.c.task_id.is_not(None))
    again = {"looks": imports.c.looks + 1, "next_look_at": leases.clock(conn, now), "quiet_polls": 0}
    return _move(conn, import_id, ended, state="collecting", **again)


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

    What ended `empty` is looked at again 1, 6 and 24 h after its first end; later `next_look_at` is None.
    """
    at = leases.clock(conn, now)
    values: dict[str, Any] = {"state": state, "lease_owner": None, "lease_until": None}
    if note is not None:
        values["note"] = note
    running = imports.c.state.in_(RUNNING)
    if state == "complete":
        return _move(conn, import_id, and_(running, _listed > 0), **values, finished_at=at, next_look_at=None)
    for row in read(conn, imports.c.import_id == import_id, lock=True):
        ended = row.finished_at or at
        looks = (ended + timedelta(hours=hours) for hours in LOOK_AGAIN_HOURS)
        values |= {"finished_at": ended, "next_look_at": next((look for look in looks if look > at), None)}
        return _move(conn, import_id, and_(running, _listed == 0), **values)
    return False
