"""A clock for one machine that no setting of the time moves, in seconds since the epoch: for SQLite, which has none."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, select

from blocks.database.store.statements import insert_into, table_of
from blocks.database.tables import Meta

_anchors: dict[tuple[str, str], float] = {}
"""By database and boot: what is added to the monotonic clock, which all processes of a machine share."""


def steady_now(conn: Connection) -> float:
    """The time by the machine's monotonic clock; whoever asks first after a boot says when that was.

    All processes on this machine that use the database agree, also where the time was set between their starts. A
    machine that was asleep has not aged by it.
    """
    key = (conn.engine.url.database or "", boot())
    anchor = _anchors.get(key)
    if anchor is None:
        named, table = f"clock {key[1]}", table_of(Meta)
        known = select(table.c.value).where(table.c.key == named)
        if (found := conn.execute(known).scalar()) is not None:
            anchor = _anchors[key] = float(found)
        else:
            # Kept here only once it is seen there: this transaction may be rolled back.
            anchor = time.time() - time.monotonic()
            conn.execute(insert_into(conn.dialect.name, table).values(key=named, value=repr(anchor)))
    return anchor + time.monotonic()


@lru_cache(maxsize=1)
def boot() -> str:
    """Which start of this machine it is; where nobody can tell, its hour, so that no anchor outlives it by much."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["sysctl", "-n", "kern.bootsessionuuid"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - no input in it
        if said := told.stdout.strip():
            return said
    return f"about {round((time.time() - time.monotonic()) / 3600)}"
