"""A service that answers no metadata call: runs wait for it, find it again, and end at once where they are told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from blocks.errors import ValveClosed
from flows.steps.enrichment import circuit_breaker
from flows.steps.run.halt_switch import HaltSwitch


@pytest.fixture(autouse=True)
def patient(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No post uses up its patience before the others are listed."""
    monkeypatch.setenv("TAGTRAIL_RETRY_SECONDS", "0.5")


async def test_a_service_that_is_down_costs_few_calls_and_leaves_the_posts_pending(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_CHANNEL_REST_SECONDS", "0.3")
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "20")
    weather.play("channels-down")
    summary = await weather.track("lvmh", posts_per_hashtag=25)
    assert (summary.outcome, summary.exit_status) == ("halted", 4)
    assert (summary.enriched, summary.failed, summary.pending) == (0, 0, summary.requested)
    # Five on each channel and those under way then, and one after each rest: who waits for his turn does not go.
    assert weather.asked() <= 3 * 12 + 9
    rests = [int(note.split()[3]) for note in summary.notes if " rested " in note]
    assert (len(rests), max(rests)) == (3, 3), "the first channel that rested three times in vain ends the run"
    weather.play("default")
    again = await weather.track("lvmh", posts_per_hashtag=25)
    assert (again.outcome, again.enriched) == ("done", 25)
    assert sum(weather.submissions().values()) == 1


async def test_a_service_that_comes_back_is_found_by_one_call_and_serves_all(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = circuit_breaker.Channels.failed

    def back_after_a_rest_in_vain(self: circuit_breaker.Channels, *args: Any, **more: Any) -> bool:
        rests = failed(self, *args, **more)
        if max(self.times_opened.values(), default=0) == 2:
            weather.play("default")
        return rests

    monkeypatch.setattr(circuit_breaker.Channels, "failed", back_after_a_rest_in_vain)
    monkeypatch.setenv("TAGTRAIL_CHANNEL_REST_SECONDS", "0.6")
    weather.play("channels-down")
    summary = await weather.track("lvmh", posts_per_task=10)
    assert (summary.outcome, summary.enriched, summary.failed) == ("done", 10, 0)
    assert set(weather.bought().values()) == {1}


async def test_waiting_for_a_service_that_is_down_ends_at_once(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pause, waiting = HaltSwitch.pause, asyncio.Event()
    rest, resting = circuit_breaker.Channels.wait_seconds, [False]

    def all_rest(self: circuit_breaker.Channels, refused_by: Any) -> float:
        resting[0] = all(self[channel].state != "closed" for channel in self.order)
        return rest(self, refused_by)

    async def told(halt: HaltSwitch, seconds: float) -> None:
        if resting[0]:
            if not waiting.is_set():
                asyncio.get_running_loop().call_soon(halt.pull, ValveClosed("an operator closed it"))
            waiting.set()
        await pause(halt, seconds)

    monkeypatch.setattr(circuit_breaker.Channels, "wait_seconds", all_rest)
    monkeypatch.setattr(HaltSwitch, "pause", told)
    monkeypatch.setenv("TAGTRAIL_CHANNEL_REST_SECONDS", "3600")
    weather.play("channels-down")
    running = asyncio.create_task(weather.track("lvmh", posts_per_task=10))
    await asyncio.wait_for(waiting.wait(), 60)
    ended = await asyncio.wait_for(running, 60)
    assert (ended.outcome, ended.failed, ended.pending) == ("halted", 0, ended.requested)
    weather.play("default")
    again = await weather.track("lvmh", posts_per_task=10)
    assert (again.outcome, again.enriched) == ("done", 10)
