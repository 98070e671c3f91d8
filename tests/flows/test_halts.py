"""A run that must stop stops: nothing more is sent, nothing waits for a slot, answers in flight are taken in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.run.progress import Progress, watch
from flows.track_hashtags import track_hashtags

FIVE = ("one", "two", "three", "four", "five")


async def test_a_fault_in_the_enrichment_ends_the_imports_too(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(self: Any, keys: list[str]) -> list[str]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Enrichment, "_claim", breaks)
    monkeypatch.setenv("TAGTRAIL_IMPORTS_PER_MINUTE", "6")
    with watch(Progress()) as progress:
        state = await track_hashtags(list(FIVE), posts_per_hashtag=5, return_state=True)
    assert state.is_failed()
    assert progress.summary is not None
    assert progress.summary.outcome == "failed"
    assert sum(weather.submissions().values()) <= 2


async def test_a_halted_run_does_not_wait_for_import_slots(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORTS_PER_MINUTE", "1")
    halted = await weather.track(*FIVE, posts_per_hashtag=5, max_spend_usd=0.06)
    assert (halted.outcome, halted.exit_status) == ("halted", 4)
    assert halted.seconds < 50, "five imports at one a minute would take four minutes"
    assert sum(weather.submissions().values()) <= 2
    assert halted.cost_usd <= 0.06


async def test_the_kill_switch_stops_imports_too(weather: Any) -> None:
    from prefect.client.orchestration import get_client

    from flows.steps.prefect_side.kill_switch import KILL_SWITCH, ON

    async with get_client() as client:
        await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, 0)
        try:
            halted = await weather.track("LVMH")
        finally:
            await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, ON)
    assert (halted.outcome, halted.cost_usd) == ("halted", 0)
    assert weather.submissions() == {}
    assert (await weather.track("LVMH")).outcome == "done"


async def test_a_cancelled_run_leaves_its_import_to_the_next_one(weather: Any) -> None:
    weather.play("slow")
    run = asyncio.create_task(weather.track("LVMH"))
    while not weather.submissions():
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.6)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    weather.play("default")
    done = await weather.track("LVMH")
    assert (done.outcome, done.enriched) == ("done", 10)
    assert weather.submissions() == {"hashtag:lvmh": 1}


async def test_a_collections_cap_holds_over_all_its_runs(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION", "0.15")
    first = await weather.track("LVMH", posts_per_hashtag=5, collection="study")
    second = await weather.track("dior", posts_per_hashtag=5, collection="study")
    other = await weather.track("dior", posts_per_hashtag=5, collection="another")
    assert (first.outcome, second.outcome, other.outcome) == ("done", "halted", "done")
    assert "per collection" in second.message
    assert round(first.cost_usd + second.cost_usd, 6) <= 0.15


async def test_the_kill_switch_ends_the_buying_of_a_run_under_way(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client

    from flows.steps.prefect_side.kill_switch import KILL_SWITCH, ON

    monkeypatch.setenv("TAGTRAIL_IN_FLIGHT", "5")
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "5")
    urls = [f"https://www.tiktok.com/@someone/video/{7_311_000_000_000_000_000 + number}" for number in range(100)]
    run = asyncio.create_task(weather.enrich(*urls))
    while weather.asked() < 3 and not run.done():
        await asyncio.sleep(0.05)
    async with get_client() as client:
        await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, 0)
        asked = weather.asked()
        try:
            halted = await run
        finally:
            await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, ON)
    assert (halted.outcome, halted.exit_status) == ("halted", 4)
    # Two seconds until it is read; a busy machine may take its time.
    assert halted.enriched == weather.asked() <= asked + 50
    assert halted.enriched + halted.pending == 100
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "500")
    done = await weather.enrich(*urls)
    assert (done.outcome, done.enriched, weather.asked()) == ("done", 100, 100)


async def test_the_cap_of_the_machine_holds_for_a_flow_that_names_none(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_RUN", "0.15")
    halted = await weather.track("lvmh")
    assert (halted.outcome, halted.cost_usd <= 0.15) == ("halted", True)
    assert "0.15 USD" in halted.message
