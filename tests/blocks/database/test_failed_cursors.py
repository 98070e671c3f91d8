"""A Prefect server on SQLite and Python 3.11 leans on this: SQLAlchemy closes a cursor whose statement failed.

Python 3.11's cursors keep a failed statement until they are closed. Left to the garbage collector in the thread of the
event loop, one can bring the whole server to a standstill while another connection waits for a lock (see CONTRIBUTING).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

made: list[sqlite3.Cursor] = []


class NotingConnection(sqlite3.Connection):
    """Remembers all cursors."""

    def cursor(self, *args: Any) -> Any:
        made.append(super().cursor(*args))
        return made[-1]


@pytest.mark.parametrize("parameters", [(), [("one",), ("two",)]], ids=["execute", "executemany"])
async def test_a_cursor_whose_statement_failed_is_closed(tmp_path: Path, parameters: Any) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db", connect_args={"factory": NotingConnection})
    try:
        async with engine.connect() as connection:
            made.clear()
            with pytest.raises(OperationalError, match="no such table"):
                await connection.exec_driver_sql("INSERT INTO nowhere VALUES (?)", parameters)
            assert made
            for cursor in made:
                with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
                    cursor.fetchone()
    finally:
        made.clear()
        await engine.dispose()
