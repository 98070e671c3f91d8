"""Imports are followed side by side, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from blocks.database.store.import_planning import Ticket
from blocks.errors import TagtrailError
from flows.steps.imports.followed import FollowedImport, read_import
from flows.steps.run.context import RunContext

Follow = Callable[[FollowedImport], Awaitable[None]]
"""What a flow does with one import, from its submission to its last post."""


async def side_by_side(run: RunContext, tickets: Sequence[Ticket], follow: Follow) -> None:
    """Follow all imports at once."""
    run.progress.stage = "importing"
    async with asyncio.TaskGroup() as group:
        for ticket in tickets:
            group.create_task(follow_one(run, ticket, follow))
    run.progress.stage = "enriching"


async def follow_one(run: RunContext, ticket: Ticket, follow: Follow) -> None:
    """Follow one import; what ends the run is kept in it, and the others end by themselves."""
    try:
        await follow(await read_import(run, ticket))
    except TagtrailError as error:
        # Also a database that cannot be used: an answer that one of the others waits for is taken in.
        run.halt.pull(error)
    run.progress.imports_open -= 1
    run.progress.imports_done += 1
