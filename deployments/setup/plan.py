"""What a Prefect server needs for Tagtrail, compared with what stands there: `setup` applies it, `doctor` shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse, GlobalConcurrencyLimitResponse
from prefect.events.schemas.automations import Automation
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from blocks.database.connections import parse, shown
from blocks.database.engine import upgrade
from blocks.database.migrations import SchemaState
from blocks.settings import Settings
from deployments.setup.automations import notification_block, plan_automations
from deployments.setup.blocks import plan_block_types, plan_blocks
from deployments.setup.deployments import plan_deployments
from deployments.setup.step import Did, Step
from flows.steps.prefect_side.kill_switch import KILL_SWITCH, ensure_limit
from flows.steps.run.accounts import saved_database_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a set-up is asked for."""

    work_pool: str | None = None
    """None: each deployment stays in its pool; a new one gets that of the others, else Prefect's own default."""
    overwrite: bool = False
    """Make block documents from the settings although they exist."""
    notify: str | None = None
    """A notification block as `type-slug/name`, for failures and halts."""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """All that a server needs beside the blocks, in the order in which one thing needs another."""

    work_pools: list[Step[WorkPool]]
    kill_switch: Step[GlobalConcurrencyLimitResponse]
    deployments: list[Step[DeploymentResponse]]
    automations: list[Step[Automation]]

    @property
    def steps(self) -> list[Step[Any]]:
        return [*self.work_pools, self.kill_switch, *self.deployments, *self.automations]


async def plan_server(client: PrefectClient, *, work_pool: str | None = None, notify: UUID | None = None) -> ServerPlan:
    """Compare the server with what this Tagtrail would make there; nothing is changed."""
    wanted = await plan_deployments(client, work_pool)
    pools = sorted({each.pool for each in wanted})
    return ServerPlan(
        [await plan_pool(client, pool) for pool in pools],
        await plan_kill_switch(client),
        [each.step for each in wanted],
        await plan_automations(client, {each.definition.full_name: each for each in wanted}, notify=notify),
    )


async def plan_pool(client: PrefectClient, name: str) -> Step[WorkPool]:
    """A work pool of type process where there is none; one that stands is left as it is, whatever its type."""
    try:
        pool = await client.read_work_pool(name)
        return Step("work pool", name, "kept", f"of type {pool.type}", stands=pool)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()

    async def make() -> None:
        with suppress(ObjectAlreadyExists):  # A worker that was just started made it.
            await client.create_work_pool(
                WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
            )

    return Step("work pool", name, "made", f"start a worker: prefect worker start --pool {name}", change=make)


async def plan_kill_switch(client: PrefectClient) -> Step[GlobalConcurrencyLimitResponse]:
    """The limit that stops all buying at 0; one that stands is left as the operator set it."""
    try:
        found = await client.read_global_concurrency_limit_by_name(KILL_SWITCH)
    except ObjectNotFound:
        return Step("limit", KILL_SWITCH, "made", "0 stops all buying", change=lambda: ensure_limit(client))
    return Step("limit", KILL_SWITCH, "kept", f"at {found.limit}", stands=found)


async def set_up(settings: Settings, choices: Choices, announce: Callable[[Step[Any]], None]) -> list[Step[Any]]:
    """Make on the Prefect server in use what is missing there; each step is announced as it is done.

    Raises:
        UsageError: a setting or the named notification block cannot be used.
        PrefectHTTPStatusError, RuntimeError: the server refused, or cannot be reached.
    """
    done: list[Step[Any]] = []

    async def apply(*steps: Step[Any]) -> None:
        for step in steps:
            await step.apply()
            done.append(step)
            announce(step)

    async with get_client() as client:
        notify = await notification_block(client, choices.notify) if choices.notify else None
        await apply(*await plan_block_types(client))
        await apply(*await plan_blocks(client, settings, overwrite=choices.overwrite))
        await apply(*await migrate())
        plan = await plan_server(client, work_pool=choices.work_pool, notify=notify)
        await apply(*plan.steps)
    return done


async def migrate() -> list[Step[Any]]:
    """Bring a Postgres that the runs will use up to this version; a SQLite file is migrated by who first needs it.

    Raises:
        StoreError: the database cannot be used as it is.
    """
    url = await saved_database_url()
    if url is None or parse(url).drivername == "sqlite":
        return []
    before = await asyncio.to_thread(upgrade, url)
    return [Step("database", shown(parse(url)), _MIGRATED[before])]


_MIGRATED: Final[dict[SchemaState, Did]] = {"missing": "made", "behind": "updated", "head": "kept", "ahead": "kept"}
