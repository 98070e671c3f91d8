"""Makes SQLAlchemy engines for the two kinds of database, with the pragmas and options that the store leans on."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from blocks.errors import UsageError

KINDS = "sqlite:////path/to/tagtrail.db or postgresql+psycopg://user@host/database"

_WRITE, _DURABLE = "tagtrail_write", "tagtrail_durable"


def of_file(path: Path) -> str:
    """The URL of a SQLite file as text that `parse` reads: a path may hold anything, `?` and `%` among it."""
    if str(path).isprintable():
        url = URL.create("sqlite", database=str(path))
        text = url.render_as_string(hide_password=False)
        if make_url(text) == url:
            return text
    # SQLite's own form for such paths.
    url = URL.create("sqlite", database="file:" + quote(os.fsencode(path)), query=_AS_URI)
    return url.render_as_string(hide_password=False)


def in_clear(url: URL) -> str:
    """A parsed URL as text that `parse` reads again, with its password."""
    return of_file(Path(url.database or "")) if url.drivername == "sqlite" else url.render_as_string(False)


def parse(url: str) -> URL:
    """The URL with its driver named; `postgres://` and `postgresql://` mean psycopg 3.

    Raises:
        UsageError: no database URL, or one of another kind of database or driver. The message never repeats
            the URL, which may hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UsageError(f"{_NAMED} cannot be read; it looks like {KINDS}") from None
    except ValueError:
        raise UsageError(f"{_NAMED} has a port that is no number; it looks like {KINDS}") from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        # A second @ would make a piece of the password the host, and so something that is shown.
        if url.count("@") > (parsed.username is not None or parsed.password is not None):
            raise UsageError(f"{_NAMED} holds an @ or / that belongs to its user name or password: write %40 or %2F")
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.query == _AS_URI and (parsed.database or "").startswith("file:"):
            path = os.fsdecode(unquote_to_bytes(str(parsed.database).removeprefix("file:")))
            return URL.create("sqlite", database=path)
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise UsageError("Tagtrail's SQLite database is a file; its URL looks like sqlite:////path/to/tagtrail.db")
        return parsed.set(drivername="sqlite")
    raise UsageError(f"{_NAMED}: no database of kind {parsed.drivername} is supported; it looks like {KINDS}")


_NAMED: Final = "the database URL (TAGTRAIL_DATABASE_URL, or the block tagtrail-database/default)"
_AS_URI: Final = {"uri": "true"}


def shown(url: URL) -> str:
    """The URL as it may be printed: no password, and no query, which can hold one; a file's path as it is."""
    if url.drivername == "sqlite":
        return f"sqlite:///{url.database}"
    return url.set(query={}).render_as_string(hide_password=True)


def make_engine(url: URL, *, lock_seconds: float, frozen: bool = False) -> Engine:
    """An engine for a parsed URL; nothing is opened yet. `lock_seconds`: how long a statement waits for a lock.

    `frozen`: a SQLite file that nobody writes, on a disk that cannot be written either; SQLite then needs no file
    beside it.
    """
    # Values of rows are people's texts: they stay out of error messages.
    common: dict[str, Any] = {"json_serializer": to_json, "json_deserializer": from_json, "hide_parameters": True}
    if url.drivername == "sqlite":
        if frozen:
            as_uri = f"file:{quote(os.fsencode(os.path.abspath(str(url.database))))}"
            url = url.set(database=as_uri, query={**_AS_URI, "mode": "ro", "immutable": "1"})
        engine = create_engine(url, connect_args={"timeout": lock_seconds, "check_same_thread": False}, **common)
        event.listen(engine, "connect", _sqlite_opened)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    try:
        # What follows the ? is read here, and what is wrong with it would be repeated.
        engine = create_engine(
            url,
            connect_args={"connect_timeout": 10},
            pool_size=10,
            max_overflow=10,
            pool_pre_ping=True,
            pool_recycle=1800,
            **common,
        )
    except ArgumentError:
        raise UsageError(f"{_NAMED} has an option that cannot be read; it looks like {KINDS}") from None

    def opened(connection: Any, entry: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(lock_seconds * 1000)}")
            # Our queries look up rows along indexes; compiling them takes longer than carrying them out.
            cursor.execute("SET jit = off")
        connection.commit()

    def taken(connection: Any, *_: Any) -> None:
        # After a look SQLAlchemy leaves it at "may write", whatever the server's own default is; that is to hold.
        connection.read_only = None

    event.listen(engine, "connect", opened)
    event.listen(engine, "checkout", taken)
    return engine


def options(engine: Engine, *, write: bool, durable: bool = False) -> dict[str, Any]:
    """Execution options of a connection for a write transaction, or for one consistent look."""
    if engine.dialect.name == "sqlite":
        return {_WRITE: write, _DURABLE: durable}
    return {} if write else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def use_write_ahead_log(engine: Engine, *, lock_seconds: float) -> None:
    """Switch a SQLite file to its write-ahead log, once for ever; readers and the writer then never wait for
    each other. The switch does not wait for locks by itself, and two processes may make the file at once."""
    give_up_at = time.monotonic() + lock_seconds
    while True:
        try:
            with engine.connect() as conn:
                cursor = conn.connection.cursor()
                if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                    cursor.execute("PRAGMA journal_mode=WAL")
                return
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise DatabaseError(None, None, error) from error
        time.sleep(0.02)


def _sqlite_opened(connection: Any, entry: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: it would take the write lock late, in the middle of a
    # transaction that has read already, where waiting for it is in vain.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=NORMAL")
    entry.info["durable"] = False
    entry.info["write"] = True


def _sqlite_begin(conn: Connection) -> None:
    wanted = conn.get_execution_options()
    write, durable = bool(wanted.get(_WRITE, True)), bool(wanted.get(_DURABLE, False))
    if conn.info["durable"] != durable:
        conn.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        conn.info["durable"] = durable
    if conn.info["write"] != write:
        conn.exec_driver_sql(f"PRAGMA query_only={int(not write)}")
        conn.info["write"] = write
    conn.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def to_json(value: Any) -> str:
    """JSON text of a value; orjson where it can, and the slower module for numbers beyond 64 bits."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, default=str)


def from_json(text: str | bytes) -> Any:
    """The value of a JSON text that `to_json` wrote."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)
