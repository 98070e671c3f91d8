"""An import on its way through a run: polled until it is finished, side by side with others.

Each poll task gives the posts that are new, as soon as there are any.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.completion import Said, finished_state, next_poll_seconds, overdue
from blocks.database.engine import Store
from blocks.database.store import import_polls, inbox
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Ticket
from blocks.database.store.import_polls import SAID_FAILED, ItemSeen, PollResult, end_import, keep_unreadable
from blocks.database.store.imports import FoundPost, OpenImport
from blocks.database.store.inbox import Heard
from blocks.errors import MemoriesError, NotAPostUrl, TagtrailError, Unreadable
from blocks.memories.client import ImportItemSeen
from blocks.posts.identity import item_key, parse_post_url
from flows.steps.prefect_side import events
from flows.steps.run.context import RunContext
from flows.steps.run.halt_switch import HaltSwitch
from flows.steps.run.summary import named


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


async def poll_once(run: RunContext, row: OpenImport) -> list[ItemSeen] | None:
    """One poll; None where no answer came. A poll's error is never the import's failure."""
    if not await run.limits.slot("status"):
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
            await run.limits.apply_retry_after("status", error)
        run.journal.poll_errors[error.error_class] += 1
        return None
    run.limits.succeeded("status")
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


class FollowedImport:
    """An import that a run submits, follows or uses again. Polls note here what the next one has to know."""

    def __init__(self, run: RunContext, ticket: Ticket, row: OpenImport) -> None:
        self.run, self.ticket, self.row = run, ticket, row
        self.watcher = CallbackWatcher(run.store, row.import_id)
        self.name = named(row.kind, row.hashtag, row.import_id, row.requested)
        """What Prefect and the log call it: `#lvmh`."""
        self.listed: list[FoundPost] = []
        """Posts that the ledger knew of it before this run polled."""
        self.is_open = False
        """Whether it is to be polled."""
        self.unanswered_polls = 0
        self.pause_seconds = 0.0
        """How long to wait before the next poll."""
        self._given: set[str] = set()

    @property
    def is_planned(self) -> bool:
        """Whether it is still to be sent."""
        return self.ticket.state == "planned"

    def new_ones(self, posts: Sequence[FoundPost]) -> list[FoundPost]:
        """Those of the posts that were not given before."""
        new = [post for post in posts if item_key(post.ref) not in self._given]
        self._given.update(item_key(post.ref) for post in new)
        return new


async def read_import(run: RunContext, ticket: Ticket) -> FollowedImport:
    """Take an import up as the ledger has it: its posts so far, and whether this run polls it."""
    row = await run.store.read(ledger.get, ticket.import_id)
    followed = FollowedImport(run, ticket, row)
    if ticket.state in ("submitted", "collecting", "empty", "sending"):
        followed.is_open = run.request.wait
    elif ticket.state != "complete":
        return followed
    posts = await run.store.read(ledger.found_posts, ticket.import_id, open_only=ticket.open_only)
    followed.listed = followed.new_ones(posts)
    if ticket.state == "complete" and ticket.how == "reused" and run.request.wait:
        followed.is_open = await _lists_more(run, row)
    return followed


async def _lists_more(run: RunContext, row: OpenImport) -> bool:
    """Whether an import that ended with fewer posts than were asked for lists more by now; then it is open again.

    A poll costs nothing: what came after the quiet time need not be bought a second time.
    """
    if row.task_id is None or row.seen + row.withheld >= row.requested:
        return False
    items = await poll_once(run, row)
    listed = {item.video_no if item.ref is None else item.ref for item in items or ()}
    if len(listed) <= row.seen + row.withheld:
        return False
    return await run.store.run_durable(ledger.reopen, row.import_id) is not None


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


UNANSWERED_POLLS = 3
"""So many polls in a row without an answer, past the deadline, and the import is left to a later run."""


@task(name="poll-import", task_run_name="poll {submitted.name}", persist_result=False, cache_policy=NO_CACHE)
async def poll_import(submitted: FollowedImport) -> list[FoundPost]:
    """Poll an import until it lists something new, and give that; nothing where it is finished, or the run halted.

    Another run that follows it already is watched instead, through the database, and replaced if it dies.
    """
    run, import_id = submitted.run, submitted.row.import_id
    new: list[FoundPost] = []
    try:
        while not new and submitted.is_open and run.halt.reason is None:
            if await run.store.run(ledger.lease_import, import_id, owner=run.owner):
                new = await _follow(submitted)
            else:
                new = await _watch(submitted)
        return new
    finally:
        if not new or not submitted.is_open:
            await asyncio.shield(run.store.run(ledger.release_import, import_id, owner=run.owner))


async def _watch(submitted: FollowedImport) -> list[FoundPost]:
    """What another run's polls have listed since; pauses where that is nothing."""
    run = submitted.run
    submitted.row = await run.store.read(ledger.get, submitted.row.import_id)
    new = submitted.new_ones(await run.store.read(ledger.found_posts, submitted.row.import_id))
    submitted.is_open = submitted.row.state in ("sending", "submitted", "collecting")
    if submitted.is_open and not new:
        await run.halt.pause(run.settings.tagtrail_poll_seconds)
    return new


async def _follow(submitted: FollowedImport) -> list[FoundPost]:
    """Poll at growing intervals, until something new is listed, or the import is finished by one of three clocks."""
    run = submitted.run
    submitted.row = await run.store.run(ledger.start_following, submitted.row.import_id)
    new: list[FoundPost] = []
    while not new and submitted.is_open:
        await submitted.watcher.pause(run.halt, submitted.pause_seconds, look_every=run.settings.tagtrail_poll_seconds)
        if run.halt.reason is not None:
            break
        await submitted.watcher.look()
        items = await poll_once(run, submitted.row)
        if items is None:
            _note_unanswered(submitted)
        else:
            new = await _record(submitted, items)
    return new


def _note_unanswered(submitted: FollowedImport) -> None:
    """Leave an import to a later run that is past its deadline, and does not answer."""
    run, row = submitted.run, submitted.row
    submitted.unanswered_polls += 1
    submitted.pause_seconds = submitted.pause_seconds or run.settings.tagtrail_poll_seconds
    late = overdue(row.clocks(), run.clock(), deadline_seconds=run.settings.tagtrail_import_deadline_seconds)
    if late and submitted.unanswered_polls >= UNANSWERED_POLLS:
        submitted.is_open = False
        drop = f"; `tagtrail resolve {row.import_id} --drop` gives it up"
        why = "" if run.journal.poll_errors["Unreadable"] == 0 else f": its answers cannot be read{drop}"
        run.journal.note(f"import {row.import_id} could not be polled; it is left to a later run{why}")


async def _record(submitted: FollowedImport, items: list[ItemSeen]) -> list[FoundPost]:
    """Write one poll down, and the import's end where it is finished; gives the posts that it listed first."""
    run, name, before = submitted.run, submitted.name, submitted.row
    now = run.clock()
    post_micros = run.settings.tagtrail_prices.import_micros(1)
    result = await run.store.run(import_polls.record_poll, before.import_id, items, post_micros=post_micros)
    submitted.unanswered_polls, submitted.row = 0, (row := result.row)
    if result.new_posts and before.seen == 0:
        run.journal.log.of_import("%s: the first %s posts are listed; their metadata is bought now", name, len(items))
    said = await submitted.watcher.answered(result)
    state = finished_state(
        row.clocks(),
        now,
        quiet_seconds=run.settings.tagtrail_import_quiet_seconds,
        deadline_seconds=run.settings.tagtrail_import_deadline_seconds,
        said=said,
    )
    submitted.pause_seconds = next_poll_seconds(
        result.quiet_polls, run.settings.tagtrail_poll_seconds, jitter=random.random()
    )
    if state is not None:
        submitted.is_open = False
        ended: dict[str, Any] = {"state": state, "post_micros": post_micros, "run_id": run.run_id, "now": now}
        if state == "empty" and said is not None and not said.succeeded:
            ended["note"] = SAID_FAILED
        if (done := await run.store.run(end_import, row.import_id, **ended)) is not None:
            run.journal.log.of_import("%s: import %s, %s listed, %s of them new", name, state, row.seen, row.new)
            events.import_ended(done, run_id=run.run_id)
    return submitted.new_ones(result.new_posts)
