"""Deployments as prefect.yaml defines them, compared with those on a server, where what the user set stays."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.utilities.callables import parameter_schema

from blocks.errors import UsageError
from deployments.setup.step import Step

HERE: Final = Path(__file__).parent
DEFINITIONS_FILES: Final = (HERE / "prefect.yaml", HERE.parent.parent / "prefect.yaml")
"""A wheel carries the file beside this module; an editable install runs from the clone."""

DEFAULT_POOL: Final = "tagtrail"


@dataclass(frozen=True, slots=True)
class Definition:
    """One deployment; `schedules` are as in the file: slug, cron, timezone, active, parameters."""

    entrypoint: str
    name: str
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, Any]
    job_variables: Mapping[str, Any]
    concurrency_limit: int | None = None
    collision_strategy: str | None = None
    schedules: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def full_name(self) -> str:
        """`flow-name/deployment-name`, by the rule that a flow is named like its function."""
        return f"{self.entrypoint.rpartition('.')[2].replace('_', '-')}/{self.name}"


@dataclass(frozen=True, slots=True)
class PlannedDeployment:
    """A deployment as it should be, and what there is to do about it."""

    definition: Definition
    pool: str
    parameter_names: tuple[str, ...]
    step: Step[DeploymentResponse]


def definitions_file() -> Path:
    """Where the definitions stand.

    Raises:
        UsageError: neither the package nor the clone has them.
    """
    for path in DEFINITIONS_FILES:
        if path.is_file():
            return path
    raise UsageError("this installation of Tagtrail has no prefect.yaml; install it again, from a wheel or a clone")


def read_definitions() -> list[Definition]:
    """All deployments, in the file's order."""
    read = yaml.safe_load(definitions_file().read_text(encoding="utf-8"))
    return [_definition(each) for each in read["deployments"]]


def _definition(each: Mapping[str, Any]) -> Definition:
    limit = each.get("concurrency_limit") or {}
    return Definition(
        entrypoint=each["entrypoint"],
        name=each["name"],
        description=each["description"],
        tags=tuple(each["tags"]),
        parameters=each["parameters"],
        job_variables=each["work_pool"].get("job_variables", {}),
        concurrency_limit=limit.get("limit"),
        collision_strategy=limit.get("collision_strategy"),
        schedules=tuple(each.get("schedules", ())),
    )


def flow_of(definition: Definition) -> Flow[..., Any]:
    """The flow that is deployed; loading the first takes seconds."""
    return load_flow_from_entrypoint(definition.entrypoint, use_placeholder_flow=False)


async def plan_deployments(client: PrefectClient, pool: str | None) -> list[PlannedDeployment]:
    """Compare all deployments with their definitions.

    `pool` None leaves each in its own work pool; one that has none gets the pool that most others are in, else
    Prefect's own default for deployments (`prefect deploy` goes by that too).
    """
    found = [(each, await _read(client, each)) for each in read_definitions()]
    default = _pool_in_use(stands for _, stands in found) or default_pool()
    return [await _plan(client, each, stands, pool, default) for each, stands in found]


def default_pool() -> str:
    """Prefect's own default for deployments: PREFECT_DEFAULT_WORK_POOL_NAME, or pyproject.toml's."""
    return get_current_settings().deployments.default_work_pool_name or DEFAULT_POOL


async def _read(client: PrefectClient, definition: Definition) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(definition.full_name)
    except ObjectNotFound:
        return None


def _pool_in_use(found: Iterable[DeploymentResponse | None]) -> str | None:
    pools = Counter(one.work_pool_name for one in found if one is not None and one.work_pool_name)
    return pools.most_common(1)[0][0] if pools else None


async def _plan(
    client: PrefectClient, definition: Definition, stands: DeploymentResponse | None, pool: str | None, default: str
) -> PlannedDeployment:
    """What a user sets in the UI is no difference: schedules (their times, and whether they are active), parameters,
    job variables, whether the deployment is paused."""
    schema = await asyncio.to_thread(lambda: parameter_schema(flow_of(definition)))
    in_pool = pool or (stands and stands.work_pool_name) or default
    wanted = {
        "entrypoint": definition.entrypoint,
        "description": definition.description,
        "tags": list(definition.tags),
        "parameters": dict(definition.parameters),
        "parameter_openapi_schema": schema.model_dump(mode="json", exclude_unset=True),
        "enforce_parameter_schema": True,
        "work_pool_name": in_pool,
        "job_variables": dict(definition.job_variables),
        "pull_steps": [],
        "concurrency_limit": definition.concurrency_limit,
        "concurrency_options": _options(definition),
    }
    name = definition.full_name
    step: Step[DeploymentResponse]
    if stands is None:
        make = lambda: _make(client, definition, wanted)  # noqa: E731
        step = Step("deployment", name, "made", _schedules_note(definition), change=make)
    else:
        wanted |= {
            "parameters": _still_known(stands.parameters, schema.properties),
            "job_variables": _merged(definition.job_variables, stands.job_variables),
        }
        step = _compare(client, definition, stands, wanted)
    return PlannedDeployment(definition, in_pool, tuple(sorted(schema.properties)), step)


async def _make(client: PrefectClient, definition: Definition, wanted: Mapping[str, Any]) -> None:
    await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow_of(definition).name),
        name=definition.name,
        schedules=[_schedule(each) for each in definition.schedules],
        **wanted,
    )


def _compare(
    client: PrefectClient, definition: Definition, stands: DeploymentResponse, wanted: Mapping[str, Any]
) -> Step[DeploymentResponse]:
    name, of_user = definition.full_name, _changed_by_user(definition, stands)
    different = [field for field, value in wanted.items() if not _equal(field, value, stands)]
    if not different:
        return Step("deployment", name, "kept", stands=stands, set_by_user=of_user)
    differences = tuple(_SHOWN.get(each, each.replace("_", " ")) for each in different)
    update = DeploymentUpdate.model_validate({**wanted, **_as_they_stand(stands)})
    change = lambda: client.update_deployment(stands.id, update)  # noqa: E731
    return Step("deployment", name, "updated", "", stands, differences, of_user, change)


_SHOWN: Final = {"parameter_openapi_schema": "parameter form", "work_pool_name": "work pool"}


def _changed_by_user(definition: Definition, stands: DeploymentResponse) -> tuple[str, ...]:
    ours = {each["slug"]: (each["cron"], each["active"]) for each in definition.schedules}
    theirs = {each.slug: (getattr(each.schedule, "cron", None), each.active) for each in stands.schedules}
    pairs = {
        "parameters": (dict(definition.parameters), stands.parameters or {}),
        "schedules": (ours, theirs),
        "paused": (False, bool(stands.paused)),
    }
    return tuple(what for what, (wanted, found) in pairs.items() if wanted != found)


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
