"""The run graph of the main flow, as Prefect's server knows it: each hashtag leads over its polls to its posts."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun, TaskRunResult


async def recorded(run_id: str, enriched: int) -> dict[uuid.UUID, TaskRun]:
    """The task runs of a flow run; the server writes them down a while after they have ended."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[uuid.UUID(run_id)]))
    async with get_client() as client:
        while True:
            runs = await client.read_task_runs(flow_run_filter=of_run)
            posts = [run for run in runs if run.name.startswith("enrich ")]
            if len(posts) == enriched and all(run.state_type is not None and run.end_time for run in runs):
                return {run.id: run for run in runs}
            await asyncio.sleep(0.2)


def upstream(run: TaskRun, runs: dict[uuid.UUID, TaskRun]) -> set[str]:
    """The names of the task runs whose results it was given."""
    inputs = [one for taken in run.task_inputs.values() for one in taken if isinstance(one, TaskRunResult)]
    return {runs[one.id].name for one in inputs}


async def test_each_hashtag_leads_over_its_polls_to_its_posts(weather: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_IMPORT_QUIET_SECONDS", "3600")
    monkeypatch.setenv("TAGTRAIL_IMPORT_DEADLINE_SECONDS", "3600")
    weather.play("default", pause_after=3, pause_seconds=1e6)
    running = asyncio.create_task(weather.track("lvmh", "dior", posts_per_hashtag=6))
    # Both hashtags list the others only after their first posts were bought: nobody waits for an import's end.
    async with asyncio.timeout(100):
        while weather.asked() < 6:
            await asyncio.sleep(0.05)
    weather.sandbox.advance(2e6)
    summary = await running
    assert (summary.outcome, summary.enriched) == ("done", 12)
    async with asyncio.timeout(60):
        runs = await recorded(summary.run_id, 12)
    submitted = [run for run in runs.values() if run.name.startswith("submit ")]
    polls = [run for run in runs.values() if run.name.startswith("poll ")]
    posts = [run for run in runs.values() if run.name.startswith("enrich ")]
    assert sorted(run.name for run in submitted) == ["submit #dior", "submit #lvmh"]
    assert [upstream(run, runs) for run in submitted] == [set(), set()]
    for poll in polls:
        assert upstream(poll, runs) == {poll.name.replace("poll", "submit")}
    assert {frozenset(upstream(post, runs)) for post in posts} == {frozenset({"poll #dior"}), frozenset({"poll #lvmh"})}
    assert len(polls) >= 4, "a poll ends as soon as something new is listed"
    again = await weather.track("lvmh", "dior", posts_per_hashtag=6)
    assert (again.outcome, again.enriched, again.cost_usd) == ("done", 12, 0)
