"""A sweep: whatever is open is taken up, also what comes to light while it runs, and bought only if it never was.

Finished imports are looked at once more: what was listed without a URL may have one now, and more may be listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TERMINAL_STATES

from blocks.database.store import accounts, runs, stale_work
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Ticket
from blocks.database.store.import_polls import record_late_look
from blocks.database.store.imports import FoundPost
from blocks.database.store.stale_work import StaleWork
from blocks.database.tables import Import
from blocks.errors import TagtrailError
from flows.steps.enrichment.circuit_breaker import StillRefused
from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports.poll import FollowedImport, follow_import, poll_import, poll_once, submit_import
from flows.steps.run.context import RunContext
from flows.steps.run.stops import CANCELLED, IN_PREFECT, states_of
from flows.steps.run.summary import plural

MOST_POSTS = 5000
"""So many posts one run takes up at most."""

MAX_TRIALS = 20
"""A post that tries the service may need no call after all: then another one does, up to so many."""

MOST_IMPORTS = 500
"""So many imports one run takes up at most; the next one takes the others."""

MAX_LATE_LOOKS = 60
"""So many short imports one sweep looks at: about a minute of the status calls that the account may make."""


class Sweep:
    """Takes up what others left open, for one run: imports are followed, posts go to the enrichment at once."""

    def __init__(self, run: RunContext, enrichment: Enrichment) -> None:
        self._store, self._account, self._owner, self._clock = run.store, run.client.account, run.owner, run.clock
        self._halt, self._journal, self._progress = run.halt, run.journal, run.progress
        self._run_id, self._request, self._settings = run.run_id, run.request, run.settings
        self._enrichment = enrichment
        self._follow = partial(follow_import, run, follow=self._enrich_import)
        self._poll = partial(poll_once, run)
        self._taken: set[str] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._leases: dict[str, datetime] = {}
        """When the lease of an import that another run follows was to end, as first seen."""
        self._looked = False
        self._dead: set[str] = set()
        """Runs without an end that Prefect was asked about: nobody cancelled them."""
        self._others_until = run.clock().timestamp() + run.settings.tagtrail_import_deadline_seconds

    async def take_up_what_is_open(self) -> None:
        """Follow every open import of the account to its end.

        Where the service refused lately one call comes first, and where it was tried in the last hour, none. It looks
        again for as long as it has anything to do, and once more before it ends: of runs that callbacks ask for while
        this one is under way none is started, so that what they are about is this run's.
        """
        async with asyncio.TaskGroup() as group:
            if await self._is_served(group):
                group.create_task(self._recheck_short_imports())
                while self._halt.reason is None and await self._look(group):
                    await self._wait()

    async def take_up_what_is_held(self) -> None:
        """Go on with what a person's stop holds, of the run's collection or of all: this run asks for it from now on.

        Imports that were never sent are sent, the others are followed, and their posts are bought.
        """
        tickets, posts = await self._store.run_durable(
            stale_work.take_up_held,
            run_id=self._run_id,
            account=self._account,
            collection=self._request.collection,
            now=self._clock(),
        )
        if not tickets and not posts:
            self._journal.note("nothing is held")
        self._enrichment.add(posts)
        async with asyncio.TaskGroup() as group:
            for ticket in tickets:
                self._take(ticket, group)

    async def recheck_imports(self, import_ids: Sequence[str]) -> None:
        """Poll each of these imports once, if it is finished; what they list anew is enriched. A poll costs nothing."""
        for import_id in import_ids:
            if self._halt.reason is None:
                found = await self._store.read(ledger.find_imports, import_id)
                mine = (import_id, self._account, "complete")
                rows = [row for row in found if (row.import_id, row.account, row.state) == mine and row.task_id]
                if rows:
                    self._enrichment.add(await self._recheck(rows[0]))
                else:
                    self._journal.note(
                        f"import {import_id} is not polled again: this key's ledger holds no such finished import"
                    )

    async def _recheck_short_imports(self) -> None:
        """Poll each import that ended with less than was asked for, where that is due; enrich what it lists anew."""
        try:
            for row in await self._store.run(ledger.take_late_looks, self._account, most=MAX_LATE_LOOKS):
                if self._halt.reason is None and (new := await self._recheck(row)):
                    count = plural(len(new), "more post")
                    self._journal.note(f"import {row.import_id} had ended short, and lists {count} by now")
                    self._enrichment.add(new)
        except TagtrailError as error:
            self._halt.pull(error)

    async def _recheck(self, row: Import) -> list[FoundPost]:
        """Poll a finished import; gives the posts that it lists for the first time."""
        listed = await self._poll(row)
        if listed is None:
            if self._halt.reason is None:
                self._journal.note(f"import {row.import_id} could not be polled")
            return []
        now, post_micros = self._clock(), self._settings.tagtrail_prices.import_micros(1)
        result = await self._store.run(
            record_late_look, row.import_id, listed, post_micros=post_micros, run_id=self._run_id, now=now
        )
        if result.new_posts:
            posts = [(post.ref, post.source_url) for post in result.new_posts]
            asks = self._request.asker(self._run_id) is not None
            await self._store.run(runs.take_posts, self._run_id, posts, now=now, asks=asks)
        return list(result.new_posts)

    async def _look(self, group: asyncio.TaskGroup) -> bool:
        """Take up what is open and not taken yet; whether there is anything left to wait for."""
        stale = await self._take_up(most_posts=0 if self._looked else MOST_POSTS)
        self._looked = True
        self._enrichment.add(stale.posts)
        for ticket in stale.tickets:
            if self._is_new(ticket, stale):
                self._take(ticket, group)
        if self._enrichment.elsewhere:
            await self._enrichment.try_elsewhere()
        return self._busy(stale)

    async def _take_up(self, *, most_posts: int) -> StaleWork:
        return await self._store.run_durable(
            stale_work.take_up,
            run_id=self._run_id,
            account=self._account,
            now=self._clock(),
            cheapest_micros=self._request.cheapest_micros(self._settings),
            owner=self._owner,
            leave=await self._ask_about_the_dead(),
            most_posts=most_posts,
        )

    async def _ask_about_the_dead(self) -> list[str]:
        """Ask Prefect about runs without an end whose processes are gone: what a person cancelled is held, all else was
        a crash. Gives those of which it does not say anything now; they are left to the next sweep."""
        dead = [one for one in await self._store.read(runs.without_end, self._account) if one not in self._dead]
        if not dead:
            return []
        try:
            async with get_client() as client:
                states = await states_of(client, dead)
        except Exception as error:  # noqa: BLE001 - Prefect's client raises many kinds
            self._journal.note(
                f"Prefect does not say what became of {plural(len(dead), 'run')} ({type(error).__name__})"
            )
            return dead
        for run_id in dead:
            known = states.get(run_id)
            if known is not None and known.state_type in CANCELLED:
                at = known.state.timestamp if known.state is not None else self._clock()
                await self._store.run_durable(runs.stop, run_id, by=IN_PREFECT, why="cancelled in Prefect", at=at)
            elif known is None or known.state_type in TERMINAL_STATES:
                await self._store.run(runs.crashed, run_id, now=self._clock())
        self._dead.update(dead)
        return []

    async def _is_served(self, group: asyncio.TaskGroup) -> bool:
        """Whether the service serves the account, as far as is known; where it refused lately, by one call that is paid
        for anyway, once an hour."""
        journal, halt = self._journal, self._halt
        refusal, may_try = await self._store.run(accounts.may_try_again, self._account, self._clock())
        if refusal is None:
            return True
        if not may_try:
            assert refusal.tried_at is not None
            again = refusal.tried_at + accounts.TRY_AGAIN
            halt.pull(
                StillRefused(
                    f"the service refused at {refusal.at:%H:%M} UTC ({refusal.why}); a sweep tries again at "
                    f"{again:%H:%M} UTC, any other run at once"
                )
            )
            return False
        journal.on_trial = True
        for _ in range(MAX_TRIALS):
            stale = await self._take_up(most_posts=1)
            self._enrichment.add(stale.posts)
            if not stale.posts:
                for ticket in stale.tickets[:1]:
                    self._take(ticket, group)
            while journal.on_trial and halt.reason is None and (self._under_way or self._enrichment.busy):
                await self._wait()
            if not journal.on_trial or halt.reason is not None or not (stale.posts or stale.tickets):
                break
        journal.on_trial = False
        return halt.reason is None

    async def _wait(self) -> None:
        """Until it is time to look again: at once where an import has just come to its end."""
        if self._under_way:
            imports = self._under_way.values()
            await asyncio.wait(
                imports, timeout=self._settings.tagtrail_poll_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        else:
            await self._halt.pause(min(1.0, self._settings.tagtrail_poll_seconds))

    def _is_new(self, ticket: Ticket, stale: StaleWork) -> bool:
        if ticket.import_id in self._under_way or len(self._taken) >= MOST_IMPORTS:
            return False
        return ticket.import_id not in self._taken or ticket.import_id in stale.called_back

    def _take(self, ticket: Ticket, group: asyncio.TaskGroup) -> None:
        self._taken.add(ticket.import_id)
        self._progress.imports_open += 1
        following = group.create_task(self._follow(ticket))
        self._under_way[ticket.import_id] = following
        following.add_done_callback(lambda _: self._under_way.pop(ticket.import_id))

    async def _enrich_import(self, planned: FollowedImport) -> None:
        """As in the flows: send it where that is still to be done, and enrich what each poll lists."""
        submitted = await submit_import(planned) if planned.is_planned else planned
        self._enrichment.add(submitted.listed)
        while submitted.is_open and (batch := await poll_import(submitted)):
            self._enrichment.add(batch)

    def _busy(self, stale: StaleWork) -> bool:
        # A lease that was renewed is a living run's, which follows its import itself; the others end soon.
        dying = [self._leases.setdefault(import_id, until) == until for import_id, until in stale.held.items()]
        if self._under_way or any(dying):
            return True
        if self._enrichment.elsewhere and self._clock().timestamp() >= self._others_until:
            return False
        return self._enrichment.busy
