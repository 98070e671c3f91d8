"""The work pool and the operator's limit."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.setup.steps import Step
from flows.steps.prefect_side.kill_switch import VALVE, VALVE_SLOTS, ensure_valve


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
    """Make the limit that every group of calls passes; one that stands is left as the operator set it."""
    try:
        found = await client.read_global_concurrency_limit_by_name(VALVE)
    except ObjectNotFound:
        await ensure_valve()
        return Step("limit", VALVE, "made", f"{VALVE_SLOTS} groups of calls at once; 0 stops all buying")
    return Step("limit", VALVE, "kept", f"at {found.limit}")
