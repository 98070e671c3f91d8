"""Takes erased rows out of the database's file, where deleting alone leaves their bytes behind."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DatabaseError

from blocks.database.engine import Store
from blocks.database.faults import explained

POSTGRES = (
    "Postgres keeps deleted rows in its files until a vacuum, and their bytes until they are written over: "
    "`VACUUM FULL` on Tagtrail's tables makes them anew; write-ahead logs and backups of your server are yours to keep "
    "or to end"
)
BUSY = (
    "the database's file still holds bytes of what was erased, because another process uses it at this moment; "
    "the same command takes them out when it is free"
)


def compact(store: Store) -> str | None:
    """Write a SQLite file anew without what was deleted, and empty its write-ahead log; a sentence if more is to do.

    It needs as much free space as the database is large, and the database to itself for a moment.

    Raises:
        StoreError: the disk is full, or the file is damaged.
    """
    if not store.is_sqlite:
        return POSTGRES
    with explained(store.url_shown), store.engine.connect() as conn:
        cursor = conn.connection.cursor()
        cursor.execute("PRAGMA query_only=0")
        conn.info["write"] = True
        try:
            cursor.execute("VACUUM")
            busy = bool(cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise DatabaseError(None, None, error) from error
            busy = True
    return BUSY if busy else None
