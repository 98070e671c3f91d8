"""Opens the database and runs transactions on it, from any number of threads and event loops."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, false, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from blocks.database import connections, migrations
from blocks.database.faults import DATABASE_ERRORS, Fault, explain, explained, judge
from blocks.database.grouping import LINGER_SECONDS, Write, WriteQueue
from blocks.errors import StoreError, is_full

_LOG = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Waits before another attempt at a transaction that met a passing fault.
RETRY_SECONDS = (0.05, 0.1, 0.3, 0.8, 1.6)


class Store:
    """An open database; see `open_store`.

    Writes of one `Store` run on one thread for SQLite (it has one writer anyway) and on four for Postgres, so
    that no event loop waits for a disk. A write that was asked for is carried out even if the task that awaits it
    is cancelled. All methods may be called from any thread or event loop; functions given to them may be run more
    than once, each time in a new transaction, and so must do nothing but SQL.
    """

    def __init__(self, engine: Engine, url_shown: str, retry_seconds: Sequence[float] = RETRY_SECONDS) -> None:
        self.engine = engine
        self.url_shown = url_shown
        """The database's URL without its password."""
        self.is_sqlite = engine.dialect.name == "sqlite"
        self.file = Path(engine.url.database).absolute() if self.is_sqlite and engine.url.database else None
        """The file of a SQLite database."""
        self._opened = None if self.file is None else _identity(self.file)
        writers = 1 if self.is_sqlite else 4
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="tagtrail-write")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="tagtrail-read")
        self._retry_seconds = retry_seconds
        self._queue = WriteQueue(self._writers, self._transact)

    def __repr__(self) -> str:
        return f"Store({self.url_shown!r})"

    @contextmanager
    def begin(self, *, durable: bool = False) -> Iterator[Connection]:
        """One write transaction on this thread: committed at the end, rolled back on an error, never retried.

        `durable`: not even a power failure undoes the commit (on SQLite; Postgres keeps that promise always).

        Raises:
            StoreError: the database is locked, full, gone or not writable.
        """
        with explained(self.url_shown), self._transaction(write=True, durable=durable) as conn:
            yield conn

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """One read-only transaction on this thread; it sees the database as it was at its first statement.

        Raises:
            StoreError: the database cannot be reached or read, or something was to be written.
        """
        with explained(self.url_shown), self._transaction(write=False) as conn:
            yield conn

    def check_writable(self) -> None:
        """Try to write to every table, without changing anything.

        Raises:
            StoreError: something cannot be written: the database is read-only, or its user has no right to.
        """
        # They load slowly, and most commands read alone.
        from blocks.database.tables import METADATA

        with self.begin() as conn:
            for table in METADATA.sorted_tables:
                nothing = select(table).where(false())
                conn.execute(table.insert().from_select(list(table.columns), nothing))
                conn.execute(table.update().where(false()).values({column: column for column in table.columns}))
                conn.execute(table.delete().where(false()))

    async def run(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(conn, *args, **kwargs)` in a write transaction on a worker thread; its result after the commit.

        Raises:
            StoreError: the database stayed locked or away through all attempts, is full or not writable, or the
                connection broke during the commit, so that nobody knows whether it was written.
        """
        return await self._outcome(self._writers.submit(self._transact, Write(fn, args, kwargs)))

    async def run_durable(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`; not even a power failure undoes the commit (on SQLite; Postgres keeps that promise always)."""
        return await self._outcome(self._writers.submit(self._transact, Write(fn, args, kwargs), durable=True))

    async def run_grouped(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, for small writes of many tasks: those that come at about the same moment share one commit.

        Each waits 10 ms for others to join it; calls of one `mergeable` function become one call. If one of a group
        fails, each is carried out alone, so that an error reaches its own caller only.
        """
        write = Write(fn, args, kwargs)
        self._queue.put(write)
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._queue.flush)
        return await self._outcome(write.future)

    async def read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(conn, *args, **kwargs)` in a read-only transaction on a worker thread.

        Raises:
            StoreError: the database stayed away through all attempts, or something was to be written.
        """
        return await self._outcome(self._readers.submit(self._transact, Write(fn, args, kwargs), write=False))

    def close(self) -> None:
        """Finish what was asked for and close all connections; may be called twice."""
        self._queue.join()
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self.engine.dispose()

    @staticmethod
    async def _outcome(future: Future[T]) -> T:
        # Shielded: cancelling the awaiting task must not take a write out of the queue.
        return await asyncio.shield(asyncio.wrap_future(future))

    @contextmanager
    def _transaction(self, *, write: bool, durable: bool = False) -> Iterator[Connection]:
        options = connections.options(self.engine, write=write, durable=durable)
        try:
            with self.engine.connect().execution_options(**options) as conn, conn.begin():
                yield conn
        except DATABASE_ERRORS:
            self._must_be_in_place()  # A new connection finds an empty file, or another one, in its place.
            raise
        if write:
            self._must_be_in_place()

    def _must_be_in_place(self) -> None:
        """Refuse to go on with a SQLite file that is not the one at its path any more: what is written there is lost.

        Raises:
            StoreError: the file was removed, or another one stands in its place.
        """
        if self.file is not None and _identity(self.file) != self._opened:
            raise StoreError(
                f"the file of the database {self.url_shown} was removed or replaced while it was in use: what was "
                "written since then is lost with it; put it back if it was moved, and run the same command again"
            )

    def _transact(self, work: Callable[[Connection], T], *, write: bool = True, durable: bool = False) -> T:
        """`work` in one transaction, again after a passing fault, a bounded number of times."""
        waits = iter(self._retry_seconds)
        while True:
            worked = False
            try:
                with self._transaction(write=write, durable=durable) as conn:
                    result = work(conn)
                    worked = True
                return result
            except IntegrityError:
                raise
            except DATABASE_ERRORS as error:
                fault = judge(error)
                if worked and write and fault is Fault.LOST:
                    raise StoreError(
                        f"the connection to the database {self.url_shown} broke during a commit, so that a change "
                        "may or may not have been stored; run the same command again"
                    ) from None
                wait = next(waits, None)
                if not fault.passing or wait is None:
                    raise explain(error, self.url_shown) from None
            time.sleep(wait)


def _identity(file: Path) -> tuple[int, int] | None:
    """Device and inode of a file; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_store(
    url: str, *, create: bool = False, lock_seconds: float = 30.0, retry_seconds: Sequence[float] = RETRY_SECONDS
) -> Store:
    """Open the database at an SQLAlchemy URL and check its schema.

    `create`: make a SQLite file (and its folder, for the owner alone) where there is none, and migrate it; a
    Postgres database is migrated by `upgrade` only. A file is copied before it is migrated, which is logged. Without
    `create` a file on a disk that cannot be written is opened for
    reading. `lock_seconds`: how long a statement waits for a lock before
    it counts as failed. `retry_seconds`: the waits before another attempt at a transaction that met a passing fault.

    Raises:
        UsageError: the URL is of no supported kind.
        StoreError: the database cannot be used; the message says what to do.
    """
    store = _connected(url, create=create, lock_seconds=lock_seconds, retry_seconds=retry_seconds)
    try:
        with store.connect() as conn:
            state = migrations.schema_state(conn)
        if create and store.is_sqlite and state in ("missing", "behind"):
            _migrate(store)
            state = "head"
        if state != "head":
            raise StoreError(_SCHEMA[state].format(where=store.url_shown))
    except StoreError:
        store.close()
        raise
    return store


def upgrade(target: Store | str) -> migrations.SchemaState:
    """Make or migrate the schema of a database, given as a store or by its URL; the state that was found before.

    A SQLite file is copied before it is migrated; where the copy lies is logged.

    Raises:
        UsageError: the URL is of no supported kind.
        StoreError: the database cannot be used, or its schema is one that this Tagtrail does not know.
    """
    if isinstance(target, Store):
        return _migrate(target)
    store = _connected(target, create=True, lock_seconds=30.0)
    try:
        return _migrate(store)
    finally:
        store.close()


_SCHEMA = {
    "missing": "the database {where} holds no tables of Tagtrail yet; run `tagtrail db upgrade`",
    "behind": "the schema of the database {where} is older than this Tagtrail; run `tagtrail db upgrade`",
    "ahead": "the schema of the database {where} is newer than this Tagtrail, or another program's; upgrade Tagtrail",
}


def _migrate(store: Store) -> migrations.SchemaState:
    def copy_first(revision: str) -> None:
        if store.file is not None:
            copy = copy_before_upgrade(store.file, revision, datetime.now(UTC))
            _LOG.warning("The database gets a new schema; a copy as it was (schema %s) is %s", revision, copy)

    with explained(store.url_shown):
        state = migrations.upgrade(store.engine, before=copy_first)
    if state == "ahead":
        raise StoreError(_SCHEMA[state].format(where=store.url_shown))
    return state


def _connected(url: str, *, create: bool, lock_seconds: float, retry_seconds: Sequence[float] = RETRY_SECONDS) -> Store:
    """A store whose database can be reached; nothing is known of its schema yet."""
    parsed = connections.parse(url)
    where = connections.shown(parsed)
    if parsed.drivername == "sqlite":
        _prepare_file(Path(parsed.database or ""), where, create=create)
    store = Store(connections.make_engine(parsed, lock_seconds=lock_seconds), where, retry_seconds)
    if not store.is_sqlite:
        return store
    try:
        with explained(where):
            connections.use_write_ahead_log(store.engine, lock_seconds=lock_seconds)
    except StoreError:
        store.close()
        file = Path(parsed.database or "")
        if create or os.access(file.parent, os.W_OK) or not _is_at_rest(file):
            raise
        return Store(connections.make_engine(parsed, lock_seconds=lock_seconds, frozen=True), where, retry_seconds)
    return store


def _is_at_rest(file: Path) -> bool:
    """Whether all that was written stands in the file itself: its log beside it is empty, or not there."""
    log = file.with_name(f"{file.name}-wal")
    return os.access(file, os.R_OK) and not (log.exists() and log.stat().st_size)


def _prepare_file(path: Path, where: str, *, create: bool) -> None:
    try:
        if create:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made by hand, so that nobody else can read it at any moment; SQLite's side files take its mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        elif not path.exists():
            raise StoreError(f"there is no database {where} yet; run `tagtrail db upgrade` to make it")
    except OSError as error:
        if is_full(error):
            raise StoreError(Fault.FULL.value.format(where=where)) from error
        reason = error.strerror or type(error).__name__
        raise StoreError(f"the database {where} cannot be made or opened ({reason}); check its path") from error


def copy_before_upgrade(file: Path, revision: str, now: datetime) -> Path:
    """Copy a database of this schema revision: `tagtrail.db` to `tagtrail-schema-0008-20261130T120000Z.db`.

    The copy is consistent while others read and write, and needs as much space as the database has rows.

    Raises:
        StoreError: the copy cannot be made there.
        DatabaseError: the file cannot be read, or the disk is full.
    """
    copy = file.with_name(f"{file.stem}-schema-{revision}-{now:%Y%m%dT%H%M%SZ}{file.suffix}")
    try:
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreError(
            f"no copy of the database can be made at {copy} ({error.strerror}), so that its schema was left as it is; "
            "make room there, or allow it"
        ) from error
    try:
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        copy.unlink()
        raise DatabaseError(None, None, error) from error
    return copy


def copies_of(file: Path) -> list[Path]:
    """The copies of a database that upgrades made, the oldest schema first."""
    name = re.compile(rf"{re.escape(file.stem)}-schema-\d{{4}}-\d{{8}}T\d{{6}}Z{re.escape(file.suffix)}\Z")
    return sorted(path for path in file.parent.iterdir() if name.match(path.name))
