"""The operator's valve: one Prefect limit that every group of calls passes; at 0 nothing more is bought."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError, concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from blocks.memories.errors import TagtrailError, ValveClosed

if TYPE_CHECKING:
    from flows.steps.run import Run

VALVE = "tagtrail-inflight"
"""Name of the Prefect limit."""

VALVE_SLOTS = 100
"""What it is made with: groups of calls (of up to 50 posts) under way at once, over all runs."""

CLOSED = "nothing is bought until it is raised again"

MOST_UNANSWERED = 5

LOOK_AGAIN_SECONDS = 10.0
"""How often a run that waits at the valve looks whether it was halted meanwhile."""


async def ensure_valve() -> None:
    """Make the limit where there is none; one that stands is left as the operator set it."""
    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(VALVE)
        except ObjectNotFound:
            try:
                await client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=VALVE, limit=VALVE_SLOTS)
                )
            except ObjectAlreadyExists:
                return  # another run made it at the same moment


@asynccontextmanager
async def valve(run: Run) -> AsyncIterator[bool]:
    """Hold one slot of the operator's limit; gives False where the run was halted while it waited.

    Raises:
        TagtrailError: Prefect's server did not answer, several times in a row.
    """
    unanswered = 0
    while run.halted is None:
        slot = concurrency(
            VALVE,
            occupy=1,
            timeout_seconds=LOOK_AGAIN_SECONDS,
            strict=True,
            raise_on_lease_renewal_failure=False,
        )
        try:
            await slot.__aenter__()
        except ConcurrencySlotAcquisitionError as error:
            if _is_closed(error):
                run.halt(ValveClosed(f"an operator set the Prefect limit {VALVE} to 0, or deleted it: {CLOSED}"))
                break
            unanswered += 1
            if unanswered == MOST_UNANSWERED:
                raise TagtrailError(f"the Prefect server does not answer about its limit {VALVE}: {error}") from None
            await run.pause(unanswered)
        except TimeoutError:
            run.note(f"waiting: the Prefect limit {VALVE} has no free slot (an operator can raise it)")
        else:
            try:
                yield True
            finally:
                await _leave(run, slot)
            return
    yield False


def _is_closed(error: ConcurrencySlotAcquisitionError) -> bool:
    """At 0 the server refuses at once instead of letting anybody wait, and so it does where there is no limit."""
    said = str(error)
    return "greater than the limit" in said or "strict" in said or "must be created" in said


async def _leave(run: Run, slot: AbstractAsyncContextManager[None]) -> None:
    # A slot that could not be given back ends by itself after five minutes; the calls that it covered are paid for.
    try:
        await slot.__aexit__(None, None, None)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not undo what was bought
        run.note(f"the Prefect limit {VALVE} could not be given back at once ({type(error).__name__})")
