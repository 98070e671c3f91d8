"""Cursors whose statement failed are closed at once, so that a server on SQLite does not come to a standstill.

In Python 3.11 a cursor keeps hold of a statement that failed until it is closed, which SQLAlchemy's aiosqlite dialect
does not do. When the garbage collector comes to such a cursor in the thread of the event loop, while its connection
waits in another thread for a lock that a third connection holds, nobody can go on: the whole process stands still until
SQLite gives the wait up. Prefect's server waits for 60 s, and leaves such a cursor behind wherever two writers meet.
Python 3.12 lets go by itself.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

from sqlalchemy import Engine, event


class ClosingCursor(sqlite3.Cursor):
    """Closes itself where a statement fails."""

    def execute(self, *args: Any) -> ClosingCursor:
        try:
            return super().execute(*args)
        except sqlite3.Error:
            self.close()
            raise

    def executemany(self, *args: Any) -> ClosingCursor:
        try:
            return super().executemany(*args)
        except sqlite3.Error:
            self.close()
            raise


class ClosingConnection(sqlite3.Connection):
    """Makes no other cursors."""

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or ClosingCursor)


def close_failed_cursors(dialect: Any, record: Any, arguments: Any, keywords: dict[str, Any]) -> None:
    """A listener for SQLAlchemy's `do_connect`."""
    if dialect.name == "sqlite":
        keywords["factory"] = ClosingConnection


def close_them() -> None:
    """Have all engines of this process close failed cursors, where Python does not let go of their statements."""
    if sys.version_info < (3, 12):
        event.listen(Engine, "do_connect", close_failed_cursors)
