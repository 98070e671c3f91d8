"""Where a cursor whose statement failed is left to the garbage collector, and where it is not."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from blocks.database import failed_cursors

PATIENT_MS, IMPATIENT_MS = 60_000, 1_500


@pytest.fixture
def collector_at_rest() -> Iterator[None]:
    """So that failed cursors are found when the test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@asynccontextmanager
async def engine_of(tmp_path: Path, *, busy_ms: int) -> AsyncIterator[AsyncEngine]:
    """One on SQLite as Prefect makes it: own BEGIN, write-ahead log, patience with locks."""
    made = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")

    @event.listens_for(made.sync_engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA busy_timeout = {busy_ms}")
        cursor.close()

    @event.listens_for(made.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN DEFERRED")

    try:
        yield made
    finally:
        await made.dispose()


async def fail_to_write(connection: AsyncConnection) -> None:
    """A write of a transaction that has read before another one wrote; its cursor is garbage in a cycle then."""
    try:
        await connection.exec_driver_sql("UPDATE posts SET likes = 2")
    except OperationalError as error:
        error.add_note("in a cycle with its own frame")
        kept = error
        kept.__dict__["itself"] = kept
    else:
        pytest.fail("two writers did not meet")


async def write_while_garbage_is_collected(engine: AsyncEngine) -> None:
    """A connection that failed to write waits for another's lock in its thread; this one collects garbage meanwhile."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql("CREATE TABLE posts (likes)")
        await connection.exec_driver_sql("INSERT INTO posts VALUES (0)")
    async with engine.connect() as holder, engine.connect() as waiter:
        await waiter.exec_driver_sql("SELECT * FROM posts")
        await holder.exec_driver_sql("UPDATE posts SET likes = 1")
        await holder.commit()
        await fail_to_write(waiter)
        await waiter.rollback()
        await holder.exec_driver_sql("UPDATE posts SET likes = 3")
        begun = threading.Event()
        driver = (await waiter.get_raw_connection()).driver_connection
        await driver.set_trace_callback(lambda _: begun.set())
        waiting = asyncio.create_task(waiter.exec_driver_sql("UPDATE posts SET likes = 4"))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # from the statement's beginning to the lock
        gc.collect()
        await holder.commit()
        await waiting
        await waiter.commit()


async def test_a_failed_cursor_keeps_nobody_waiting(tmp_path: Path, collector_at_rest: None) -> None:
    async with engine_of(tmp_path, busy_ms=PATIENT_MS) as engine:
        event.listen(engine.sync_engine, "do_connect", failed_cursors.close_failed_cursors)
        await write_while_garbage_is_collected(engine)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sqlite3 lets go of failed statements from Python 3.12 on")
async def test_without_it_the_wait_ends_by_its_timeout(tmp_path: Path, collector_at_rest: None) -> None:
    async with engine_of(tmp_path, busy_ms=IMPATIENT_MS) as engine:
        with pytest.raises(OperationalError, match="database is locked"):
            await write_while_garbage_is_collected(engine)


@pytest.mark.parametrize("call", [lambda c: c.execute("bad"), lambda c: c.executemany("bad", [()])])
def test_a_cursor_is_closed_when_a_statement_fails(call: Callable[[Any], Any]) -> None:
    connection = failed_cursors.ClosingConnection(":memory:")
    cursor = connection.cursor()
    with pytest.raises(sqlite3.OperationalError):
        call(cursor)
    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        cursor.execute("SELECT 1")
    connection.close()


@pytest.fixture
def prepared() -> Iterator[None]:
    failed_cursors.close_them()
    yield
    if event.contains(Engine, "do_connect", failed_cursors.close_failed_cursors):
        event.remove(Engine, "do_connect", failed_cursors.close_failed_cursors)


def test_every_engine_is_mended_where_python_is_old(prepared: None, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.connect() as connection:
        mended = isinstance(connection.connection.dbapi_connection, failed_cursors.ClosingConnection)
    engine.dispose()
    assert mended is (sys.version_info < (3, 12))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sqlite3 lets go of failed statements from Python 3.12 on")
async def test_a_prefect_server_s_engine_is_one_of_them(prepared: None, tmp_path: Path) -> None:
    from prefect.server.database.configurations import AioSqliteConfiguration

    engine = await AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{tmp_path}/prefect.db").engine()
    try:
        async with engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver._conn, failed_cursors.ClosingConnection)
    finally:
        await engine.dispose()


def test_other_databases_are_left_alone() -> None:
    class Postgres:
        name = "postgresql"

    keywords: dict[str, Any] = {}
    failed_cursors.close_failed_cursors(Postgres(), None, (), keywords)
    assert not keywords
