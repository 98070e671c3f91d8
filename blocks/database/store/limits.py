"""Slots of the account-wide limits: one row a limit holds the next free moment, and moving it reserves time.

The clock is the database's own on Postgres and the machine's on SQLite (one file, one machine; see `steady`), so that
workers need not agree about the time; callers work with differences only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, Table, bindparam, case, cast, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from blocks.database.store.steady import steady_now
from blocks.database.tables import RateLimit

LONG_PAUSE_SECONDS = 900.0
"""A longer pause is written down a second time, which tells it from a clock that was set back, or a lower rate."""

ASKED_FOR = " (pause)"
"""What the second row's name has behind the limit's."""

LEARNED_SECONDS = 3600.0
"""A rate that the server taught is forgotten so long after it was last taught."""

_limits: Table = SQLModel.metadata.tables[str(RateLimit.__tablename__)]
_mine = (_limits.c.account == bindparam("whose"), _limits.c.name == bindparam("which"))


@dataclass(frozen=True, slots=True)
class Slots:
    """An answer to a reservation; all times are seconds since the epoch by the clock of the row.

    `count` slots from `first_at` on, the asked-for interval apart; with `count` 0 nothing was reserved, and
    `next_at` says from when on something can be. `learned_interval` is None unless the server taught one.
    `set_back`: the row lay further in the future than anything reserves, and was moved to now. `paused`: it lies there
    because the service asked for it.
    """

    count: int
    first_at: float
    next_at: float
    now: float
    learned_interval: float | None
    set_back: bool = False
    paused: bool = False


def _seconds(name: str) -> ColumnElement[float]:
    return bindparam(name, type_=Float(53))


def _clock(own_clock: bool) -> ColumnElement[float]:
    # clock_timestamp() and not now(): the row may have been waited for, and now() stands still in a transaction.
    return cast(func.extract("epoch", func.clock_timestamp()), Float(53)) if own_clock else _seconds("now")


@lru_cache(maxsize=8)
def _statements(dialect: str, own_clock: bool) -> dict[str, Any]:
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    now = _clock(own_clock)
    row = _limits.c
    known = (row.next_at, row.learned_interval, row.learned_at, now.label("now"))
    # A slot missed by less than `late` is used late, which keeps the grid; one missed by more is dropped.
    start = case((row.next_at > now - _seconds("late"), row.next_at), else_=now)
    later = case((row.next_at > now + _seconds("wait"), row.next_at), else_=now + _seconds("wait"))
    key: dict[str, Any] = {"account": bindparam("whose"), "name": bindparam("which")}
    return {
        "reserve": insert(_limits)
        .values(**key, next_at=now + _seconds("length"))
        .on_conflict_do_update(
            index_elements=["account", "name"],
            set_={"next_at": start + _seconds("length")},
            where=row.next_at <= now + _seconds("ahead"),
        )
        .returning(*known),
        "look": select(*known).where(*_mine),
        "pause": insert(_limits)
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
        "move": update(_limits).where(*_mine, row.next_at == _seconds("seen")).values(next_at=_seconds("to")),
    }


def _prepare(conn: Connection, now: float | None) -> tuple[dict[str, Any], dict[str, float]]:
    own_clock = now is None and conn.dialect.name == "postgresql"
    statements = _statements(conn.dialect.name, own_clock)
    return statements, {} if own_clock else {"now": steady_now(conn) if now is None else now}


def _learned(row: Any) -> float | None:
    if row.learned_interval is None or row.learned_at <= row.now - LEARNED_SECONDS:
        return None
    return float(row.learned_interval)


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
    moved = conn.execute(
        statements["reserve"],
        {**key, **clock, "length": length, "ahead": ahead_seconds, "late": late_seconds},
    ).one_or_none()
    if moved is not None:
        return Slots(count, moved.next_at - length, moved.next_at, moved.now, _learned(moved))
    seen = conn.execute(statements["look"], {**key, **clock}).one()
    if seen.next_at > seen.now + interval_seconds + LONG_PAUSE_SECONDS:
        pause_key = {"whose": account, "which": name + ASKED_FOR}
        asked = conn.execute(statements["look"], {**pause_key, **clock}).one_or_none()
        if asked is not None and asked.next_at > seen.now:
            return Slots(0, seen.next_at, seen.next_at, seen.now, _learned(seen), paused=True)
        # Nothing reserves that far: the clock was set back, or the rate was a much lower one.
        conn.execute(statements["move"], {**key, "seen": seen.next_at, "to": seen.now})
        return Slots(0, seen.now, seen.now, seen.now, _learned(seen), set_back=True)
    return Slots(0, seen.next_at, seen.next_at, seen.now, _learned(seen))


def reserve_timed(conn: Connection, /, clock: Callable[[], float], **asked: Any) -> tuple[Slots, float, float]:
    """`reserve_slots(conn, **asked)`, and what `clock` said just before and just after it."""
    before = clock()
    got = reserve_slots(conn, **asked)
    return got, before, clock()


def move_slot(conn: Connection, *, account: str, name: str, seen: float, to: float) -> bool:
    """Move the next slot from where it was seen; False where it is elsewhere by now."""
    statements, _ = _prepare(conn, 0.0)
    return conn.execute(statements["move"], {"whose": account, "which": name, "seen": seen, "to": to}).rowcount == 1


def give_back_slot(conn: Connection, *, account: str, name: str, first_at: float, next_at: float) -> bool:
    """Return an unused slot; only the last one reserved can be returned (True), an older one has passed (False)."""
    return move_slot(conn, account=account, name=name, seen=next_at, to=first_at)


def pause(
    conn: Connection,
    *,
    account: str,
    name: str,
    seconds: float,
    lesson_seconds: float | None = None,
    now: float | None = None,
) -> float:
    """Let nobody of the account go on before `seconds` from now; an earlier, longer pause stays.

    `lesson_seconds` is the interval that the refusal taught, if any (`learn_interval`). Returns how many seconds
    from now the next slot lies.
    """
    statements, clock = _prepare(conn, now)
    values = {"whose": account, "which": name, "wait": max(seconds, 0.0)}
    row = conn.execute(statements["pause"], {**values, **clock}).one()
    if seconds > LONG_PAUSE_SECONDS:
        conn.execute(statements["pause"], {**values, "which": name + ASKED_FOR, **clock})
    if lesson_seconds is not None:
        learn_interval(conn, account=account, name=name, interval_seconds=lesson_seconds, now=now)
    return float(row.next_at - row.now)


def learn_interval(
    conn: Connection, *, account: str, name: str, interval_seconds: float, now: float | None = None
) -> None:
    """Write down that the server wants slots so far apart; a longer interval that was learned before stays."""
    statements, clock = _prepare(conn, now)
    conn.execute(statements["learn"], {"whose": account, "which": name, "interval": interval_seconds, **clock})
