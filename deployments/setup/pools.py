"""The work pool and the operator's kill switch."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.setup.steps import Step
from flows.steps.prefect_side import kill_switch
from flows.steps.prefect_side.kill_switch import KILL_SWITCH


async def ensure_pool(client: PrefectClient, name: str) -> Step:
    """Make the work pool (of type process) where there is none; one that stands is left as it is, whatever its type."""
    try:
        pool = await client.read_work_pool(name)
        return Step("work pool", name, "kept", f"of type {pool.type}")
    except ObjectNotFound:
        wanted = WorkPoolCreate(
            name=name, type=ProcessWorker.type, base_job_template=ProcessWorker.get_default_base_job_template()
        )
    try:
        await client.create_work_pool(wanted)
    except ObjectAlreadyExists:
        return Step("work pool", name, "kept")  # a worker that was just started made it
    return Step("work pool", name, "made", f"start a worker: prefect worker start --pool {name}")


async def ensure_limit(client: PrefectClient) -> Step:
    """Make the limit that stops all buying at 0; one that stands is left as the operator set it."""
    try:
        found = await client.read_global_concurrency_limit_by_name(KILL_SWITCH)
    except ObjectNotFound:
        await kill_switch.ensure_limit(client)
        return Step("limit", KILL_SWITCH, "made", "0 stops all buying")
    return Step("limit", KILL_SWITCH, "kept", f"at {found.limit}")
