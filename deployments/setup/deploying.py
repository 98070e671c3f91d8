"""Deployments on the server: made from the definitions, and brought up to date without undoing what the user set."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.setup.definitions import Definition
from deployments.setup.steps import Step


@dataclass(frozen=True, slots=True)
class Plan:
    """What `setup` would do about one deployment; `doctor` only tells it."""

    definition: Definition
    stands: DeploymentResponse | None
    """The deployment as the server has it; None where it is missing."""
    wanted: Mapping[str, Any]
    """The fields of the deployment as they should be; what a user may set is as the user set it."""
    differences: tuple[str, ...] = ()
    """Names of the fields that stand otherwise, for people."""


async def plan(client: PrefectClient, definition: Definition, pool: str | None) -> Plan:
    """Compare a deployment with its definition; a `pool` of None leaves each in its own work pool.

    What a user sets in the UI is no difference: schedules (their times, and whether they are active), parameters, job
    variables, whether the deployment is paused.
    """
    schema = await asyncio.to_thread(lambda: parameter_schema(flow_of(definition)))
    stands = await read(client, definition)
    wanted = {
        "entrypoint": definition.entrypoint,
        "description": definition.description,
        "tags": list(definition.tags),
        "parameters": dict(definition.parameters),
        "parameter_openapi_schema": schema.model_dump(mode="json", exclude_unset=True),
        "enforce_parameter_schema": True,
        "work_pool_name": pool,
        "job_variables": dict(definition.job_variables),
        "pull_steps": [],
        "concurrency_limit": definition.concurrency_limit,
        "concurrency_options": _options(definition),
    }
    if stands is None:
        return Plan(definition, None, wanted)
    wanted |= {
        "parameters": _still_known(stands.parameters, schema.properties),
        "work_pool_name": pool or stands.work_pool_name,
        "job_variables": _merged(definition.job_variables, stands.job_variables),
    }
    differences = [name for name, value in wanted.items() if not _equal(name, value, stands)]
    return Plan(definition, stands, wanted, tuple(_SHOWN.get(name, name.replace("_", " ")) for name in differences))


_SHOWN: Final = {"parameter_openapi_schema": "parameter form", "work_pool_name": "work pool"}


async def apply(client: PrefectClient, planned: Plan) -> Step:
    """Make the deployment, or bring it up to date."""
    definition, stands = planned.definition, planned.stands
    if stands is None:
        await client.create_deployment(
            flow_id=await client.create_flow_from_name(flow_of(definition).name),
            name=definition.name,
            schedules=[_schedule(each) for each in definition.schedules],
            **planned.wanted,
        )
        return Step("deployment", definition.full_name, "made", _schedules_note(definition))
    if not planned.differences:
        return Step("deployment", definition.full_name, "kept")
    update = DeploymentUpdate.model_validate({**planned.wanted, **_as_they_stand(stands)})
    await client.update_deployment(stands.id, update)
    return Step("deployment", definition.full_name, "updated")


def pool_in_use(found: Iterable[DeploymentResponse | None]) -> str | None:
    """The work pool of the deployments that stand already; the commonest, should they differ."""
    pools = Counter(one.work_pool_name for one in found if one is not None and one.work_pool_name)
    return pools.most_common(1)[0][0] if pools else None


def flow_of(definition: Definition) -> Flow[..., Any]:
    """The flow that is deployed; loading the first takes seconds."""
    return load_flow_from_entrypoint(definition.entrypoint, use_placeholder_flow=False)


async def read(client: PrefectClient, definition: Definition) -> DeploymentResponse | None:
    """The deployment as the server has it; None where it is missing."""
    try:
        return await client.read_deployment_by_name(definition.full_name)
    except ObjectNotFound:
        return None


def _equal(name: str, wanted: Any, stands: DeploymentResponse) -> bool:
    if name == "concurrency_limit":
        found = stands.global_concurrency_limit
        return bool((None if found is None else found.limit) == wanted)
    found_value = getattr(stands, name)
    if name == "concurrency_options":
        return wanted is None or (
            found_value is not None and found_value.collision_strategy == wanted.collision_strategy
        )
    return bool((found_value or None) == (wanted or None))


def _options(definition: Definition) -> ConcurrencyOptions | None:
    if definition.collision_strategy is None:
        return None
    return ConcurrencyOptions.model_validate({"collision_strategy": definition.collision_strategy})


def _still_known(parameters: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are set on the server, without those that the flow no longer has: they would fail each run."""
    return {name: value for name, value in parameters.items() if name in properties}


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Job variables with the user's on top, the environment variable by variable."""
    return {**ours, **theirs, "env": {**ours.get("env", {}), **theirs.get("env", {})}}


def _as_they_stand(stands: DeploymentResponse) -> dict[str, Any]:
    """The schedules for an update that is to leave them alone.

    Where all have slugs the server goes by these, takes none for an error, and empties what is not repeated of a
    schedule; where one has none (made in the UI), saying nothing leaves them all.
    """
    if not stands.schedules or not all(each.slug for each in stands.schedules):
        return {}
    fields = {"slug", "schedule", "active", "parameters", "max_scheduled_runs"}
    return {"schedules": [each.model_dump(include=fields) for each in stands.schedules]}


def _schedule(each: Mapping[str, Any]) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=CronSchedule(cron=each["cron"], timezone=each["timezone"]),
        active=each["active"],
        parameters=dict(each.get("parameters", {})),
        slug=each["slug"],
    )


def _schedules_note(definition: Definition) -> str:
    active = [each["slug"] for each in definition.schedules if each["active"]]
    idle = [each["slug"] for each in definition.schedules if not each["active"]]
    parts = [f"schedule {', '.join(active)} is active"] if active else []
    parts += [f"inactive until you switch it on: {', '.join(idle)}"] if idle else []
    return "; ".join(parts)
