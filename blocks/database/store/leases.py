"""Leases: who works on what, for how long, and how a holder that died is recognised.

A holder renews its leases every 5 s; what was not renewed for 15 s is free. It is free at once where the holder was
a process of this very machine that no longer lives, and 2 minutes later where that process still lives. Ends of
leases are compared by the database's clock on Postgres, because its clients' clocks differ, and by the machine's on
SQLite (one file, one machine).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    Text,
    and_,
    any_,
    cast,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import UserDefinedType

from blocks.database.store.statements import table_of
from blocks.database.tables import Import, Run, UtcDateTime, Work

LEASE_SECONDS = 15.0
"""A lease ends so long after it was last renewed."""

LIVING_SECONDS = 120.0
"""A holder that is known to live on this machine keeps its leases so much longer.

It was suspended, or its database stood still; it goes on where it was, and would buy what another had bought
meanwhile. Not for ever: a run may have ended badly in a process that goes on.
"""

Alive = Callable[[str], bool | None]
"""Whether a holder lives: True, False, or None where nobody here can know."""

_imports, _work, _runs = table_of(Import), table_of(Work), table_of(Run)

_GONE, _UNKNOWN = "", "?"


def holder() -> str:
    """A new name for a holder of leases in this process: `HOST/PLACE/PID/START/ID`.

    HOST is for people. PLACE is a hash that is equal only where process numbers mean the same processes (machine,
    boot, and container), START tells a process from a later one of the same number, ID one run of a process from
    another.
    """
    host = socket.gethostname().partition(".")[0].replace("/", "-")[:30]
    pid = os.getpid()
    return f"{host}/{_place()}/{pid}/{_start_of(pid)}/{uuid.uuid4().hex[:12]}"


def alive(name: str) -> bool | None:
    """Whether the process of a holder lives; None if it is another machine's, container's or boot's."""
    parts = name.split("/")
    if len(parts) != 5 or not parts[1] or parts[1] != _place() or not parts[2].isdigit():
        return None
    start = _start_of(int(parts[2]))
    if start == _GONE:
        return False
    if _UNKNOWN in (start, parts[3]):
        return None
    return start == parts[3]


@cache
def _place() -> str:
    """Equal for two processes only if they see the same process numbers; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Containers on one kernel share its boot id, but each has a process table of its own.
        boot += os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = _output("sysctl", "-n", "kern.bootsessionuuid")
    if not boot:
        return ""
    return hashlib.sha256(f"{boot}\n{socket.gethostname()}".encode()).hexdigest()[:16]


def _start_of(pid: int) -> str:
    """When a process started, as text to compare; `_GONE` if there is none (or only its corpse), or `_UNKNOWN`."""
    try:
        # Signal 0 asks only; unlike /proc it also answers where other users' processes are hidden.
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return _GONE
    except PermissionError:
        pass
    try:
        # The name in brackets may hold anything; the state is the first field behind it, the start the 20th.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _output("ps", "-o", "lstart=", "-p", str(pid)).replace(" ", "_") or _UNKNOWN
    return _GONE if fields[0] in "ZX" else fields[19]


def _output(program: str, *arguments: str) -> str:
    path = shutil.which(program)
    if path is None:
        return ""
    done = subprocess.run(  # noqa: S603
        [path, *arguments], capture_output=True, text=True, check=False, env={"LC_ALL": "C", "TZ": "UTC"}
    )
    return done.stdout.strip() if done.returncode == 0 else ""


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
    owner: str | None, until: datetime | None, *, now: datetime, me: str | None = None, alive: Alive = alive
) -> bool:
    """Whether a lease can be taken by `me`: nobody has it, I have it, it has ended, or its holder is dead.

    That of a holder that is known to live ends `LIVING_SECONDS` later.
    """
    if owner is None or owner == me or until is None or until + timedelta(seconds=LIVING_SECONDS) <= now:
        return True
    lives = alive(owner)
    return lives is False or (until <= now and lives is None)


def living_runs(conn: Connection, *, now: datetime | None = None, alive: Alive = alive) -> set[str]:
    """The runs that are under way: without an end, and with a holder that lives."""
    at = clock(conn, now)
    query = select(_runs.c.run_id, _runs.c.lease_owner, _runs.c.lease_until).where(
        _runs.c.finished_at.is_(None), _runs.c.lease_until.is_not(None)
    )
    return {
        row.run_id for row in conn.execute(query) if not is_free(row.lease_owner, row.lease_until, now=at, alive=alive)
    }


def ended_runs(
    conn: Connection, run_ids: Iterable[str | None], *, now: datetime | None = None, alive: Alive = alive
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
    claimed = _claimed_by(conn, owner)
    renewal = update(_work).values(lease_until=ends(at))
    if conn.dialect.name == "postgresql":
        held = conn.execute(select(PLACE).select_from(_work).where(claimed).with_for_update(skip_locked=True)).scalars()
        claimed = at_places(held)
    return renewed + conn.execute(renewal.where(claimed)).rowcount


def _claimed_by(conn: Connection, owner: str) -> ColumnElement[bool]:
    """Work that a holder has claimed, in a form that the index on (purpose, state) serves."""
    return and_(_work.c.purpose.in_(purposes(conn)), _work.c.state == "claimed", _work.c.lease_owner == owner)


def purposes(conn: Connection) -> list[str]:
    """The purposes that there is work for: a handful, found one after the other at the steps of an index.

    A question about the state of work that names none would have both engines read millions of rows that are done.
    """
    steps = select(func.min(_work.c.purpose).label("purpose")).cte("purposes", recursive=True)
    following = select(func.min(_work.c.purpose)).where(_work.c.purpose > steps.c.purpose).scalar_subquery()
    steps = steps.union_all(select(following).where(steps.c.purpose.is_not(None)))
    return [purpose for purpose in conn.execute(select(steps.c.purpose)).scalars() if purpose is not None]


class _Tid(UserDefinedType[str]):
    """Postgres' own name for where a row is stored."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "tid"


PLACE: ColumnElement[str] = literal_column("work.ctid", String)
"""Where a row of work is stored (Postgres); it stays there while this transaction holds its lock."""


def at_places(places: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a row of work is stored at one of these places: found at once, whatever Postgres plans."""
    return any_(cast(literal(list(places), ARRAY(Text)), ARRAY(_Tid))) == PLACE


def release_all(conn: Connection, owner: str, *, now: datetime | None = None) -> None:
    """Give back every lease of a holder that ends: claimed work is pending again, its imports are free.

    An import that is being sent keeps its lease, and one in doubt its holder's name: nobody knows what came of them.
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
