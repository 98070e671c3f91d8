"""Decides imports that are in doubt, by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, and_

from blocks.database.store import leases
from blocks.database.store.import_answers import close_unreadable
from blocks.database.store.import_rows import RUNNING, SENT_AGAIN, by_task, get, imports, move, read, with_note
from blocks.database.store.leases import Alive
from blocks.errors import UsageError

Decision = Literal["resubmit", "attach", "drop"]


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
    whose lease is free, which nobody is about to send, can be dropped too, and one under way that nobody follows at
    this moment: its answers may be such that nobody can read. An import that was attached to a task by
    hand is decided anew as long as that task listed nothing and no run follows it: the task may be a wrong one.

    Raises:
        UsageError: `attach` without a task id, or with one that another import has.
        StoreError: the ledger has no such import.
    """
    row = get(conn, import_id)
    at = leases.clock(conn, now)
    doubt = _undecided(conn, import_id, at, alive)
    if decision == "attach":
        task_id = (task_id or "").strip()
        if not task_id:
            raise UsageError("name the task to attach: --attach TASK_ID, as the vendor's console shows it")
        if not task_id.isprintable():
            raise UsageError("that task id holds a control character: copy it again from the vendor's console")
        other = by_task(conn, task_id)
        if other is not None and other.import_id != import_id:
            raise UsageError(
                f"task {task_id} belongs to import {other.import_id} already; name another, or drop this one"
            )
        if row.task_id == task_id and row.state != "ambiguous":
            return False
        note = f"{_ATTACHED} {task_id} by hand"
        taken = {"state": "submitted", "task_id": task_id, "submitted_at": at, "note": note}
        return move(conn, import_id, doubt, **taken, **_NEVER_POLLED)
    if decision == "drop":
        dropped = {"state": "dropped", "finished_at": at, "lease_owner": None, "note": "dropped by hand"}
        dropped["next_look_at"] = None
        close_unreadable(conn, import_id, at)
        idle = and_(imports.c.state.in_(("planned", *RUNNING)), imports.c.import_id == import_id)
        for one in read(conn, idle, lock=True):
            if leases.is_free(one.lease_owner, one.lease_until, now=at, alive=alive):
                return move(conn, import_id, idle, **dropped, lease_until=None)
        return move(conn, import_id, doubt, **dropped)
    times = (row.note or "").count(SENT_AGAIN) + 1
    note = with_note(row.note, f"{SENT_AGAIN} ({times})")
    # Whoever decides this means this very import: it need not be the only one of its wish.
    again = {"state": "planned", "forced": True, "planned_at": at, "lease_until": None, "note": note, "task_id": None}
    return move(conn, import_id, doubt, **again, **_NEVER_POLLED)


_ATTACHED = "attached to task"
_NEVER_POLLED: dict[str, Any] = {
    "polls": 0, "quiet_polls": 0, "last_polled_at": None, "finished_at": None, "next_look_at": None, "looks": 0,
}  # fmt: skip


def _undecided(conn: Connection, import_id: str, at: datetime, alive: Alive) -> Any:
    """In doubt, or attached by hand to a task of which nothing came, and that nobody follows at this moment."""
    by_hand = and_(
        imports.c.state.in_((*RUNNING, "empty")),
        imports.c.note.startswith(_ATTACHED),
        imports.c.first_item_at.is_(None),
        imports.c.seen + imports.c.withheld == 0,
    )
    for row in read(conn, and_(imports.c.import_id == import_id, by_hand), lock=True):
        if leases.is_free(row.lease_owner, row.lease_until, now=at, alive=alive):
            return by_hand
    return imports.c.state == "ambiguous"
