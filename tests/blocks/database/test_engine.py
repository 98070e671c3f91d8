"""The store: transactions on worker threads, retries, group commit, and one sentence for each fault."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from blocks.database import engine as engine_module
from blocks.database.engine import Store, open_store
from blocks.database.grouping import mergeable
from blocks.database.store.statements import table_of
from blocks.database.tables import Collection, Meta
from blocks.errors import StoreError

_meta = table_of(Meta)


def put(conn: Connection, key: str, value: str = "v") -> str:
    conn.execute(insert(_meta).values(key=key, value=value))
    return key


def keys(conn: Connection) -> set[str]:
    return set(conn.execute(select(_meta.c.key)).scalars())


@pytest.fixture
def impatient(store: Store) -> Iterator[Store]:
    """The store, with three more attempts at once."""
    with closing(Store(store.engine, store.url_shown, retry_seconds=(0, 0, 0))) as opened:
        yield opened


@contextmanager
def counted(store: Store, name: str) -> Iterator[list[int]]:
    """Count the engine's events of a name."""
    seen: list[int] = []

    def note(conn: Any) -> None:
        seen.append(1)

    event.listen(store.engine, name, note)
    yield seen
    event.remove(store.engine, name, note)


async def test_run_commits_and_read_sees_it(store: Store) -> None:
    assert await store.run(put, "a", value="1") == "a"
    assert await store.run_durable(put, "b") == "b"
    assert await store.read(keys) == {"a", "b"}
    with store.connect() as conn:
        assert keys(conn) == {"a", "b"}


async def test_an_error_undoes_its_transaction_and_reaches_its_caller(store: Store) -> None:
    def fail(conn: Connection) -> None:
        put(conn, "a")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await store.run(fail)
    with pytest.raises(LookupError), store.begin() as conn:
        fail(conn)
    assert await store.read(keys) == set()
    await store.run(put, "a")
    with pytest.raises(IntegrityError):
        await store.run(put, "a")


async def test_reading_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.read(put, "a")
    with pytest.raises(StoreError), store.connect() as conn:
        put(conn, "a")
    await store.run(put, "b")
    assert await store.read(keys) == {"b"}


def test_a_reader_sees_one_moment(store: Store) -> None:
    with store.connect() as reader:
        assert keys(reader) == set()
        with store.begin() as writer:
            put(writer, "a")
        assert keys(reader) == set()
    with store.connect() as reader:
        assert keys(reader) == {"a"}


async def test_the_event_loop_goes_on_while_the_database_works(store: Store) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow(conn: Connection) -> str:
        started.set()
        assert go_on.wait(20)
        return put(conn, "slow")

    task = asyncio.create_task(store.run(slow))
    assert await asyncio.to_thread(started.wait, 20)
    go_on.set()
    assert await task == "slow"


def test_many_threads_and_event_loops_share_a_store(store: Store) -> None:
    def one_loop(number: int) -> None:
        async def work() -> None:
            await asyncio.gather(*(store.run_grouped(put, f"{number}.{n}") for n in range(10)))
            await store.run(put, f"{number}.x")

        asyncio.run(work())

    threads = [threading.Thread(target=one_loop, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with store.connect() as conn:
        assert len(keys(conn)) == 44


async def test_grouped_writes_share_commits(store: Store) -> None:
    with counted(store, "commit") as commits:
        assert await asyncio.gather(*(store.run_grouped(put, str(n)) for n in range(500))) == [
            str(n) for n in range(500)
        ]
    assert len(await store.read(keys)) == 500
    assert len(commits) < 100


@mergeable
def put_all(conn: Connection, names: list[str], suffix: str = "", *, now: int = 0) -> list[str]:
    calls.append((len(names), now))
    return [put(conn, name + suffix) for name in names]


calls: list[tuple[int, int]] = []


async def test_alike_calls_of_a_group_become_one(store: Store) -> None:
    calls.clear()
    results = await asyncio.gather(
        store.run_grouped(put_all, ["a", "b"], now=1),
        store.run_grouped(put_all, ["c"], "x", now=2),
        store.run_grouped(put, "d"),
        store.run_grouped(put_all, [], now=4),
        store.run_grouped(put_all, ["e"], now=3),
    )
    assert results == [["a", "b"], ["cx"], "d", [], ["e"]]
    assert sorted(calls) == [(1, 2), (3, 4)]
    calls.clear()
    again = await asyncio.gather(
        *(store.run_grouped(put_all, [name], now=1) for name in ("f", "a", "g")), return_exceptions=True
    )
    assert [again[0], again[2]] == [["f"], ["g"]]
    assert isinstance(again[1], IntegrityError)
    assert await store.read(keys) == set("abdefg") | {"cx"}


async def test_one_bad_write_of_a_group_harms_no_other(store: Store) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def hold(conn: Connection) -> None:
        blocked.set()
        assert go_on.wait(20)

    def refuse(conn: Connection) -> None:
        put(conn, "half")
        raise LookupError("mine")

    await store.run(put, "taken")
    first = asyncio.create_task(store.run_grouped(hold))
    assert await asyncio.to_thread(blocked.wait, 20)
    group = [asyncio.create_task(store.run_grouped(put, key)) for key in ("a", "taken", "b")]
    group.append(asyncio.create_task(store.run_grouped(refuse)))
    await asyncio.sleep(0)
    go_on.set()
    results = await asyncio.gather(first, *group, return_exceptions=True)
    assert results[1] == "a"
    assert isinstance(results[2], IntegrityError)
    assert results[3] == "b"
    assert isinstance(results[4], LookupError)
    assert await store.read(keys) == {"taken", "a", "b"}


async def test_a_write_is_carried_out_though_its_task_is_cancelled(store: Store) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def hold(conn: Connection) -> None:
        blocked.set()
        assert go_on.wait(20)

    holders = [asyncio.create_task(store.run(hold)) for _ in range(4)]
    assert await asyncio.to_thread(blocked.wait, 20)
    writes = [asyncio.create_task(store.run(put, "a")), asyncio.create_task(store.run_grouped(put, "b"))]
    await asyncio.sleep(0)
    for write in writes:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    go_on.set()
    await asyncio.gather(*holders)
    store.close()
    with closing(open_store(store.engine.url.render_as_string(hide_password=False))) as again, again.connect() as conn:
        assert keys(conn) == {"a", "b"}


def unlocked(store: Store, retry_seconds: Sequence[float]) -> Store:
    """The same database, opened by another program that waits for no lock but by trying again."""
    return open_store(str(store.engine.url), lock_seconds=0.0, retry_seconds=retry_seconds)


async def test_a_locked_database_is_one_sentence(sqlite_store: Store) -> None:
    told = "stayed locked by another program; run the same command again"
    with closing(unlocked(sqlite_store, (0, 0, 0))) as store, sqlite_store.begin():
        with pytest.raises(StoreError, match=told):
            await store.run(put, "a")
        with pytest.raises(StoreError, match=told), store.begin():
            pass
        grouped = await asyncio.gather(*(store.run_grouped(put, str(n)) for n in range(3)), return_exceptions=True)
        assert {type(error) for error in grouped} == {StoreError}
        assert await store.read(keys) == set()


async def test_a_lock_that_goes_is_waited_for(sqlite_store: Store) -> None:
    with closing(unlocked(sqlite_store, (0.01,) * 1000)) as store:
        with sqlite_store.begin():
            waiting = asyncio.create_task(store.run(put, "b"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await waiting == "b"


async def test_a_conflict_is_tried_again(impatient: Store) -> None:
    store = impatient
    if store.is_sqlite:
        errors: Any = sqlite3.OperationalError("database is locked")
        errors.sqlite_errorcode = sqlite3.SQLITE_BUSY
    else:
        import psycopg

        errors = psycopg.errors.SerializationFailure("could not serialize")
    tries = 0

    def conflicting(conn: Connection, until: int) -> str:
        nonlocal tries
        tries += 1
        put(conn, f"try {tries}")
        if tries % 100 < until:
            raise OperationalError("statement", {}, errors)
        return "done"

    assert await store.run(conflicting, 3) == "done"
    assert await store.read(keys) == {"try 3"}
    tries = 100
    with pytest.raises(StoreError, match="run the same command again"):
        await store.run(conflicting, 99)
    assert tries == 104


async def test_a_full_disk_is_one_sentence(sqlite_store: Store) -> None:
    def fill(conn: Connection) -> None:
        put(conn, "big", "x" * 5_000_000)

    def limit(conn: Connection) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages + 20}")

    await sqlite_store.run(limit)
    with pytest.raises(StoreError, match=r"the disk of the database .* is full; free some space") as caught:
        await sqlite_store.run(fill)
    assert "xxx" not in str(caught.value) + str(caught.value.__cause__)
    await sqlite_store.run(put, "small")


async def test_a_broken_connection_is_replaced(database_url: str, impatient: Store) -> None:
    store = impatient
    if store.is_sqlite:
        store.engine.dispose()
    else:
        with closing(open_store(database_url)) as other, other.begin() as conn:
            others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            conn.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
    assert await store.run(put, "a") == "a"
    seen = 0

    def cut_off(conn: Connection) -> str:
        nonlocal seen
        seen += 1
        if seen == 1 and not store.is_sqlite:
            conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return put(conn, "b")

    assert await store.run(cut_off) == "b"


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_commit_without_an_answer_is_not_repeated(impatient: Store) -> None:
    store = impatient

    def cut_at_commit(conn: Connection) -> None:
        put(conn, "a")
        # The deferred end: the connection is closed before COMMIT can be sent.
        conn.connection.driver_connection.close()  # type: ignore[union-attr]

    with pytest.raises(StoreError, match="may or may not have been stored"):
        await store.run(cut_at_commit)


def test_durable_is_for_one_transaction(sqlite_store: Store) -> None:
    def synchronous(*, durable: bool) -> int:
        with sqlite_store.begin(durable=durable) as conn:
            return int(conn.exec_driver_sql("PRAGMA synchronous").scalar_one())

    assert [synchronous(durable=durable) for durable in (False, True, True, False)] == [1, 2, 2, 1]


def test_the_write_lock_is_taken_at_the_start(sqlite_store: Store) -> None:
    path = str(sqlite_store.engine.url.database)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        with sqlite_store.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with sqlite_store.connect() as conn:
            keys(conn)
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")


def test_closing_twice_and_json(store: Store) -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    with store.begin() as conn:
        conn.execute(insert(table_of(Collection)).values(name="c", created_at=moment))
        assert conn.execute(select(table_of(Collection).c.created_at)).scalar_one() == moment
    with pytest.raises(StatementError, match="without a time zone"), store.begin() as conn:
        conn.execute(insert(table_of(Collection)).values(name="d", created_at=moment.replace(tzinfo=None)))
    dumps, loads = engine_module.connections.to_json, engine_module.connections.from_json
    for value in ({"a": [1, None, "é"]}, {"big": 2**70}, ["\ud800"], {"t": 1.5}):
        assert loads(dumps(value)) == value
    store.close()
    store.close()
