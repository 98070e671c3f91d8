"""A sweep: whatever killed, cancelled or halted runs left behind is taken up, and bought only if it never was."""

from __future__ import annotations

from blocks.database.store import sweeping
from blocks.database.store.imports import Ticket
from flows.steps.run import Run


async def take_up_what_is_open(run: Run) -> list[Ticket]:
    """Every open import of the account, to be followed; pending posts go to the enrichment at once."""
    left = await run.store.run(
        sweeping.take_up, run_id=run.run_id, account=run.client.account, now=run.clock(), durable=True
    )
    run.found(left.posts)
    run.progress.imports_open = len(left.tickets)
    return left.tickets
