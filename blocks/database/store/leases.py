"""Leases: who works on what, for how long, and how a holder that died is recognised.

A holder renews its leases every 5 s; what was not renewed for 15 s is free. It is free at once where the holder was
a process of this very machine that no longer lives, and 2 minutes later where that process still lives. Ends of
leases are compared by the database's clock on Postgres, because its clients' clocks differ, and by the machine's on
SQLite (one file, one machine).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, tuple_, update

from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Run, UtcDateTime, Work
from blocks.processes import Alive, is_alive

LEASE_SECONDS = 15.0
"""A lease ends so long after it was last renewed."""

LIVING_SECONDS = 120.0
"""A holder that is known to live on this machine keeps its leases so much longer.

It was suspended, or its database stood still; it goes on where it was, and would buy what another had bought
meanwhile. Not for ever: a run may have ended badly in a process that goes on.
"""

_imports, _work, _runs = table_of(Import), table_of(Work), table_of(Run)


def clock(conn: Connection, now: datetime | None = None) -> datetime:
    """`now` if it is given (tests), else the time by the clock that leases on this database go by."""
    if now is not None:
        return now
    if conn.dialect.name == "postgresql":
        # Not now(): that stands still in a transaction, and this one may have waited for a lock.
        return conn.execute(select(func.clock_timestamp(type_=UtcDateTime))).scalar_one()
    return datetime.now(UTC)


def ends(now: datetime) -> datetime:
    """When a lease taken or renewed now ends."""
    return now + timedelta(seconds=LEASE_SECONDS)


def is_free(
    owner: str | None, until: datetime | None, *, now: datetime, me: str | None = None, alive: Alive = is_alive
) -> bool:
    """Whether a lease can be taken by `me`: nobody has it, I have it, it has ended, or its holder is dead.

    That of a holder that is known to live ends `LIVING_SECONDS` later.
    """
    if owner is None or owner == me or until is None or until + timedelta(seconds=LIVING_SECONDS) <= now:
        return True
    lives = alive(owner)
    return lives is False or (until <= now and lives is None)


def living_runs(conn: Connection, *, now: datetime | None = None, alive: Alive = is_alive) -> set[str]:
    """The runs that are under way: without an end, and with a holder that lives."""
    at = clock(conn, now)
    query = select(_runs.c.run_id, _runs.c.lease_owner, _runs.c.lease_until).where(
        _runs.c.finished_at.is_(None), _runs.c.lease_until.is_not(None)
    )
    return {
        row.run_id for row in conn.execute(query) if not is_free(row.lease_owner, row.lease_until, now=at, alive=alive)
    }


def ended_runs(
    conn: Connection, run_ids: Iterable[str | None], *, now: datetime | None = None, alive: Alive = is_alive
) -> set[str | None]:
    """Those of the runs that are known, and are not under way any more."""
    wanted = sorted(run_id for run_id in run_ids if run_id is not None)
    if not wanted:
        return set()
    known = conn.execute(select(_runs.c.run_id).where(_runs.c.run_id.in_(wanted))).scalars().all()
    return set(known) - living_runs(conn, now=now, alive=alive)


def renew_all(conn: Connection, owner: str, *, now: datetime | None = None) -> int:
    """Renew every lease of a holder, on its run, imports and work; how many. What somebody else took stays theirs.

    Rows that another transaction holds at this moment are left out: they are being finished, or are renewed the
    next time, which comes early enough.
    """
    at = clock(conn, now)
    mine = select(_imports.c.import_id).where(_imports.c.lease_owner == owner, _imports.c.lease_until.is_not(None))
    renewed = conn.execute(
        update(_imports)
        .where(_imports.c.import_id.in_(mine.with_for_update(skip_locked=True)))
        .values(lease_until=ends(at))
    ).rowcount
    ours = and_(_runs.c.lease_owner == owner, _runs.c.finished_at.is_(None))
    renewed += conn.execute(update(_runs).where(ours).values(lease_until=ends(at))).rowcount
    work_key = (_work.c.platform, _work.c.post_id, _work.c.purpose)
    claimed = select(*work_key).where(_claimed_by(conn, owner)).with_for_update(skip_locked=True)
    renewal = update(_work).where(tuple_(*work_key).in_(claimed)).values(lease_until=ends(at))
    return renewed + conn.execute(renewal).rowcount


def _claimed_by(conn: Connection, owner: str) -> ColumnElement[bool]:
    """Work that a holder has claimed, in a form that the index on (purpose, state) serves."""
    return and_(_work.c.purpose.in_(purposes(conn)), _work.c.state == "claimed", _work.c.lease_owner == owner)


def purposes(conn: Connection) -> list[str]:
    """The purposes that there is work for: a handful, each found by one look along an index.

    A question about the state of work that names none would have both engines read millions of rows that are done.
    """
    found: list[str] = []
    following = select(func.min(_work.c.purpose)).where(_work.c.purpose > bindparam("last"))
    while (purpose := conn.execute(following, {"last": found[-1] if found else ""}).scalar()) is not None:
        found.append(purpose)
    return found


def release_all(conn: Connection, owner: str, *, now: datetime | None = None) -> None:
    """Give back every lease of a holder that ends: claimed work is pending again, its imports are free.

    An import that is being sent keeps its lease, and an ambiguous one its holder's name: nobody knows their end.
    """
    conn.execute(
        update(_imports)
        .where(_imports.c.lease_owner == owner, _imports.c.state.not_in(("sending", "ambiguous")))
        .values(lease_owner=None, lease_until=None)
    )
    ours = and_(_runs.c.lease_owner == owner, _runs.c.finished_at.is_(None))
    conn.execute(update(_runs).where(ours).values(lease_owner=None, lease_until=None))
    free = {"state": "pending", "lease_owner": None, "lease_until": None, "updated_at": clock(conn, now)}
    conn.execute(update(_work).where(_claimed_by(conn, owner)).values(**free))
