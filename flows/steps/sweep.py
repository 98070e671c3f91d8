"""A sweep: whatever is open is taken up, also what comes to light while it runs, and bought only if it never was."""

from __future__ import annotations

import asyncio
from datetime import datetime

from blocks.database.store import sweeping
from blocks.database.store.imports import Ticket
from blocks.database.store.sweeping import LeftOver
from flows.steps.collect import collect_one
from flows.steps.enrich import Enrichment
from flows.steps.looking import look_at_short_imports
from flows.steps.run import Run

MOST_IMPORTS = 500
"""So many imports one run takes up at most; the next one takes the others."""


async def take_up_what_is_open(run: Run, enrichment: Enrichment) -> None:
    """Follow every open import of the account to its end; pending posts go to the enrichment at once.

    It looks again for as long as it has anything to do, and once more before it ends: of runs that callbacks ask for
    while this one is under way none is started, so that what they are about is this run's.
    """
    sweep = _Sweep(run, enrichment)
    async with asyncio.TaskGroup() as group:
        group.create_task(look_at_short_imports(run))
        while run.halted is None and await sweep.look(group):
            await sweep.wait()
    run.progress.stage = "enriching"


class _Sweep:
    def __init__(self, run: Run, enrichment: Enrichment) -> None:
        self._run, self._enrichment = run, enrichment
        self._taken: set[str] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._leases: dict[str, datetime] = {}
        """When the lease of an import that another run follows was to end, as first seen."""
        self._looked = False
        self._others_until = run.clock().timestamp() + run.settings.tagtrail_import_deadline_seconds

    async def look(self, group: asyncio.TaskGroup) -> bool:
        """Take up what is open and not taken yet; whether there is anything left to wait for."""
        run = self._run
        run.progress.stage = "importing"
        left: LeftOver = await run.store.run(
            sweeping.take_up,
            run_id=run.run_id,
            account=run.client.account,
            now=run.clock(),
            owner=run.owner,
            durable=True,
            **({"most_posts": 0} if self._looked else {}),
        )
        self._looked = True
        run.found(left.posts)
        for ticket in left.tickets:
            if self._is_new(ticket, left):
                self._take(ticket, group)
        if self._enrichment.held:
            await self._enrichment.try_held()
        return self._busy(left)

    async def wait(self) -> None:
        """Until it is time to look again: at once where an import has just come to its end."""
        if self._under_way:
            seconds = self._run.settings.tagtrail_poll_seconds
            await asyncio.wait(self._under_way.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await self._run.pause(min(1.0, self._run.settings.tagtrail_poll_seconds))

    def _is_new(self, ticket: Ticket, left: LeftOver) -> bool:
        if ticket.import_id in self._under_way or len(self._taken) >= MOST_IMPORTS:
            return False
        return ticket.import_id not in self._taken or ticket.import_id in left.called_back

    def _take(self, ticket: Ticket, group: asyncio.TaskGroup) -> None:
        self._taken.add(ticket.import_id)
        self._run.progress.imports_open += 1
        following = group.create_task(collect_one(self._run, ticket))
        self._under_way[ticket.import_id] = following
        following.add_done_callback(lambda _: self._under_way.pop(ticket.import_id))

    def _busy(self, left: LeftOver) -> bool:
        # A lease that was renewed is a living run's, which follows its import itself; the others end soon.
        dying = [self._leases.setdefault(import_id, until) == until for import_id, until in left.held.items()]
        if self._under_way or any(dying):
            return True
        if self._enrichment.held and self._run.clock().timestamp() >= self._others_until:
            return False
        return self._enrichment.busy
