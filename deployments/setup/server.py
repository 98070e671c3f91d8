"""The whole set-up, in the order in which one thing needs another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from blocks.database.connections import parse, shown
from blocks.database.engine import upgrade
from blocks.database.migrations import SchemaState
from blocks.settings import Settings
from deployments.setup import blocks, deploying, pools
from deployments.setup.automations import ensure_automations, notification_block
from deployments.setup.definitions import read_definitions
from deployments.setup.steps import Did, Step
from flows.steps.run.accounts import saved_database_url

DEFAULT_POOL = "tagtrail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a set-up is asked for."""

    work_pool: str | None = None
    """None: the pool of the deployments that stand, else the variable's, else `tagtrail`."""
    overwrite: bool = False
    """Make block documents from the settings although they exist."""
    notify: str | None = None
    """A notification block as `type-slug/name`, told of failures and halts."""


async def set_up(settings: Settings, choices: Choices, announce: Callable[[Step], None]) -> list[Step]:
    """Make on the Prefect server in use what is missing there; each step is announced as it is done.

    Raises:
        UsageError: a setting or the named notification block cannot be used.
        PrefectHTTPStatusError, RuntimeError: the server refused, or cannot be reached.
    """
    done: list[Step] = []

    def tell(*steps: Step) -> None:
        for step in steps:
            done.append(step)
            announce(step)

    definitions = read_definitions()
    async with get_client() as client:
        told = await notification_block(client, choices.notify) if choices.notify else None
        tell(*await blocks.register_types(client))
        tell(*await blocks.save_documents(client, settings, overwrite=choices.overwrite))
        stands = [await deploying.read(client, each) for each in definitions]
        pool = choices.work_pool or deploying.pool_in_use(stands) or default_pool()
        tell(*await migrate())
        tell(await pools.ensure_pool(client, pool))
        tell(await pools.ensure_limit(client))
        for definition in definitions:
            tell(await deploying.apply(client, await deploying.plan(client, definition, pool)))
        tell(*await ensure_automations(client, notify=told))
    return done


async def migrate() -> list[Step]:
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


def default_pool() -> str:
    """The work pool where nobody named one and nothing is deployed yet: Prefect's own default for deployments."""
    return get_current_settings().deployments.default_work_pool_name or DEFAULT_POOL
