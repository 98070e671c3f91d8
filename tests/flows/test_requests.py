"""A request has one budget, whoever buys for it, and a person's stop holds: shown by calls that reached the service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Cancelling

from blocks.database.store import inbox, leases, money, runs
from blocks.database.store.statements import table_of
from blocks.database.tables import Budget, Import, Run, Spend, Work
from blocks.memories.callbacks import read_callback
from flows.collect_imports import collect_imports
from flows.enrich_posts import enrich_posts
from flows.import_posts import import_posts
from flows.steps.run import stops as listening

SLOW_MS = 300

CENT = 10_000
"""The price of an imported post, and of a metadata call, in millionths of a US dollar."""


@pytest.fixture
def chain(weather: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The chain with few calls in flight."""
    monkeypatch.setenv("TAGTRAIL_IN_FLIGHT", "3")
    return weather


@pytest.fixture
def each_database(chain: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain on a database of each kind: for what buyers do at once. The statements' own tests are
    `blocks/database/test_stops.py` and `test_money.py`, on both kinds each."""
    monkeypatch.setenv("TAGTRAIL_DATABASE_URL", database_url)


async def sweep(weather: Any, **more: Any) -> Any:
    return await weather._run(lambda: collect_imports(**more, return_state=True))


async def two_sweeps(weather: Any) -> list[Any]:
    """At once, as of two machines: together they must not overstep anything either."""
    return list(await asyncio.gather(sweep(weather), sweep(weather)))


def changed(weather: Any, statement: Any) -> None:
    with weather.store() as store, store.begin() as conn:
        conn.execute(statement)


def rows(weather: Any, table: Any) -> list[Any]:
    with weather.store() as store, store.connect() as conn:
        return list(conn.execute(sa.select(table_of(table))))


def used(weather: Any, run_id: str) -> int:
    with weather.store() as store, store.connect() as conn:
        return money.used_micros(conn, f"run:{run_id}")


async def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def stopped_after(weather: Any, calls: int, *hashtags: str, **more: Any) -> int:
    """A run that is cancelled once the service has taken so many metadata calls; how many it took in all."""
    weather.play("default", latency_ms=SLOW_MS)
    run = asyncio.create_task(weather.track(*hashtags, **more))
    await until(lambda: weather.asked() >= calls or run.done())
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    weather.play("default")
    return int(weather.asked())


async def test_a_cap_bounds_what_is_asked_for_and_not_who_buys_it(chain: Any) -> None:
    # 20 posts cost 0.20 to import and 0.20 to measure: 5 calls fit.
    halted = await chain.track("LVMH", posts_per_hashtag=20, max_spend_usd=0.25)
    assert (halted.outcome, halted.exit_status, halted.enriched) == ("halted", 4, 5)
    # What the cap stops may be listed already, or be listed by the sweeps.
    assert (halted.held, halted.waiting) == (0, 0)
    assert halted.pending == halted.out_of_room > 0
    assert f"{halted.pending} pending ({halted.pending} out of room)" in halted.message
    assert any("the same command goes on, under a cap of its own" in note for note in halted.notes)
    # The sweeps finish its import if it had to stop before, and find what is left out of room.
    assert [each.cost_usd for each in await two_sweeps(chain)] == [0, 0]
    assert (chain.asked(), used(chain, halted.run_id)) == (5, 25 * CENT)

    # Under its own cap, which is another request.
    done = await chain.track("LVMH", posts_per_hashtag=20)
    assert (done.outcome, done.enriched, done.pending) == ("done", 20, 0)
    assert chain.asked() == 20
    assert chain.submissions() == {"hashtag:lvmh": 1}


async def test_a_run_that_does_not_wait_gives_the_sweeps_what_is_left_of_its_cap(chain: Any) -> None:
    left = await chain.track("LVMH", posts_per_hashtag=20, max_spend_usd=0.27, wait=False)
    assert left.outcome == "done"
    swept = await sweep(chain)
    assert (swept.enriched, swept.pending, swept.out_of_room) == (7, 13, 13)
    assert "13 pending (13 out of room)" in swept.message
    for each in await two_sweeps(chain):
        assert (each.enriched, each.requested) == (0, 0)
    assert (chain.asked(), used(chain, left.run_id)) == (7, 27 * CENT)
    # What the sweep bought is its own, too.
    with chain.store() as store, store.connect() as conn:
        assert money.totals(conn, swept.run_id).spent_micros() == 7 * CENT


@pytest.mark.usefixtures("each_database")
async def test_two_sweeps_at_once_share_what_is_left(chain: Any) -> None:
    left = await chain.track("LVMH", posts_per_hashtag=20, max_spend_usd=0.29, wait=False)
    await two_sweeps(chain)
    assert (chain.asked(), used(chain, left.run_id)) == (9, 29 * CENT)


async def test_a_sweep_s_own_cap_bounds_it_further(chain: Any) -> None:
    left = await chain.track("LVMH", posts_per_hashtag=20, wait=False)
    swept = await sweep(chain, max_spend_usd=0.03)
    # It halts as soon as its cap is reached, whatever was listed by then.
    assert (swept.outcome, swept.enriched + swept.waiting) == ("halted", swept.requested)
    assert 1 <= swept.enriched == chain.asked() <= 3
    rest = await sweep(chain)
    assert (rest.outcome, rest.enriched, chain.asked()) == ("done", 20 - swept.enriched, 20)
    assert used(chain, left.run_id) == 40 * CENT


async def test_a_killed_run_s_reservations_count_as_spent(chain: Any) -> None:
    """It reserved ten calls ahead, and nobody knows how many were made."""
    left = await chain.track("LVMH", posts_per_hashtag=20, max_spend_usd=0.35, wait=False)
    with chain.store() as store, store.begin() as conn:
        purpose = money.Purpose("acc", left.run_id, "default", "metadata", "tiktok", "apify")
        money.reserve(conn, purpose, micros=10 * CENT, caps=money.Caps(), now=left.started_at)
    swept = await sweep(chain)
    assert (swept.enriched, swept.out_of_room, chain.asked()) == (5, 15, 5)


async def test_a_new_day_gives_a_request_no_new_money(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_DAY", "0.23")
    halted = await chain.track("LVMH", posts_per_hashtag=20, max_spend_usd=0.25)
    # It halts as soon as the cap is reached, whatever was listed by then; nobody stopped it.
    assert (halted.outcome, halted.enriched, halted.waiting) == ("halted", 3, halted.requested - 3)
    assert [(one.outcome, one.cost_usd) for one in await two_sweeps(chain)] == [("halted", 0)] * 2
    assert chain.asked() == 3

    # Past midnight: what was spent was spent yesterday.
    table, budgets = table_of(Spend), table_of(Budget)
    changed(chain, sa.update(table).values(day="2026-01-01"))
    changed(chain, sa.delete(budgets).where(budgets.c.scope.startswith("day:")))
    swept = await sweep(chain)
    assert (swept.cost_usd, swept.out_of_room) == (0.02, 15)
    await two_sweeps(chain)
    assert (chain.asked(), used(chain, halted.run_id)) == (5, 25 * CENT)


@pytest.mark.parametrize("wait", [True, False])
async def test_what_a_person_stopped_is_held(chain: Any, *, wait: bool) -> None:
    asked = await stopped_after(chain, 3, "LVMH", posts_per_hashtag=20, collection="fashion")
    if not wait:
        # The same of a run that submitted and was stopped before it ended: its import goes on alone.
        changed(chain, sa.update(table_of(Import)).values(state="collecting", finished_at=None, next_look_at=None))
    [stopped] = rows(chain, Run)
    assert (stopped.outcome, stopped.stopped_why, stopped.finished_at is None) == ("cancelled", "cancelled", False)
    assert "@" in stopped.stopped_by
    for _ in range(2):
        for each in await two_sweeps(chain):
            assert each.cost_usd == 0
    assert chain.asked() == asked
    assert {row.asked_by for row in rows(chain, Work) if row.state == "pending"} == {stopped.run_id}

    done = await chain.track("LVMH", posts_per_hashtag=20, collection="fashion")
    assert (done.outcome, done.enriched, done.pending, chain.asked()) == ("done", 20, 0, 20)
    assert chain.submissions() == {"hashtag:lvmh": 1}


def called_back(weather: Any) -> None:
    """The service says of every import that it has ended, in both generations' words, and twice."""
    with weather.store() as store, store.begin() as conn:
        for row in conn.execute(sa.select(table_of(Import)).where(table_of(Import).c.task_id.is_not(None))).all():
            for status in ("SUCCEEDED", "SUCCEEDED", "INDEXING_SUCCEEDED"):
                word = json.dumps({"taskId": row.task_id, "status": status}).encode()
                inbox.receive(conn, [read_callback(word)])


@pytest.mark.parametrize("ends", ["a stop", "a stop of what does not wait", "its cap", "the cap of what does not wait"])
async def test_neither_a_callback_nor_a_new_day_buys_what_is_left(chain: Any, ends: str) -> None:
    waits = "does not wait" not in ends
    if "cap" in ends:
        first = await chain.track("LVMH", posts_per_hashtag=20, max_spend_usd=0.25, wait=waits)
        allowed = 5
        if not waits:
            assert (await sweep(chain)).enriched == allowed
        assert used(chain, first.run_id) == 25 * CENT
    elif waits:
        allowed = await stopped_after(chain, 3, "LVMH", posts_per_hashtag=20)
    else:
        first = await chain.track("LVMH", posts_per_hashtag=20, wait=False)
        with chain.store() as store, store.begin() as conn:
            assert runs.stop(conn, first.run_id, by="ada@loom", why="Ctrl-C", at=first.finished_at)
        allowed = 0
    for day in ("2026-01-01", "2026-01-02"):
        called_back(chain)
        assert {one.cost_usd for one in await two_sweeps(chain)} == {0}
        # Past midnight: what was spent was spent on another day.
        changed(chain, sa.update(table_of(Spend)).values(day=day))
        budgets = table_of(Budget)
        changed(chain, sa.delete(budgets).where(budgets.c.scope.startswith("day:")))
    assert (chain.asked(), chain.submissions()) == (allowed, {"hashtag:lvmh": 1})


async def test_a_post_that_two_requests_share_is_bought_under_the_one_that_has_room(chain: Any) -> None:
    """Two hashtags share every fifth post; the first request has spent its cap before any of them is bought."""
    chain.play("shared-posts")
    spent = await chain.track("LVMH", posts_per_hashtag=10, max_spend_usd=0.1, collection="fashion", wait=False)
    other = await chain.track("dior", posts_per_hashtag=10, max_spend_usd=0.13, collection="scent", wait=False)
    for _ in range(2):
        await two_sweeps(chain)
    assert (used(chain, spent.run_id), used(chain, other.run_id)) == (10 * CENT, 13 * CENT)
    assert chain.asked() == 3
    # Stopped, it gives the shared posts up to nobody: the other's request is at its cap.
    with chain.store() as store, store.begin() as conn:
        runs.stop(conn, other.run_id, by="ada@loom", why="Ctrl-C", at=other.finished_at)
    await two_sweeps(chain)
    assert chain.asked() == 3


@pytest.mark.parametrize("flow", [enrich_posts, import_posts])
async def test_a_stop_holds_posts_that_were_named_by_their_urls(chain: Any, flow: Any) -> None:
    urls = [f"https://www.tiktok.com/@someone/video/{7_312_000_000_000_000_000 + number}" for number in range(12)]
    chain.play("default", latency_ms=SLOW_MS)
    run = asyncio.create_task(chain._run(lambda: flow(urls, return_state=True)))
    await until(lambda: chain.asked() >= 2 or run.done())
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    chain.play("default")
    asked = chain.asked()
    called_back(chain)
    await two_sweeps(chain)
    assert (chain.asked(), asked < 12) == (asked, True)
    done = await chain._run(lambda: flow(urls, return_state=True))
    assert (done.enriched, done.pending, chain.asked()) == (12, 0, 12)


async def test_posts_that_arrive_after_a_stop_arrive_held(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    left = await chain.track("LVMH", posts_per_hashtag=10, wait=False)
    with chain.store() as store, store.begin() as conn:
        assert runs.stop(conn, left.run_id, by="ada@loom", why="Ctrl-C", at=left.finished_at)
    swept = await sweep(chain)
    assert (swept.enriched, swept.pending, swept.held) == (0, 10, 10)
    assert [one.state for one in swept.imports] == ["complete"], "polling what is paid for goes on"
    assert any("`tagtrail retry --held` goes on" in note for note in swept.notes)
    assert chain.asked() == 0


async def test_the_same_command_continues_after_the_time_of_re_use(chain: Any) -> None:
    asked = await stopped_after(chain, 3, "LVMH", posts_per_hashtag=20)
    imports = table_of(Import)
    long_ago = {name: imports.c[name] for name in ()}
    [row] = rows(chain, Import)
    for name in ("planned_at", "sending_at", "submitted_at", "first_item_at", "last_new_at", "last_polled_at"):
        long_ago[name] = getattr(row, name) and getattr(row, name) - timedelta(days=3)
    changed(chain, sa.update(imports).values(long_ago))
    # What was measured is too old to be fresh, and is not bought again all the same.
    done = await chain.track("LVMH", posts_per_hashtag=20, max_age_hours=0)
    assert (done.outcome, done.enriched, done.imports[0].import_id) == ("done", 20, row.import_id)
    assert (chain.asked(), asked < 20) == (20, True)
    assert chain.submissions() == {"hashtag:lvmh": 1}
    again = await chain.track("LVMH", posts_per_hashtag=20)
    assert again.imports[0].import_id != row.import_id, "nothing is left of it: this is a new request"


async def test_a_scheduled_run_does_not_pay_for_yesterday_s_rest(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await stopped_after(chain, 3, "LVMH", posts_per_hashtag=20)
    [row] = rows(chain, Import)
    yesterday = row.submitted_at - timedelta(days=1)
    changed(chain, sa.update(table_of(Import)).values(submitted_at=yesterday, planned_at=yesterday))
    monkeypatch.setattr("flows.steps.imports.plan.is_scheduled", lambda: True)
    before = chain.asked()
    daily = await chain.track("LVMH", posts_per_hashtag=2)
    assert daily.imports[0].import_id != row.import_id
    assert chain.asked() - before <= 2
    assert {one.state for one in rows(chain, Work)} == {"pending", "done"}


async def test_another_collection_pays_for_a_post_that_it_lists_and_ends_its_hold(chain: Any) -> None:
    """Two hashtags share every fifth post."""
    asked = await stopped_after(chain, 3, "LVMH", posts_per_hashtag=20, collection="fashion")
    held = {(row.platform, row.post_id) for row in rows(chain, Work) if row.state == "pending"}
    assert len(held) + asked == 20
    chain.play("shared-posts")
    done = await chain.track("LVMH", posts_per_hashtag=5, collection="scent", namespace="scent")
    assert (done.outcome, done.enriched) == ("done", 5)
    await two_sweeps(chain)
    left = {(row.platform, row.post_id) for row in rows(chain, Work) if row.state == "pending"}
    assert left < held, "those that the other collection listed were bought, and no other"
    assert len(held) - len(left) <= 5
    assert set(chain.bought().values()) == {1}


@pytest.mark.usefixtures("each_database")
async def test_a_living_run_keeps_what_it_asks_for_too(chain: Any) -> None:
    chain.play("default", latency_ms=SLOW_MS)
    urls = [f"https://www.tiktok.com/@someone/video/{7_312_000_000_000_000_000 + number}" for number in range(12)]
    living = asyncio.create_task(chain.enrich(*urls, collection="one"))
    await until(lambda: chain.asked() >= 1 or living.done())
    stopped = asyncio.create_task(chain.enrich(*urls, collection="two"))
    await until(lambda: len(rows(chain, Run)) == 2)
    await until(lambda: {row.collection for row in rows(chain, Run)} == {"one", "two"})
    stopped.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopped
    summary = await living
    assert (summary.outcome, summary.enriched, summary.pending) == ("done", 12, 0)
    assert set(chain.bought().values()) == {1}


@pytest.mark.usefixtures("each_database")
async def test_retry_held_goes_on_with_all_of_it_or_with_one_collection(chain: Any) -> None:
    await stopped_after(chain, 2, "LVMH", posts_per_hashtag=10, collection="fashion")
    await stopped_after(chain, chain.asked() + 2, "dior", posts_per_hashtag=10, collection="scent")
    chain.play("default")
    fashion = await sweep(chain, held=True, collection="fashion")
    assert (fashion.outcome, fashion.pending, fashion.collection) == ("done", 0, "fashion")
    held = [row for row in rows(chain, Work) if row.state == "pending"]
    assert held, "the other collection's are held still"
    await two_sweeps(chain)
    assert [row for row in rows(chain, Work) if row.state == "pending"] == held
    every = await sweep(chain, held=True)
    assert (every.outcome, every.pending, every.enriched) == ("done", 0, len(held))
    nothing = await sweep(chain, held=True)
    assert (nothing.outcome, nothing.requested) == ("done", 0)
    assert "nothing is held" in nothing.notes
    assert set(chain.bought().values()) == {1}
    wrong = await sweep(chain, collection="fashion")
    assert wrong.wrong_usage


async def test_what_a_held_run_leaves_at_its_cap_is_taken_up_by_the_next(chain: Any) -> None:
    asked = await stopped_after(chain, 2, "LVMH", posts_per_hashtag=10)
    first = await sweep(chain, held=True, max_spend_usd=0.02)
    assert (first.outcome, first.enriched, first.out_of_room) == ("halted", 2, 10 - asked - 2)
    await two_sweeps(chain)
    assert chain.asked() == asked + 2
    rest = await sweep(chain, held=True)
    assert (rest.outcome, rest.pending, chain.asked()) == ("done", 0, 10)


async def test_an_import_that_was_not_sent_is_held_too(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second submission has its turn a minute later.
    monkeypatch.setenv("TAGTRAIL_IMPORTS_PER_MINUTE", "1")
    await stopped_after(chain, 2, "LVMH", "dior", posts_per_hashtag=4)
    monkeypatch.setenv("TAGTRAIL_IMPORTS_PER_MINUTE", "6000")
    changed(chain, sa.text("DELETE FROM rate_limits"))
    states = {row.hashtag: row.state for row in rows(chain, Import)}
    assert sorted(states.values()) == ["collecting", "planned"] or sorted(states.values()) == ["complete", "planned"]
    await two_sweeps(chain)
    assert len(chain.submissions()) == 1
    # A schedule's run of the same hashtags leaves it alone, and plans its own.
    [planned] = [row for row in rows(chain, Import) if row.state == "planned"]
    with monkeypatch.context() as patch:
        patch.setattr("flows.steps.imports.plan.is_scheduled", lambda: True)
        daily = await chain.track(planned.hashtag, posts_per_hashtag=4)
    assert daily.imports[0].import_id != planned.import_id
    assert [row.state for row in rows(chain, Import) if row.import_id == planned.import_id] == ["planned"]
    done = await sweep(chain, held=True)
    assert done.outcome == "done"
    assert chain.submissions()[f"hashtag:{planned.hashtag}"] == 2
    assert "planned" not in {row.state for row in rows(chain, Import)}


async def test_a_sweep_that_is_cancelled_holds_what_it_took_up(chain: Any) -> None:
    left = await chain.track("LVMH", posts_per_hashtag=20, wait=False)
    chain.play("default", latency_ms=SLOW_MS)
    run = asyncio.create_task(sweep(chain))
    await until(lambda: chain.asked() >= 2 or run.done())
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    chain.play("default")
    asked = chain.asked()
    await two_sweeps(chain)
    assert chain.asked() == asked
    done = await sweep(chain, held=True)
    assert (done.outcome, done.pending, chain.asked()) == ("done", 0, 20)
    # What came after the hold is the request of whoever ended it.
    assert used(chain, left.run_id) < 40 * CENT


@pytest.mark.usefixtures("each_database")
async def test_a_run_that_crashed_is_taken_up_within_what_it_was_allowed(chain: Any) -> None:
    left = await chain.track("LVMH", posts_per_hashtag=20, max_spend_usd=0.24, wait=False)
    changed(chain, sa.update(table_of(Run)).values(finished_at=None, outcome=None, message=None))
    await two_sweeps(chain)
    assert (chain.asked(), used(chain, left.run_id)) == (4, 24 * CENT)
    [crashed] = [row for row in rows(chain, Run) if row.run_id == left.run_id]
    assert (crashed.outcome, crashed.message) == ("failed", runs.CRASHED), "nobody is asked about it again"


@pytest.mark.parametrize("state", [Cancelling(), Cancelled()])
async def test_prefect_knows_whether_a_person_ended_a_run_whose_process_is_gone(chain: Any, state: Any) -> None:
    left = await chain.track("LVMH", posts_per_hashtag=10, wait=False)
    async with get_client() as client:
        await client.set_flow_run_state(left.run_id, state, force=True)
    changed(chain, sa.update(table_of(Run)).values(finished_at=None, outcome=None, message=None))
    swept = await sweep(chain)
    assert (swept.enriched, swept.held) == (0, 10)
    await two_sweeps(chain)
    assert chain.asked() == 0
    [stopped] = [row for row in rows(chain, Run) if row.run_id == left.run_id]
    assert (stopped.stopped_by, stopped.stopped_why) == ("somebody in Prefect", "cancelled in Prefect")


async def test_a_run_hears_that_it_was_cancelled_in_prefect(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that no worker started, whom nobody ends by a signal."""
    monkeypatch.setattr(listening, "LOOK_SECONDS", 0.2)
    chain.play("default", latency_ms=SLOW_MS)
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "5")
    run = asyncio.create_task(chain.track("LVMH", posts_per_hashtag=60))
    await until(lambda: chain.asked() >= 3 or run.done())
    [row] = rows(chain, Run)
    async with get_client() as client:
        await client.set_flow_run_state(row.run_id, Cancelling(), force=True)
    await until(lambda: rows(chain, Run)[0].stopped_at is not None)
    stopped_at = rows(chain, Run)[0].stopped_at.timestamp()
    with contextlib.suppress(BaseException):
        await run
    times = chain.sandbox.accounting()["times"]
    assert [at for kind in times if kind != "status" for at in times[kind] if at > stopped_at + 0.2] == []
    asked = chain.asked()
    assert asked < 60
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "500")
    await two_sweeps(chain)
    assert chain.asked() == asked
    [row] = [one for one in rows(chain, Run) if one.run_id == row.run_id]
    assert (row.outcome, row.stopped_by) == ("cancelled", "somebody in Prefect")


async def test_where_the_service_refuses_a_sweep_tries_with_one_call_an_hour(chain: Any) -> None:
    chain.play("credits-gone")
    halted = await chain.track("LVMH", posts_per_hashtag=20)
    assert (halted.outcome, halted.waiting > 0, halted.held) == ("halted", True, 0)
    asked = chain.asked()
    assert [(await sweep(chain)).outcome for _ in range(3)] == ["halted"] * 3
    assert chain.asked() == asked + 1, "three sweeps within an hour make one call"

    later = sa.text("UPDATE meta SET value = replace(value, :now, :then) WHERE key LIKE 'service refused%'")
    year = str(datetime.now(UTC).year)
    changed(chain, later.bindparams(now=f'"tried_at":"{year}', then=f'"tried_at":"{int(year) - 1}'))
    assert (await sweep(chain)).outcome == "halted"
    assert chain.asked() == asked + 2
    changed(chain, later.bindparams(now=f'"tried_at":"{year}', then=f'"tried_at":"{int(year) - 1}'))
    chain.play("default")
    served = await sweep(chain)
    assert (served.outcome, served.pending) == ("done", 0), "one call is answered, and all goes on"
    assert rows(chain, Work)[0].state == "done"


async def test_a_living_run_s_given_posts_are_not_touched(chain: Any) -> None:
    chain.play("default", latency_ms=SLOW_MS)
    urls = [f"https://www.tiktok.com/@someone/video/{7_312_000_000_000_000_000 + number}" for number in range(6)]
    living = asyncio.create_task(chain.enrich(*urls))
    await until(lambda: len(rows(chain, Work)) == 6)
    swept = await sweep(chain)
    assert swept.requested == 0
    assert (await living).enriched == 6
    with chain.store() as store, store.connect() as conn:
        assert leases.living_runs(conn) == set()
