"""A scheduled run re-uses imports for at most half its interval, by what the server has scheduled next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from flows.steps.imports.plan import capped_reuse_hours, reuse_hours_for_this_run

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("following", "hours"),
    [(None, 6), (NOON + timedelta(hours=24), 6), (NOON + timedelta(hours=4), 2), (NOON - timedelta(hours=1), 6)],
)
def test_half_the_interval_at_most(following: datetime | None, hours: float) -> None:
    assert capped_reuse_hours(6, NOON, following) == hours
    assert capped_reuse_hours(1, NOON, following) == 1


@flow(persist_result=False)
async def asks() -> float:
    return await reuse_hours_for_this_run(6)


async def test_the_next_scheduled_run_of_the_deployment_is_found(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with get_client() as client:
        flow_id = await client.create_flow(asks)
        deployment_id = await client.create_deployment(flow_id, "every-four-hours", entrypoint="x.y")
        following = await client.create_flow_run_from_deployment(
            deployment_id, state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=4))
        )
    by_hand = FlowRun.model_fields["auto_scheduled"].default
    assert by_hand is False
    assert await asks() == 6, "a run by hand keeps its hours"

    async def read_flow_runs(self: Any, **_: Any) -> list[FlowRun]:
        # Sooner comes a run of the deployment's other schedule, for another hashtag.
        sooner = {
            "id": uuid4(),
            "parameters": {"hashtags": ["dior"]},
            "expected_start_time": datetime.now(UTC) + MINUTE,
        }
        scheduled = following.model_copy(update={"auto_scheduled": True})
        return [scheduled.model_copy(update=sooner), scheduled]

    monkeypatch.setattr("prefect.client.orchestration.PrefectClient.read_flow_runs", read_flow_runs)
    from prefect.context import FlowRunContext

    class Context:
        flow_run = following.model_copy(
            update={"auto_scheduled": True, "expected_start_time": datetime.now(UTC), "id": flow_id}
        )

    monkeypatch.setattr(FlowRunContext, "get", classmethod(lambda cls: Context))
    assert await reuse_hours_for_this_run(6) == pytest.approx(2, abs=0.01)
