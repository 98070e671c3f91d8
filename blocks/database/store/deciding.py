"""Decisions by hand about an import in doubt, named by the first letters of its id."""

from __future__ import annotations

from sqlalchemy import Connection

from blocks.database.store import leases, spend
from blocks.database.store.import_rows import RUNNING, OpenImport, find_imports, get
from blocks.database.store.resolving import Decision, resolve
from blocks.errors import UsageError

FEWEST_LETTERS = 4
"""An import's id may be shortened to so many letters, if they name one only."""


def decide(conn: Connection, typed: str, decision: Decision, *, task_id: str | None = None) -> OpenImport:
    """Carry out a decision (see `imports.resolve`) on the import whose id begins with `typed`; gives it as it is then.

    Whoever resubmits says that it never arrived: what was reserved for it is free again. What was reserved for one that
    is dropped goes on counting as spent, under all caps, for it may have been billed.

    Raises:
        UsageError: no import or several begin so, there is nothing to decide about it, or the task does not fit.
    """
    start = typed.strip().lower()
    if len(start) < FEWEST_LETTERS:
        raise UsageError(f"name the import by at least the first {FEWEST_LETTERS} letters of its id")
    found = find_imports(conn, start, limit=2)
    if not found:
        raise UsageError(f"there is no import {typed}; `tagtrail status` shows those that are in doubt")
    if len(found) > 1:
        raise UsageError(f"several imports begin with {typed}; type more of the id")
    [row] = found
    if not resolve(conn, row.import_id, decision, task_id=task_id):
        if decision == "drop" and row.state in RUNNING:
            raise UsageError(f"a run follows import {row.import_id} at this moment: drop it when that run has ended")
        raise UsageError(
            f"import {row.import_id} is {row.state}, not ambiguous: there is nothing to decide about it (an attached "
            "task can be taken back as long as it listed nothing and no run follows it)"
        )
    if decision == "resubmit":
        spend.release_import(conn, row.import_id, now=leases.clock(conn))
    return get(conn, row.import_id)
