"""What a failed call means for the whole account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.errors import MemoriesError, NoAnswer, ServerFault, TooManyRequests
from blocks.posts.identity import parse_post_url
from blocks.quotas.rate_limiter import Limiter
from flows.steps.enrichment.circuit_breaker import Channels
from flows.steps.enrichment.fetch import _count_failed_call
from flows.steps.enrichment.post_state import PostTask
from flows.steps.prefect_side.run_log import RunLog
from flows.steps.run.call_limits import CallLimits
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.journal import Journal
from flows.steps.run.progress import Progress


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (TooManyRequests("slow down"), 1),
        (TooManyRequests("slow down", retry_after_seconds=7), 7),
        (ServerFault("overloaded", http_status=503, retry_after_seconds=9), 9),
        (ServerFault("overloaded", http_status=503), None),
        (NoAnswer("lost"), None),
    ],
)
async def test_a_wait_that_the_server_names_is_the_whole_accounts(
    sqlite_store: Store, error: MemoriesError, pause: float | None
) -> None:
    limiter = Limiter(sqlite_store, "a", {"metadata/apify": 10.0})
    progress = Progress()
    halt = HaltSwitch(Journal(progress).note)
    run: Any = SimpleNamespace(
        channels=Channels(("apify",)), limits=CallLimits(limiter, halt, progress, 1), progress=progress, log=RunLog()
    )
    post = PostTask(parse_post_url("https://www.instagram.com/p/DNb_x1/"), None)
    before = datetime.now(UTC)
    await _count_failed_call(run, post, "apify", error)
    until = run.progress.paused_until
    assert (until is None) == (pause is None)
    if until is not None and pause is not None:
        rounded = timedelta(milliseconds=1)
        assert before - rounded <= until - timedelta(seconds=pause) <= datetime.now(UTC) + rounded
    assert post.unseen == isinstance(error, NoAnswer)
    await limiter.aclose()
