"""Runs that are cut short, by a database or by somebody: what is under way is paid for, and taken in."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from typing import Any

import pytest

from blocks.errors import StoreError
from blocks.memories.client import MemoriesClient
from blocks.posts.identity import parse_post_url
from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports import poll

SLOW_MS = 500


def urls(count: int) -> list[str]:
    return [f"https://www.tiktok.com/@someone/video/{7_312_000_000_000_000_000 + number}" for number in range(count)]


async def under_way(weather: Any, requests: int) -> None:
    """Until the service has taken so many requests."""
    while weather.sandbox.accounting()["requests"] < requests:
        await asyncio.sleep(0.01)


def once(weather: Any) -> bool:
    return set(weather.bought().values()) == {1}


async def test_a_claim_that_fails_cuts_off_no_call_under_way(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weather.play("default", latency_ms=SLOW_MS)
    monkeypatch.setenv("TAGTRAIL_IN_FLIGHT", "5")
    claim, claims = Enrichment._claim_for, itertools.count(1)

    async def second_fails(self: Enrichment, purpose: str, keys: list[str]) -> list[str]:
        if next(claims) == 2:
            await under_way(weather, 5)
            raise StoreError("the database stayed locked")
        return await claim(self, purpose, keys)

    monkeypatch.setattr(Enrichment, "_claim_for", second_fails)
    failed = await weather.enrich(*urls(12))
    assert (failed.outcome, failed.enriched, weather.asked()) == ("failed", 5, 5)
    assert "the database stayed locked" in failed.message
    done = await weather.enrich(*urls(12))
    assert (done.outcome, done.enriched, weather.asked()) == ("done", 12, 12)


@pytest.mark.parametrize("breaks", ["claim", "poll"])
async def test_a_database_that_fails_one_import_leaves_none_in_doubt(
    breaks: str, weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sendings = MemoriesClient.import_hashtag, itertools.count(1)
    second_is_sent, failed_at_all = threading.Event(), asyncio.Event()

    async def second_is_slow(self: MemoriesClient, *what: Any, **where: Any) -> str:
        task_id = await send(self, *what, **where)
        if next(sendings) == 2:
            second_is_sent.set()
            async with asyncio.timeout(20):
                await failed_at_all.wait()
            await asyncio.sleep(1)
        return task_id

    def broke(*_: Any, **__: Any) -> None:
        assert second_is_sent.wait(20)
        loop.call_soon_threadsafe(failed_at_all.set)
        raise StoreError("the connection broke")

    async def claim_broke(self: Enrichment, purpose: str, keys: list[str]) -> list[str]:
        await asyncio.to_thread(broke)
        return []

    async def poll_broke(*_: Any) -> None:
        await asyncio.to_thread(broke)

    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        patch.setattr(MemoriesClient, "import_hashtag", second_is_slow)
        if breaks == "claim":
            patch.setattr(Enrichment, "_claim_for", claim_broke)
        else:
            patch.setattr(poll, "poll_once", poll_broke)
        failed = await weather.track("one", "two")
    assert (failed.outcome, failed.exit_status) == ("failed", 1)
    assert "ambiguous" not in {one.state for one in failed.imports}
    done = await weather.track("one", "two")
    assert (done.outcome, done.enriched) == ("done", 20)
    assert weather.submissions() == {"hashtag:one": 1, "hashtag:two": 1}
    assert once(weather)


async def test_answers_under_way_are_taken_in_where_a_run_is_cancelled(weather: Any) -> None:
    weather.play("default", latency_ms=SLOW_MS)
    run = asyncio.create_task(weather.enrich(*urls(10)))
    await under_way(weather, 10)
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    assert weather.asked() == 10
    done = await weather.enrich(*urls(10))
    assert (done.outcome, done.enriched, weather.asked()) == ("done", 10, 10)


async def test_a_submission_under_way_is_written_down_where_a_run_is_cancelled(weather: Any) -> None:
    weather.play("default", latency_ms=SLOW_MS)
    run = asyncio.create_task(weather.track("lvmh"))
    await under_way(weather, 1)
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    weather.play("default")
    done = await weather.track("lvmh")
    assert (done.outcome, done.enriched, done.imports[0].state) == ("done", 10, "complete")
    assert weather.submissions() == {"hashtag:lvmh": 1}


async def test_a_run_that_slept_buys_nothing_that_another_took_over(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one process, so that the lease of a holder that lives is made to end by hand."""
    from blocks.database.store import leases, work
    from blocks.quotas.rate_limiter import Limiter
    from flows.steps.run import lease_health

    turn, turns, woken = Limiter.acquire, itertools.count(1), asyncio.Event()

    async def two_before_it_sleeps(self: Limiter, *names: str) -> None:
        if next(turns) > 2:
            await woken.wait()
        await turn(self, *names)

    monkeypatch.setattr(Limiter, "acquire", two_before_it_sleeps)
    slept = [0.0]
    awake = lease_health.awake_seconds
    monkeypatch.setattr(lease_health, "awake_seconds", lambda: awake() + slept[0])
    sleepy = asyncio.create_task(weather.enrich(*urls(12)))
    while weather.asked() < 2 and not sleepy.done():
        await asyncio.sleep(0.01)
    # Asleep for a minute: its leases ended, and nobody renews them.
    renewing = lease_health.LeaseHealth.renew

    async def asleep(self: lease_health.LeaseHealth, *whose: Any) -> None:
        if slept[0] == 0:
            await renewing(self, *whose)

    monkeypatch.setattr(lease_health.LeaseHealth, "renew", asleep)
    slept[0] = 60.0
    looked, look = list[bool](), work.still_mine

    def noted(*arguments: Any) -> bool:
        looked.append(look(*arguments))
        return looked[-1]

    monkeypatch.setattr(work, "still_mine", noted)
    with weather.store() as store, store.begin() as conn:
        refs = [parse_post_url(url) for url in urls(12)]
        monkeypatch.setattr(leases, "is_free", lambda *_, **__: True)
        taken = work.claim(conn, "another", refs, "enrich", fresh_after=None)
    lost = {item.ref.post_id for item in taken.claimed}
    assert len(lost) >= 10
    woken.set()
    async with asyncio.timeout(60):
        while len(looked) < 10:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert weather.asked() == 2
    sleepy.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sleepy
