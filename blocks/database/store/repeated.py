"""Submissions that the API took for repeated ones: the running import that they repeat serves the run instead."""

from __future__ import annotations

from sqlalchemy import Connection, and_

from blocks.database.store import leases, stops
from blocks.database.store.import_rows import RUNNING, OpenImport, get, imports, move, read, run_imports
from blocks.database.store.statements import insert_into


def running_twin(conn: Connection, import_id: str) -> OpenImport | None:
    """The newest import under way of the same account and wish, other than this one."""
    row = get(conn, import_id)
    same = and_(imports.c.account == row.account, imports.c.wish == row.wish, imports.c.import_id != import_id)
    found = read(conn, same, imports.c.state.in_(RUNNING), imports.c.task_id.is_not(None))
    return max(found, key=lambda one: one.since, default=None)


def give_way(conn: Connection, import_id: str, *, run_id: str, owner: str, why: str) -> str | None:
    """sending → dropped, where another import of the same wish is under way, which the run follows from now on.

    Returns that import's id; None where there is none, and then nothing was changed.
    """
    twin = running_twin(conn, import_id)
    if twin is None:
        return None
    sending = and_(imports.c.state == "sending", imports.c.lease_owner == owner)
    ended = {"state": "dropped", "finished_at": leases.clock(conn), "lease_owner": None, "lease_until": None}
    if not move(conn, import_id, sending, **ended, note=f"{why}; import {twin.import_id} is under way already"):
        return None
    link = insert_into(conn.dialect.name, run_imports)
    conn.execute(link.values(run_id=run_id, import_id=twin.import_id, how="attached").on_conflict_do_nothing())
    stops.ask_for_import(conn, twin.import_id, run_id)
    return twin.import_id
