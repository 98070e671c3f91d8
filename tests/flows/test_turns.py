"""A call leaves on its slot or not at all: what keeps calls waiting after their slots does not let them go together."""

from __future__ import annotations

import asyncio
import bisect
import time
from itertools import pairwise
from typing import Any

import pytest

from blocks.database.store import imports as ledger
from blocks.memories.client import MemoriesClient
from blocks.quotas.budget import Budget
from flows.steps.run import lease_health

POSTS = [f"https://www.tiktok.com/@someone/video/7{number:018d}" for number in range(45)]


def busiest_second(times: list[float]) -> int:
    return max(bisect.bisect_left(times, at + 1.0) - number for number, at in enumerate(times))


async def test_calls_that_waited_for_the_database_do_not_leave_together(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []
    take, metadata = Budget.reserve, MemoriesClient.metadata
    stuck_until = 0.0

    async def taken(self: Budget, *what: Any, **more: Any) -> Any:
        nonlocal stuck_until
        stuck_until = stuck_until or time.monotonic() + 2.5
        # As where another program holds the database: whoever comes meanwhile goes on at its end.
        await asyncio.sleep(max(0.0, stuck_until - time.monotonic()))
        return await take(self, *what, **more)

    async def asked(self: MemoriesClient, *what: Any, **more: Any) -> Any:
        left.append(time.monotonic())
        return await metadata(self, *what, **more)

    monkeypatch.setattr(Budget, "reserve", taken)
    monkeypatch.setattr(MemoriesClient, "metadata", asked)
    monkeypatch.setenv("TAGTRAIL_METADATA_PER_SECOND", "10")
    summary = await weather.enrich(*POSTS)
    assert (summary.enriched, sum(summary.calls.values()), len(left)) == (len(POSTS), len(POSTS), len(POSTS))
    assert min(left) >= stuck_until
    # 11 by the limiter; one more where a busy machine comes between the slot and the call. Slots before money: 30.
    assert busiest_second(sorted(left)) <= 12
    again = await weather.enrich(*POSTS)
    assert (again.enriched, again.cost_usd, len(left)) == (len(POSTS), 0, len(POSTS))


async def test_imports_that_waited_for_the_database_are_not_sent_together(
    weather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[float] = []
    mark = ledger.mark_sending
    stuck_until = 0.0

    def marked(*what: Any, **more: Any) -> bool:
        nonlocal stuck_until
        stuck_until = stuck_until or time.monotonic() + 4.0
        time.sleep(max(0.0, stuck_until - time.monotonic()))
        return mark(*what, **more)

    def answer(call: str, key: str, number: int, served: Any) -> Any:
        if call == "submit":
            sent.append(time.monotonic())
        return served.serve()

    monkeypatch.setattr(ledger, "mark_sending", marked)
    weather.sandbox.answer_by(answer)
    monkeypatch.setattr(lease_health, "HEARTBEAT_SECONDS", 60.0)
    monkeypatch.setenv("TAGTRAIL_IMPORTS_PER_MINUTE", "30")
    summary = await weather.track("one", "two", "three", posts_per_hashtag=2)
    assert [one.state for one in summary.imports] == ["complete"] * 3
    assert weather.submissions() == {"hashtag:one": 1, "hashtag:two": 1, "hashtag:three": 1}
    gaps = [after - before for before, after in pairwise(sent)]
    # Two seconds apart by the limiter; a busy machine may bring them nearer. If no slot grew too old: 0.4 s.
    assert min(gaps) > 1.2, gaps
