"""The last look at a run: its sums, also where it was halted."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.errors import NoCredits, TagtrailError
from flows.steps.run import outcome as outcomes
from flows.steps.run.summary import RunSummary

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(("halted", "outcome"), [(None, "failed"), (NoCredits("no credits"), "halted")])
@pytest.mark.parametrize(("pending", "agree"), [(7, True), (5, False)])
def test_sums_that_do_not_agree_are_told(
    halted: TagtrailError | None, outcome: str, pending: int, *, agree: bool
) -> None:
    run: Any = SimpleNamespace(
        halted=halted,
        error=None,
        posts=dict.fromkeys(range(10)),
        wish=SimpleNamespace(wait=False, fresh=False),
        full=set(),
        callback_url=None,
    )
    parts: dict[str, Any] = {"requested": 10, "enriched": 3, "failed": 0, "gone": 0, "pending": pending}
    summary = RunSummary(run_id="r", flow="f", outcome="done", message="", started_at=NOW, finished_at=NOW, **parts)
    ended = outcomes._outcome(run, summary, broken=None)
    assert ended == ("done" if agree and halted is None else outcome)
    told = "requested 10 posts, but enriched + failed + gone + pending = 8" in outcomes._message(
        run, summary, broken=None
    )
    assert told is not agree
