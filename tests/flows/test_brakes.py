"""Where going on only costs: resting channels, the kill switch, a slow limit, a wall of 403, submissions in doubt."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from blocks.posts.platforms.registry import PLATFORMS
from deployments.sandbox.answers import HTML, Answer
from deployments.sandbox.faults import KINDS
from deployments.sandbox.scenarios import SCENARIOS, Fault, Scenario
from flows.steps.enrichment.circuit_breaker import MAX_FAILED_PROBES, MAX_FAILURES
from flows.steps.prefect_side import kill_switch
from flows.steps.run.halt_switch import MAX_AMBIGUOUS


@pytest.fixture(autouse=True)
def calm(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls so far apart that few are under way at once."""
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "20")
    monkeypatch.setenv("TAGTRAIL_CHANNEL_REST_SECONDS", "0.3")


@pytest.fixture
def play(weather: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def faults(*struck: Fault) -> None:
        monkeypatch.setitem(SCENARIOS, "of-this-test", Scenario(about="faults of this test", faults=struck))
        weather.play("of-this-test")

    monkeypatch.setitem(KINDS, "html_403", lambda _: Answer(403, b"<html>Forbidden</html>", "html-403", kind=HTML))
    return faults


def tiktok(count: int) -> list[str]:
    return [f"https://www.tiktok.com/@someone/video/{7_311_000_000_000_000_000 + number}" for number in range(count)]


def youtube(count: int) -> list[str]:
    return [f"https://www.youtube.com/watch?v=abcdefgh{number:03d}" for number in range(count)]


def asked_of(weather: Any, platform: str) -> int:
    posts = weather.sandbox.accounting()["metadata"]
    return sum(
        sum(codes.values()) for post, by in posts.items() if post.startswith(f"{platform}:") for codes in by.values()
    )


def asked_by_channel(weather: Any) -> Counter[str]:
    asked: Counter[str] = Counter()
    for by in weather.sandbox.accounting()["metadata"].values():
        asked.update({channel: sum(codes.values()) for channel, codes in by.items()})
    return asked


async def test_posts_that_only_resting_channels_could_serve_cost_few_calls(
    weather: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_RETRY_SECONDS", "0.5")
    play(
        Fault(on="metadata", kind="bad", every=2, times=None, channels=("apify",)),
        Fault(on="metadata", kind="html_503", every=1, times=None, channels=("rapid", "memories.ai")),
    )
    summary = await weather.enrich(*tiktok(60), posts_per_task=10)
    assert (summary.outcome, summary.exit_status) == ("halted", 4)
    assert "rapid and memories.ai answered no call" in summary.message
    assert summary.enriched > 10, "apify serves these, and went on with them"
    assert (summary.failed, summary.pending) == (0, 60 - summary.enriched), summary.failures
    assert summary.pending > 20
    asked = asked_by_channel(weather)
    assert asked["apify"] >= 60
    # Until each rests, what is under way then, and one after each rest.
    for channel in ("rapid", "memories.ai"):
        assert asked[channel] <= MAX_FAILURES + 6 + MAX_FAILED_PROBES + 1, asked
    weather.play("default")
    again = await weather.enrich(*tiktok(60), posts_per_task=10)
    assert (again.outcome, again.enriched) == ("done", 60)


async def set_kill_switch(limit: int) -> None:
    async with get_client() as client:
        await client.upsert_global_concurrency_limit_by_name(kill_switch.KILL_SWITCH, limit)


async def test_the_kill_switch_ends_the_buying_while_posts_wait_for_a_slow_limit(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One a second instead of one in five minutes.
    monkeypatch.setitem(PLATFORMS, "youtube", replace(PLATFORMS["youtube"], calls_per_hour={"rapid": 3600.0}))
    running = asyncio.create_task(weather.enrich(*youtube(30), channel="rapid"))
    while weather.asked() < 2:
        await asyncio.sleep(0.05)
    try:
        await set_kill_switch(0)
        asked = weather.asked()
        halted = await asyncio.wait_for(running, 60)
    finally:
        await set_kill_switch(kill_switch.ON)
    assert (halted.outcome, halted.exit_status) == ("halted", 4)
    assert kill_switch.KILL_SWITCH in halted.message
    # Two seconds until it is read; a busy machine may take its time.
    assert halted.enriched == weather.asked() <= asked + 10
    assert halted.enriched + halted.pending == 30


async def test_posts_of_a_slow_limit_keep_no_others_waiting(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_IN_FLIGHT", "4")
    running = asyncio.create_task(weather.enrich(*youtube(40), *tiktok(10), channel="rapid"))
    try:
        async with asyncio.timeout(60):
            while asked_of(weather, "tiktok") < 10:
                assert not running.done()
                await asyncio.sleep(0.1)
        assert asked_of(weather, "youtube") <= 1, "twelve an hour"
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_wall_of_403_ends_the_run_after_few_calls(weather: Any, play: Any) -> None:
    play(Fault(on="metadata", kind="html_403", every=1, times=None))
    summary = await weather.enrich(*tiktok(30), posts_per_task=10)
    assert (summary.outcome, summary.exit_status, summary.cost_usd) == ("halted", 4, 0)
    assert "HTTP 403" in summary.message
    assert (summary.failed, summary.pending) == (0, 30)
    assert weather.asked() <= MAX_FAILURES + 10, "and what was under way then"
    weather.play("default")
    again = await weather.enrich(*tiktok(30), posts_per_task=10)
    assert (again.outcome, again.enriched) == ("done", 30)


async def test_few_posts_that_are_answered_403_fail_by_themselves(weather: Any, play: Any) -> None:
    play(Fault(on="metadata", kind="html_403", every=9, times=None))
    summary = await weather.enrich(*tiktok(40), posts_per_task=10)
    assert (summary.outcome, summary.exit_status) == ("attention", 3)
    assert summary.failures == {"PermissionDenied": 40 - summary.enriched}
    assert 0 < summary.failed < 15


async def test_after_three_submissions_in_doubt_no_other_is_sent(weather: Any, play: Any) -> None:
    tags = [f"tag{number}" for number in range(8)]
    play(Fault(on="submit", kind="html_502", every=1, times=None))
    summary = await weather.track(*tags, posts_per_hashtag=2)
    assert (summary.outcome, summary.exit_status) == ("attention", 3)
    assert Counter(one.state for one in summary.imports) == {"ambiguous": MAX_AMBIGUOUS, "planned": 8 - MAX_AMBIGUOUS}
    assert weather.sandbox.accounting()["faults"]["html_502"] == MAX_AMBIGUOUS
    assert [note.partition(",")[0] for note in summary.notes if "in a row" in note] == [
        "3 submissions in a row ended in doubt"
    ]
    assert summary.cost_usd == pytest.approx(MAX_AMBIGUOUS * 2 * 0.01)
    weather.play("default")
    again = await weather.track(*tags, posts_per_hashtag=2)
    assert Counter(one.state for one in again.imports) == {"ambiguous": MAX_AMBIGUOUS, "complete": 8 - MAX_AMBIGUOUS}
    assert set(weather.submissions().values()) == {1}
    assert len(weather.submissions()) == 8 - MAX_AMBIGUOUS
