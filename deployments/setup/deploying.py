"""Deployments on the server: made from the definitions, and brought up to date without undoing what the user set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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


async def deploy_all(client: PrefectClient, definitions: Sequence[Definition], pool: str) -> list[Step]:
    """Make every deployment in this work pool, or bring it up to date.

    What a user sets in the UI stays: schedules (their times, and whether they are active), parameters, job variables,
    whether the deployment is paused.
    """
    return [await _deploy(client, definition, pool) for definition in definitions]


async def pool_in_use(client: PrefectClient, definitions: Sequence[Definition]) -> str | None:
    """The work pool of the deployments that stand already; the commonest, should they differ."""
    found = [await _read(client, definition) for definition in definitions]
    pools = Counter(one.work_pool_name for one in found if one is not None and one.work_pool_name)
    return pools.most_common(1)[0][0] if pools else None


def flow_of(definition: Definition) -> Flow[..., Any]:
    """The flow that is deployed; loading the first takes seconds."""
    return load_flow_from_entrypoint(definition.entrypoint, use_placeholder_flow=False)


async def _deploy(client: PrefectClient, definition: Definition, pool: str) -> Step:
    flow = flow_of(definition)
    schema = parameter_schema(flow)
    stands = await _read(client, definition)
    if stands is None:
        await client.create_deployment(
            flow_id=await client.create_flow_from_name(flow.name),
            name=definition.name,
            entrypoint=definition.entrypoint,
            description=definition.description,
            tags=list(definition.tags),
            parameters=dict(definition.parameters),
            parameter_openapi_schema=schema.model_dump(exclude_unset=True),
            enforce_parameter_schema=True,
            work_pool_name=pool,
            job_variables=dict(definition.job_variables),
            pull_steps=[],
            concurrency_limit=definition.concurrency_limit,
            concurrency_options=_options(definition),
            schedules=[_schedule(each) for each in definition.schedules],
        )
        return Step("deployment", definition.full_name, "made", _schedules_note(definition))
    wanted = {
        "entrypoint": definition.entrypoint,
        "description": definition.description,
        "tags": list(definition.tags),
        "parameters": _still_known(stands.parameters, schema.properties),
        "parameter_openapi_schema": schema.model_dump(mode="json", exclude_unset=True),
        "enforce_parameter_schema": True,
        "work_pool_name": pool,
        "job_variables": _merged(definition.job_variables, stands.job_variables),
        "pull_steps": [],
        "concurrency_limit": definition.concurrency_limit,
        "concurrency_options": _options(definition),
    }
    if all(_equal(name, value, stands) for name, value in wanted.items()):
        return Step("deployment", definition.full_name, "kept")
    await client.update_deployment(stands.id, DeploymentUpdate.model_validate(wanted | _as_they_stand(stands)))
    return Step("deployment", definition.full_name, "updated")


async def _read(client: PrefectClient, definition: Definition) -> DeploymentResponse | None:
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
