"""What polls brought that nobody can read: kept as it came, each with an open failure that says so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, select

from blocks.database.store import failures, leases
from blocks.database.store.failures import GivenUp
from blocks.database.store.raw_payloads import save_bodies
from blocks.database.store.statements import table_of
from blocks.database.tables import Failure
from blocks.errors import Unreadable

_failures = table_of(Failure)

ODD = "no:odd-"
"""How the key of a listed item begins that cannot be read; the rest is made of its bytes."""

_SHOWN = 120


def odd_key(item: bytes) -> str:
    """The key of a listed item that cannot be read."""
    return ODD + hashlib.sha256(item).hexdigest()[:32]


def give_up_odd(conn: Connection, import_id: str, odd: Mapping[str, bytes], *, run_id: str, now: datetime) -> None:
    """Keep listed items that cannot be read, by their keys, and open a failure for each."""
    hashes = save_bodies(conn, list(odd.values()))
    given_up = [
        GivenUp(
            item_key=f"{import_id}/{key}",
            stage="identify",
            error_class="UnreadableItem",
            message=f"the import listed what is no post, and is kept as it came: {_shown(item)}",
            attempts=0,
            raw_sha256=sha256,
            import_id=import_id,
            run_id=run_id,
        )
        for (key, item), sha256 in zip(odd.items(), hashes, strict=True)
    ]
    failures.give_up(conn, given_up, now)


def _shown(item: bytes) -> str:
    text = item.decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def keep_unreadable(
    conn: Connection, import_id: str, error: Unreadable, *, run_id: str, now: datetime | None = None
) -> None:
    """Keep the answer to a poll that cannot be read, and open a failure for its import; the first of a row only."""
    known = select(_failures.c.failure_id).where(
        _failures.c.item_key == import_id, _failures.c.stage == "poll", _failures.c.resolved_at.is_(None)
    )
    if conn.execute(known).first() is not None:
        return
    [sha256] = save_bodies(conn, [error.body])
    given_up = GivenUp(
        item_key=import_id,
        stage="poll",
        error_class=error.error_class,
        message=f"{error}; it is kept as it came",
        attempts=1,
        code=error.code,
        raw_sha256=sha256,
        import_id=import_id,
        run_id=run_id,
    )
    failures.give_up(conn, [given_up], leases.clock(conn, now))


def close_unreadable(conn: Connection, import_id: str, now: datetime) -> None:
    """An answer could be read, or the import was given up: close that failure, if there is one."""
    failures.resolve(conn, [import_id], now, stages=("poll",))
