"""Bad weather on this side of the wire: connections refused, the disk full, the database locked, another run first."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from blocks.database import engine
from blocks.database.store import import_planning, leases
from blocks.processes import name_holder
from blocks.quotas.rate_limiter import Limiter
from blocks.settings import get_settings
from flows.steps.run import accounts
from flows.steps.run.accounts import open_client
from flows.steps.run.request import request_for_hashtags


@pytest.fixture
def closed_port() -> Iterator[str]:
    """A URL where connections are refused: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/serve/api"


async def test_a_refused_submission_was_never_sent(
    weather: Any, database: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = get_settings().memories_v1_base_url
    monkeypatch.setenv("MEMORIES_V1_BASE_URL", f"{closed_port}/v1")
    refused = await weather.track("lvmh")
    assert (refused.outcome, refused.exit_status, refused.requested, refused.cost_usd) == ("failed", 1, 0, 0)
    assert [one.state for one in refused.imports] == ["failed"]
    assert any("the API could not be reached" in note for note in refused.notes)

    monkeypatch.setenv("MEMORIES_V1_BASE_URL", alive)
    done = await weather.track("lvmh", posts_per_task=10)
    assert (done.outcome, done.enriched, weather.submissions()) == ("done", 10, {"hashtag:lvmh": 1})


async def test_refused_metadata_calls_cost_nothing_and_the_same_command_goes_on(
    weather: Any, database: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_CHANNEL_REST_SECONDS", "0.2")
    alive = get_settings().memories_v2_base_url
    monkeypatch.setenv("MEMORIES_V2_BASE_URL", f"{closed_port}/v2")
    refused = await weather.track("lvmh", posts_per_task=10)
    assert (refused.outcome, refused.exit_status) == ("halted", 4)
    assert (refused.requested, refused.pending, refused.failures) == (10, 10, {})
    assert "on any channel" in refused.message
    assert refused.cost_usd == pytest.approx(10 * 0.01), "the import alone"

    monkeypatch.setenv("MEMORIES_V2_BASE_URL", alive)
    done = await weather.track("lvmh", posts_per_task=10)
    assert (done.outcome, done.enriched, weather.asked()) == ("done", 10, 10)
    assert weather.submissions() == {"hashtag:lvmh": 1}


@contextmanager
def full_disk(database: Path, pages_left: int) -> Iterator[None]:
    """A disk with room for so many more pages of the database, for every connection of this process."""
    with closing(sqlite3.connect(database)) as conn:
        (pages,) = conn.execute("PRAGMA page_count").fetchone()

    def limit(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + pages_left}")

    sa.event.listen(sa.Engine, "connect", limit)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "connect", limit)


@pytest.mark.parametrize("pages_left", [0, 4, 8])
async def test_a_full_disk_is_told_and_nothing_that_was_stored_is_bought_again(
    weather: Any, database: Path, pages_left: int
) -> None:
    with full_disk(database, pages_left):
        full = await weather.track("lvmh")
    assert (full.outcome, full.exit_status) == ("failed", 1)
    assert "the disk of the database" in full.message
    assert "free some space and run the same command again" in full.message
    assert "\n" not in full.message
    assert full.requested == full.enriched + full.failed + full.gone + full.pending
    assert full.failed == 0
    bought = weather.asked()

    its_process_ends(weather)
    done = await weather.track("lvmh")
    assert (done.outcome, done.enriched) == ("done", 10)
    assert weather.submissions() == {"hashtag:lvmh": 1}
    # What was bought and could not be stored, and only that, was bought again.
    assert weather.asked() <= bought + 10 - full.enriched
    with weather.store() as store, store.connect() as conn:
        assert conn.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@pytest.mark.parametrize("after", [0, 5])
async def test_a_database_file_that_was_removed_under_a_run_is_no_success(
    weather: Any, database: Path, after: int
) -> None:
    weather.play("default", metadata_per_second=100)
    asked = 0

    def answer(call: str, key: str, number: int, served: Any) -> Any:
        nonlocal asked
        if call == "metadata":
            asked += 1
            if asked > after:
                for file in database.parent.glob(f"{database.name}*"):
                    file.unlink()
        return served.serve()

    weather.sandbox.answer_by(answer)
    lost = await weather.track("lvmh")
    assert (lost.outcome, lost.exit_status) == ("failed", 1)
    assert "was removed or replaced while it was in use" in lost.message


LOCK = """
import sqlite3, sys, time
conn = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
sys.stdin.readline()
conn.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
conn.execute("ROLLBACK")
"""


@contextmanager
def another_program_locks(database: Path, *, seconds: float) -> Iterator[None]:
    """Once two of the first five posts are stored, and before a sixth one is bought."""
    slot, turns, locked = Limiter.acquire, itertools.count(1), asyncio.Event()

    def stored() -> int:
        with closing(sqlite3.connect(database)) as conn:
            (count,) = conn.execute("SELECT count(*) FROM snapshots").fetchone()
            return int(count)

    async def slot_after_the_lock(self: Limiter, *names: str) -> None:
        turn = next(turns) if names[0].startswith("metadata") else 0
        if turn == 6:
            while stored() < 2:
                await asyncio.sleep(0.01)
            program.stdin.write("\n")
            program.stdin.flush()
            assert await asyncio.to_thread(program.stdout.readline) == "locked\n"
            locked.set()
        if turn > 6:
            await locked.wait()
        await slot(self, *names)

    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen([sys.executable, "-c", LOCK, str(database), str(seconds)], **pipes) as program,
    ):
        patch.setattr(Limiter, "acquire", slot_after_the_lock)
        try:
            yield
        finally:
            program.kill()
    assert locked.is_set()


async def test_a_database_that_another_program_locks_for_a_while_is_waited_for(weather: Any, database: Path) -> None:
    with another_program_locks(database, seconds=1.5):
        summary = await weather.track("lvmh")
    assert (summary.outcome, summary.enriched) == ("done", 10)
    assert summary.seconds > 1.5
    assert set(weather.bought().values()) == {1}


async def test_a_database_that_stays_locked_is_told_and_the_same_command_goes_on(
    weather: Any, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(engine.open_store, lock_seconds=0.1, retry_seconds=(0.05,))
    monkeypatch.setattr(accounts, "open_store", quick)
    with another_program_locks(database, seconds=300):
        locked = await weather.track("lvmh")
    assert (locked.outcome, locked.exit_status) == ("failed", 1)
    assert "stayed locked by another program; run the same command again" in locked.message
    assert 2 <= locked.enriched < 10
    assert locked.requested == locked.enriched + locked.pending
    bought = weather.asked()

    its_process_ends(weather)
    done = await weather.track("lvmh")
    assert (done.outcome, done.enriched) == ("done", 10)
    assert weather.submissions() == {"hashtag:lvmh": 1}
    assert weather.asked() <= bought + 10 - locked.enriched


def its_process_ends(weather: Any) -> None:
    """A run that cannot write cannot give its leases back; they are free when its process ends, or 15 s later."""
    with weather.store() as store, store.begin() as conn:
        owners = "SELECT lease_owner FROM work UNION SELECT lease_owner FROM imports"
        for (owner,) in conn.exec_driver_sql(owners).all():
            if owner is not None:
                leases.release_all(conn, owner)


def runs_of(store: engine.Store, import_id: str) -> list[str]:
    """The runs that have found or planned an import."""
    with store.connect() as conn:
        query = "SELECT run_id FROM run_imports WHERE import_id = ?"
        return [run_id for (run_id,) in conn.exec_driver_sql(query, (import_id,))]


async def test_an_import_that_another_run_is_about_to_send_is_waited_for_and_taken_over(
    weather: Any, database: Path
) -> None:
    client = await open_client("default", get_settings())
    [wanted] = request_for_hashtags(["lvmh"], 10).imports
    with weather.store() as store:
        other = name_holder()
        with store.begin() as conn:
            planned = import_planning.plan_import(
                conn, account=client.account, kind=wanted.kind, hashtag=wanted.hashtag, wanted=wanted.wanted,
                dedup_key=wanted.key,
                collection="default", namespace="default", library="private", requested=10, run_id="other",
                owner=other, reuse_after=None, fresh=False,
            )  # fmt: skip
        waiting = asyncio.create_task(weather.track("lvmh", posts_per_task=10))
        while len(runs_of(store, planned.import_id)) < 2:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert weather.submissions() == {}, "the other run may send it any moment"
        with store.begin() as conn:
            leases.release_all(conn, other)  # it ends without having sent it
        summary = await waiting
    assert (summary.outcome, summary.enriched) == ("done", 10)
    assert [one.import_id for one in summary.imports] == [planned.import_id]
    assert weather.submissions() == {"hashtag:lvmh": 1}
