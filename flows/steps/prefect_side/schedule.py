"""What a schedule means for re-use: a daily run must not live on yesterday's import."""

from __future__ import annotations

from datetime import datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext


def capped_reuse_hours(reuse_hours: float, this: datetime | None, following: datetime | None) -> float:
    """At most half the time between a scheduled run and the next one; unchanged where there is no next one."""
    if this is None or following is None or following <= this:
        return reuse_hours
    return min(reuse_hours, (following - this).total_seconds() / 3600 / 2)


def is_scheduled() -> bool:
    """Whether this very flow run was started by its deployment's schedule: then it goes on with no other run's."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and bool(context.flow_run.auto_scheduled)


async def reuse_hours_for_this_run(reuse_hours: float) -> float:
    """`reuse_hours`, capped if this very flow run was started by its deployment's schedule.

    A deployment may have several schedules, for other hashtags each: the next run is the one with the same parameters.
    """
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if run is None or not run.auto_scheduled or run.deployment_id is None:
        return reuse_hours
    this = run.expected_start_time
    async with get_client() as client:
        upcoming = await client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[run.deployment_id])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                expected_start_time=FlowRunFilterExpectedStartTime(after_=this),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=200,
        )
    alike = (one for one in upcoming if one.auto_scheduled and one.parameters == run.parameters)
    later = (one.expected_start_time for one in alike if one.id != run.id)
    following = next((moment for moment in later if moment is not None and this is not None and moment > this), None)
    return capped_reuse_hours(reuse_hours, this, following)
