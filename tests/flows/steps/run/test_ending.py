"""The last look at a run: its sums, also where it was halted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.errors import NoCredits, TagtrailError
from flows.steps.run.request import RunRequest
from flows.steps.run.summary import Ending, RunSummary, message_of, outcome_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(("halted", "outcome"), [(None, "failed"), (NoCredits("no credits"), "halted")])
@pytest.mark.parametrize(("pending", "agree"), [(7, True), (5, False)])
def test_sums_that_do_not_agree_are_told(
    halted: TagtrailError | None, outcome: str, pending: int, *, agree: bool
) -> None:
    ending = Ending(RunRequest(wait=False), halted=halted, posts=10)
    parts: dict[str, Any] = {"requested": 10, "enriched": 3, "failed": 0, "gone": 0, "pending": pending}
    summary = RunSummary(run_id="r", flow="f", outcome="done", message="", started_at=NOW, finished_at=NOW, **parts)
    ended = outcome_of(ending, summary)
    assert ended == ("done" if agree and halted is None else outcome)
    told = "requested 10 posts, but enriched + failed + gone + pending = 8" in message_of(ending, summary)
    assert told is not agree
