"""Stops: a person stopped a run, and what it asked for is held from then on.

Held is open work, and an import, whose `asked_by` is a stopped run: a stop is one row, and what an import lists later
arrives held by itself. It ends where another run, that a person or a schedule started, asks for the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, update

from blocks.database.store import leases, work
from blocks.database.store.leases import Alive
from blocks.database.store.statements import same_post, table_of
from blocks.database.store.work import OPEN_WORK, Key
from blocks.database.tables import Import, ImportItem, Run, RunImport, RunPost, Work
from blocks.posts.record import PostRef

_runs, _imports, _items, _work = table_of(Run), table_of(Import), table_of(ImportItem), table_of(Work)
_run_posts, _run_imports = table_of(RunPost), table_of(RunImport)

UNDER_WAY = ("sending", "submitted", "collecting")
"""States of an import of which more may come."""


def stop(conn: Connection, run_id: str, *, by: str, why: str, at: datetime, alive: Alive = leases.alive) -> bool:
    """Write down that a person stopped a run; False if that is known already, or there is no such run.

    What another living run asks for too is left to that run. A sweep asks for nothing: what it took up and did not
    finish becomes its own by this, and so is held as well.
    """
    stopped = {"stopped_by": by, "stopped_why": why, "stopped_at": at}
    this = and_(_runs.c.run_id == run_id, _runs.c.stopped_at.is_(None))
    row = conn.execute(update(_runs).where(this).values(stopped).returning(_runs.c.sweeps)).one_or_none()
    if row is None:
        return False
    living = leases.living_runs(conn, alive=alive) - {run_id}
    if row.sweeps:
        _hold_what_was_taken_up(conn, run_id, living)
        return True
    askers = (
        select(_runs.c.run_id)
        .where(_runs.c.run_id.in_(living), ~_runs.c.sweeps)
        .order_by(_runs.c.started_at, _runs.c.run_id)
    )
    for other in conn.execute(askers).scalars().all():
        _leave_to(conn, run_id, other)
    return True


def is_stopped(conn: Connection, run_id: str | None) -> bool:
    """Whether a person stopped the run."""
    query = select(_runs.c.run_id).where(_runs.c.run_id == run_id, _runs.c.stopped_at.is_not(None))
    return conn.execute(query).first() is not None


def ask_for_import(conn: Connection, import_id: str, run_id: str) -> None:
    """Make an import the request of a run, with all of its posts that are not settled; this ends a hold."""
    conn.execute(update(_imports).where(_imports.c.import_id == import_id).values(asked_by=run_id))
    listed = exists().where(same_post(_items.c, _work.c), _items.c.import_id == import_id)
    work.ask(conn, _open_posts(conn, listed), "enrich", run_id)


def ask_for_listed(conn: Connection, refs: Iterable[PostRef], run_id: str | None) -> None:
    """Posts that an import lists for the first time are the request of the run that asked for it, whoever polls.

    What a living run asks for stays that run's, and a stopped run asks for nothing.
    """
    keys = [(ref.platform, ref.post_id) for ref in refs]
    if run_id is None or not keys or is_stopped(conn, run_id):
        return
    theirs = or_(_work.c.asked_by.is_(None), _work.c.asked_by.not_in(leases.living_runs(conn)))
    work.ask(conn, keys, "enrich", run_id, only_of=theirs)


def _leave_to(conn: Connection, run_id: str, other: str) -> None:
    """What a run asked for and `other` asks for too is the request of `other` from now on."""
    of_other = select(_run_imports.c.import_id).where(_run_imports.c.run_id == other)
    shared = and_(_imports.c.asked_by == run_id, _imports.c.import_id.in_(of_other))
    conn.execute(update(_imports).where(shared).values(asked_by=other))
    mine = _work.c.asked_by == run_id
    work.ask(conn, _open_posts(conn, mine, _taken_in_by(other)), "enrich", other, only_of=mine)


def _hold_what_was_taken_up(conn: Connection, run_id: str, living: set[str]) -> None:
    """A sweep's open posts and imports become its own, but for those that a living run asks for."""
    taken = select(_run_imports.c.import_id).where(_run_imports.c.run_id == run_id)
    others = or_(_imports.c.asked_by.is_(None), _imports.c.asked_by.not_in(living))
    open_ = and_(_imports.c.import_id.in_(taken), _imports.c.state.in_(UNDER_WAY), others)
    conn.execute(update(_imports).where(open_).values(asked_by=run_id))
    theirs = or_(_work.c.asked_by.is_(None), _work.c.asked_by.not_in(living))
    work.ask(conn, _open_posts(conn, theirs, _taken_in_by(run_id)), "enrich", run_id, only_of=theirs)


def _taken_in_by(run_id: str) -> Any:
    """The condition that a run was given the post of a row of work, or that one of its imports listed it."""
    given = exists().where(
        same_post(_run_posts.c, _work.c), _run_posts.c.run_id == run_id, _run_posts.c.purpose == "enrich"
    )
    listed = exists().where(
        same_post(_items.c, _work.c),
        _items.c.import_id == _run_imports.c.import_id,
        _run_imports.c.run_id == run_id,
    )
    return or_(given, listed)


def _open_posts(conn: Connection, *conditions: Any) -> list[Key]:
    query = select(_work.c.platform, _work.c.post_id).where(_work.c.purpose == "enrich", OPEN_WORK, *conditions)
    return [(row.platform, row.post_id) for row in conn.execute(query)]


def without_end(conn: Connection, account: str) -> list[str]:
    """Runs that never wrote an end and do not live: their processes are gone. Prefect knows whether by a person."""
    dead = and_(_runs.c.finished_at.is_(None), _runs.c.stopped_at.is_(None), _runs.c.account == account)
    found = conn.execute(select(_runs.c.run_id).where(dead).order_by(_runs.c.started_at)).scalars().all()
    living = leases.living_runs(conn) if found else set()
    return [run_id for run_id in found if run_id not in living]


def crashed(conn: Connection, run_id: str, *, now: datetime) -> None:
    """Write the end of a run that nobody stopped and whose process is gone; what it asked for goes on."""
    still = and_(_runs.c.run_id == run_id, _runs.c.finished_at.is_(None), _runs.c.stopped_at.is_(None))
    ended = {"outcome": "failed", "message": CRASHED, "finished_at": now}
    conn.execute(update(_runs).where(still).values(ended))


CRASHED = "its process ended without a word; the sweep takes up what it left"
