"""An import on its way through a run: sent, and polled until it is finished, side by side with others.

Each poll task gives the posts that are new, as soon as there are any.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.completion import Said, finished_state, next_poll_seconds, overdue
from blocks.database.engine import Store
from blocks.database.store import import_polls, inbox
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Ticket
from blocks.database.store.import_polls import SAID_FAILED, ItemSeen, PollResult, end_import, keep_unreadable
from blocks.database.store.imports import FoundPost
from blocks.database.store.inbox import Heard
from blocks.database.tables import Import
from blocks.errors import MemoriesError, NotAPostUrl, TagtrailError, Unreadable
from blocks.memories.client import ImportItemSeen
from blocks.posts.identity import item_key, parse_post_url
from flows.steps.imports.submit import Submitter
from flows.steps.prefect_side import events
from flows.steps.run.context import RunContext
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.summary import named

UNANSWERED_POLLS = 3
"""So many polls in a row without an answer, past the deadline, and the import is left to a later run."""


class FollowedImport:
    """An import that a run follows or uses again, and what the next poll of it has to know."""

    def __init__(self, run: RunContext, ticket: Ticket, row: Import) -> None:
        self.ticket, self.row = ticket, row
        self.name = named(row.kind, row.hashtag, row.import_id, row.requested)
        """What Prefect and the log call it: `#lvmh`."""
        self.listed: list[FoundPost] = []
        """Posts that the ledger knew of it before this run polled."""
        self.is_open = False
        """Whether it is to be polled."""
        self.is_planned = ticket.state == "planned"
        """Whether it is still to be sent."""
        self._store, self._settings, self._clock = run.store, run.settings, run.clock
        self._halt, self._journal, self._owner = run.halt, run.journal, run.owner
        self._run_id, self._waits = run.run_id, run.request.wait
        self._submitter = Submitter(run)
        self._read_import = partial(read_import, run)
        self._poll_once = partial(poll_once, run)
        self._watcher = CallbackWatcher(run.store, row.import_id)
        self._unanswered_polls = 0
        self._pause_seconds = 0.0
        """How long to wait before the next poll."""
        self._given: set[str] = set()

    async def submit(self) -> FollowedImport:
        """Send it, and give what is to be followed then (see `Submitter.submit`)."""
        return await self._read_import(await self._submitter.submit(self.ticket, self.name))

    async def read(self) -> None:
        """Take it up as the ledger has it: its posts so far, and whether this run polls it."""
        ticket = self.ticket
        if ticket.state in ("submitted", "collecting", "empty", "sending"):
            self.is_open = self._waits
        elif ticket.state != "complete":
            return
        self.listed = self._new_ones(
            await self._store.read(ledger.found_posts, ticket.import_id, open_only=ticket.open_only)
        )
        if ticket.state == "complete" and ticket.action == "reused" and self._waits:
            self.is_open = await self._lists_more()

    async def _lists_more(self) -> bool:
        """Whether an import that ended with fewer posts than were asked for lists more by now; then it is open again.

        A poll costs nothing: what came after the quiet time need not be bought a second time.
        """
        row = self.row
        if row.task_id is None or row.seen + row.withheld >= row.requested:
            return False
        items = await self._poll_once(row)
        listed = {item.video_no if item.ref is None else item.ref for item in items or ()}
        if len(listed) <= row.seen + row.withheld:
            return False
        return await self._store.run_durable(ledger.reopen, row.import_id) is not None

    async def poll(self) -> list[FoundPost]:
        """Poll until something new is listed, and give that; nothing where it is finished, or the run halted.

        Another run that follows it already is watched instead, through the database, and replaced if it dies.
        """
        import_id = self.row.import_id
        new: list[FoundPost] = []
        try:
            while not new and self.is_open and self._halt.reason is None:
                if await self._store.run(ledger.lease_import, import_id, owner=self._owner):
                    new = await self._follow()
                else:
                    new = await self._watch()
            return new
        finally:
            if not new or not self.is_open:
                await asyncio.shield(self._store.run(ledger.release_import, import_id, owner=self._owner))

    async def _watch(self) -> list[FoundPost]:
        """What another run's polls have listed since; pauses where that is nothing."""
        self.row = await self._store.read(ledger.get, self.row.import_id)
        new = self._new_ones(await self._store.read(ledger.found_posts, self.row.import_id))
        self.is_open = self.row.state in ("sending", "submitted", "collecting")
        if self.is_open and not new:
            await self._halt.pause(self._settings.tagtrail_poll_seconds)
        return new

    async def _follow(self) -> list[FoundPost]:
        """Poll at growing intervals, until something new is listed, or it is finished by one of three clocks."""
        self.row = await self._store.run(ledger.start_following, self.row.import_id)
        new: list[FoundPost] = []
        while not new and self.is_open:
            await self._watcher.pause(self._halt, self._pause_seconds, look_every=self._settings.tagtrail_poll_seconds)
            if self._halt.reason is not None:
                break
            await self._watcher.look()
            items = await self._poll_once(self.row)
            if items is None:
                self._note_unanswered()
            else:
                new = await self._record(items)
        return new

    def _note_unanswered(self) -> None:
        """Leave it to a later run where it is past its deadline, and does not answer."""
        settings, row = self._settings, self.row
        self._unanswered_polls += 1
        self._pause_seconds = self._pause_seconds or settings.tagtrail_poll_seconds
        late = overdue(row.clocks(), self._clock(), deadline_seconds=settings.tagtrail_import_deadline_seconds)
        if late and self._unanswered_polls >= UNANSWERED_POLLS:
            self.is_open = False
            drop = f"; `tagtrail resolve {row.import_id} --drop` gives it up"
            why = "" if self._journal.poll_errors["Unreadable"] == 0 else f": its answers cannot be read{drop}"
            self._journal.note(f"import {row.import_id} could not be polled; it is left to a later run{why}")

    async def _record(self, items: list[ItemSeen]) -> list[FoundPost]:
        """Write one poll down, and the import's end where it is finished; gives the posts that it listed first."""
        settings, log, now = self._settings, self._journal.log, self._clock()
        post_micros = settings.tagtrail_prices.import_micros(1)
        is_first = self.row.seen == 0
        result = await self._store.run(import_polls.record_poll, self.row.import_id, items, post_micros=post_micros)
        self._unanswered_polls, self.row = 0, (row := result.row)
        if result.new_posts and is_first:
            log.of_import("%s: the first %s posts are listed; their metadata is bought now", self.name, len(items))
        said = await self._watcher.answered(result)
        state = finished_state(
            row.clocks(),
            now,
            quiet_seconds=settings.tagtrail_import_quiet_seconds,
            deadline_seconds=settings.tagtrail_import_deadline_seconds,
            said=said,
        )
        self._pause_seconds = next_poll_seconds(
            result.quiet_polls, settings.tagtrail_poll_seconds, jitter=random.random()
        )
        if state is not None:
            self.is_open = False
            failed = state == "empty" and said is not None and not said.succeeded
            done = await self._store.run(
                end_import,
                row.import_id,
                state=state,
                post_micros=post_micros,
                run_id=self._run_id,
                now=now,
                note=SAID_FAILED if failed else None,
            )
            if done is not None:
                log.of_import("%s: import %s, %s listed, %s of them new", self.name, state, row.seen, row.new)
                events.import_ended(done, run_id=self._run_id)
        return self._new_ones(result.new_posts)

    def _new_ones(self, posts: Sequence[FoundPost]) -> list[FoundPost]:
        """Those of the posts that were not given before."""
        new = [post for post in posts if item_key(post.ref) not in self._given]
        self._given.update(item_key(post.ref) for post in new)
        return new


Follow = Callable[[FollowedImport], Awaitable[None]]
"""What a flow does with one import: send it, poll it, enrich what it lists."""


@task(name="submit-import", task_run_name="submit {planned.name}", persist_result=False, cache_policy=NO_CACHE)
async def submit_import(planned: FollowedImport) -> FollowedImport:
    """Send one planned import, once, and give what is to be followed then."""
    return await planned.submit()


@task(name="poll-import", task_run_name="poll {followed.name}", persist_result=False, cache_policy=NO_CACHE)
async def poll_import(followed: FollowedImport) -> list[FoundPost]:
    """Poll an import until it lists something new, and give that; nothing where it is finished, or the run halted."""
    return await followed.poll()


async def read_import(run: RunContext, ticket: Ticket) -> FollowedImport:
    followed = FollowedImport(run, ticket, await run.store.read(ledger.get, ticket.import_id))
    await followed.read()
    return followed


async def side_by_side(run: RunContext, tickets: Sequence[Ticket], follow: Follow) -> None:
    """Bring all imports to their end at once."""
    async with asyncio.TaskGroup() as group:
        for ticket in tickets:
            group.create_task(follow_import(run, ticket, follow))


async def follow_import(run: RunContext, ticket: Ticket, follow: Follow) -> None:
    """Bring one import to its end. What ends the run is kept in it."""
    try:
        await follow(await read_import(run, ticket))
    except TagtrailError as error:
        # Also a database that cannot be used: an answer that one of the others waits for is taken in.
        run.halt.pull(error)
    run.progress.imports_open -= 1
    run.progress.imports_done += 1


async def poll_once(run: RunContext, row: Import) -> list[ItemSeen] | None:
    """One poll; None where no answer came. A poll's error is never the import's failure."""
    if not await run.halt.unless_halted(run.limiter.acquire("status")):
        return None
    assert row.task_id is not None
    try:
        # A public import has no namespace: polled under one it would look empty for ever.
        namespace = None if row.library == "public" else row.namespace
        items = await run.client.import_status(row.task_id, namespace=namespace)
    except TagtrailError as error:
        if error.halts:
            raise
        if isinstance(error, Unreadable) and error.body:
            await run.store.run(keep_unreadable, row.import_id, error, run_id=run.run_id)
        if isinstance(error, MemoriesError):
            until = await run.limiter.apply_retry_after("status", error)
            run.progress.paused_until = until or run.progress.paused_until
        run.journal.poll_errors[error.error_class] += 1
        return None
    run.limiter.succeeded("status")
    run.journal.on_trial = False
    return [_seen(item) for item in items]


def _seen(item: ImportItemSeen) -> ItemSeen:
    ref = None
    if item.video_url is not None:
        try:
            ref = parse_post_url(item.video_url)
        except NotAPostUrl:
            # Kept and counted as an item without a post; its own URL stands in the row.
            ref = None
    return ItemSeen(video_no=item.video_no, source_url=item.video_url, item_status=item.status, ref=ref, odd=item.odd)


class CallbackWatcher:
    """Watches the inbox for callbacks about one import; polls that were asked after a callback are what counts."""

    def __init__(self, store: Store, import_id: str) -> None:
        self._store, self._import_id = store, import_id
        self._heard = Heard(None)
        self._since: datetime | None = None
        self._quiet_polls = 0

    async def look(self) -> None:
        """Take in what has been said so far; to be called before each poll."""
        self._heard = await self._store.read(inbox.heard, self._import_id)

    async def answered(self, result: PollResult) -> Said | None:
        """Note that the poll was answered: what had been said before it, and how often nothing came of it since."""
        if self._heard.unhandled:
            await self._store.run(inbox.mark_handled, self._heard.unhandled)
        said = self._heard.said
        if said is None:
            return None
        if said.at != self._since:
            self._since, self._quiet_polls = said.at, 0
        self._quiet_polls = 0 if result.quiet_polls == 0 else self._quiet_polls + 1
        return replace(said, quiet_polls=self._quiet_polls)

    async def pause(self, halt: HaltSwitch, seconds: float, *, look_every: float) -> None:
        """Wait for the next poll: so long, or until a callback has come, or the run is halted."""
        while seconds > look_every and halt.reason is None:
            await halt.pause(look_every)
            seconds -= look_every
            if await self._store.read(inbox.unhandled, self._import_id):
                return
        await halt.pause(seconds)
