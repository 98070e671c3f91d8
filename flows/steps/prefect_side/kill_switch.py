"""The operator's kill switch: the Prefect limit `tagtrail-inflight`. While it is 0 nothing is bought."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from blocks.errors import TagtrailError, ValveClosed

KILL_SWITCH: Final = "tagtrail-inflight"
"""Name of the Prefect limit."""

ON: Final = 100
"""What the limit is made with. Any number above 0 means the same; nothing takes slots of it."""

LOOK_SECONDS: Final = 2.0
"""How often a run reads the limit."""

ANSWER_SECONDS: Final = 10.0
"""How long the server may take for one answer, with the retries of Prefect's client."""

MAX_UNREAD_SECONDS: Final = 120.0
"""A run that could not read the limit for so long buys nothing more: nobody could stop it."""

STOPPED: Final = (
    f"an operator set the Prefect limit {KILL_SWITCH} to 0, or deleted it: nothing is bought until it is raised again"
)


async def ensure_limit(client: PrefectClient) -> None:
    """Make the limit where there is none; one that is there stays as the operator set it."""
    try:
        await client.read_global_concurrency_limit_by_name(KILL_SWITCH)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):  # Another run made it at the same moment.
            await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=KILL_SWITCH, limit=ON))


@asynccontextmanager
async def watch_kill_switch(
    halt: Callable[[TagtrailError], None],
    *,
    look_seconds: float = LOOK_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
    max_unread_seconds: float = MAX_UNREAD_SECONDS,
) -> AsyncIterator[None]:
    """Read the limit once, then every `look_seconds`, and call `halt` when it is 0 or was deleted.

    A server that does not answer for `max_unread_seconds` halts the run too.

    Raises:
        TagtrailError: on entering, the server did not answer for so long.
    """
    async with get_client() as client:

        async def is_off(*, make: bool = False) -> bool:
            asked_at = time.monotonic()
            while True:
                try:
                    async with asyncio.timeout(answer_seconds):
                        if make:
                            await ensure_limit(client)
                        return await _is_off(client)
                except Exception as error:  # Whatever keeps the server from answering.
                    if time.monotonic() - asked_at >= max_unread_seconds:
                        why = f"{type(error).__name__}: {error}".rstrip(": ")
                        message = f"the Prefect server does not answer about its limit {KILL_SWITCH}: {why}"
                        raise TagtrailError(message) from error
                await asyncio.sleep(look_seconds)

        async def watch() -> None:
            off = False
            try:
                while not off:
                    await asyncio.sleep(look_seconds)
                    off = await is_off()
            except TagtrailError as unread:
                halt(unread)
            else:
                halt(ValveClosed(STOPPED))

        if await is_off(make=True):
            halt(ValveClosed(STOPPED))
        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def _is_off(client: PrefectClient) -> bool:
    try:
        limit = await client.read_global_concurrency_limit_by_name(KILL_SWITCH)
    except ObjectNotFound:
        return True
    return limit.active and limit.limit < 1
