"""Slots of the account-wide limits: one row a limit holds the next free moment, and moving it reserves time.

The clock is the database's own on Postgres and the machine's on SQLite, so that workers need not agree about the time;
callers work with differences only. All times are seconds since the epoch by that clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, Table, bindparam, case, cast, func, or_, select, update

from blocks.database.store.statements import insert_into, table_of
from blocks.database.tables import RateLimit

LONG_PAUSE_SECONDS = 900.0
"""A longer pause is written down a second time: it is no run's to wait for, as a row of a lower rate would be."""

PAUSE_SUFFIX = " (pause)"
"""What the second row's name has behind the limit's."""

LEARNED_SECONDS = 3600.0
"""A rate that the server taught is forgotten so long after it was last taught."""

_limits: Table = table_of(RateLimit)
_mine = (_limits.c.account == bindparam("whose"), _limits.c.name == bindparam("which"))


@dataclass(frozen=True, slots=True)
class Slots:
    """`count` slots from `first_at` on, the asked-for interval apart; where it is 0, `next_at` says when to ask again.

    `now` is the time of the answer. `learned_interval` is None unless the server taught one. `paused`: there is none
    before `next_at` because the service asked for that, for longer than a run waits.
    """

    count: int
    first_at: float
    next_at: float
    now: float
    learned_interval: float | None
    paused: bool = False


def _seconds(name: str) -> ColumnElement[float]:
    return bindparam(name, type_=Float(53))


def _clock(own_clock: bool) -> ColumnElement[float]:
    # clock_timestamp() and not now(): the row may have been waited for, and now() stands still in a transaction.
    return cast(func.extract("epoch", func.clock_timestamp()), Float(53)) if own_clock else _seconds("now")


@cache
def _statements(own_clock: bool) -> dict[str, Any]:
    now = _clock(own_clock)
    row = _limits.c
    known = (row.next_at, row.learned_interval, row.learned_at, now.label("now"))
    # A slot missed by less than `late` is used late, which keeps the grid; one missed by more is dropped.
    start = case((row.next_at > now - _seconds("late"), row.next_at), else_=now)
    later = case((row.next_at > now + _seconds("wait"), row.next_at), else_=now + _seconds("wait"))
    key: dict[str, Any] = {"account": bindparam("whose"), "name": bindparam("which")}
    return {
        "reserve": insert_into(_limits)
        .values(**key, next_at=now + _seconds("length"))
        .on_conflict_do_update(
            index_elements=["account", "name"],
            set_={"next_at": start + _seconds("length")},
            where=row.next_at <= now + _seconds("ahead"),
        )
        .returning(*known),
        "look": select(*known).where(*_mine),
        "pause": insert_into(_limits)
        .values(**key, next_at=now + _seconds("wait"))
        .on_conflict_do_update(index_elements=["account", "name"], set_={"next_at": later})
        .returning(*known),
        "learn": update(_limits)
        .where(
            *_mine,
            or_(
                row.learned_interval.is_(None),
                row.learned_interval <= _seconds("interval"),
                row.learned_at <= now - LEARNED_SECONDS,
            ),
        )
        .values(learned_interval=_seconds("interval"), learned_at=now),
        "open": update(_limits).where(*_mine, row.next_at == _seconds("seen")).values(next_at=now),
    }


def _prepare(conn: Connection, now: float | None) -> tuple[dict[str, Any], dict[str, float]]:
    own_clock = now is None and conn.dialect.name == "postgresql"
    statements = _statements(own_clock)
    return statements, {} if own_clock else {"now": time.time() if now is None else now}


def reserve_slots(
    conn: Connection,
    *,
    account: str,
    name: str,
    interval_seconds: float,
    count: int = 1,
    ahead_seconds: float = 0.0,
    late_seconds: float = 0.0,
    now: float | None = None,
) -> Slots:
    """Reserve the next `count` slots, unless the first lies more than `ahead_seconds` in the future.

    A slot that has passed is still given out when that was less than `late_seconds` ago. Atomic on its own: two
    callers never get the same slot. `now` replaces the clock, for tests.
    """
    statements, clock = _prepare(conn, now)
    length = interval_seconds * count
    key = {"whose": account, "which": name}
    asked = {**key, **clock, "length": length, "ahead": ahead_seconds, "late": late_seconds}
    moved = conn.execute(statements["reserve"], asked).one_or_none()
    if moved is not None:
        return Slots(count, moved.next_at - length, moved.next_at, moved.now, _learned(moved))
    seen = conn.execute(statements["look"], {**key, **clock}).one()
    if seen.next_at <= seen.now + interval_seconds + LONG_PAUSE_SECONDS:
        return Slots(0, seen.next_at, seen.next_at, seen.now, _learned(seen))
    pause_key = {**key, "which": name + PAUSE_SUFFIX}
    pause = conn.execute(statements["look"], {**pause_key, **clock}).one_or_none()
    if pause is not None and pause.next_at > seen.now:
        return Slots(0, seen.next_at, seen.next_at, seen.now, _learned(seen), paused=True)
    # Nobody asked for that: it is left from a lower rate of the settings, or from a clock that was set back since.
    conn.execute(statements["open"], {**key, **clock, "seen": seen.next_at})
    return Slots(0, seen.now, seen.now, seen.now, _learned(seen))


def _learned(row: Any) -> float | None:
    if row.learned_interval is None or row.learned_at <= row.now - LEARNED_SECONDS:
        return None
    return float(row.learned_interval)


def pause(
    conn: Connection,
    *,
    account: str,
    name: str,
    seconds: float,
    learned_interval: float | None = None,
    now: float | None = None,
) -> float:
    """Let nobody of the account go on before `seconds` from now; an earlier, longer pause stays.

    `learned_interval` is how far apart the refusal proved that the server wants slots, if it did; a longer one that
    was learned before stays. Returns how many seconds from now the next slot lies.
    """
    statements, clock = _prepare(conn, now)
    key = {"whose": account, "which": name, **clock}
    wait = max(seconds, 0.0)
    row = conn.execute(statements["pause"], {**key, "wait": wait}).one()
    if wait > LONG_PAUSE_SECONDS:
        conn.execute(statements["pause"], {**key, "which": name + PAUSE_SUFFIX, "wait": wait})
    if learned_interval is not None:
        conn.execute(statements["learn"], {**key, "interval": learned_interval})
    return float(row.next_at - row.now)
