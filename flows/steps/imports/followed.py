"""Imports on their way through a run, side by side: what each is called, what it has listed, whether it is polled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Ticket
from blocks.database.store.imports import FoundPost, OpenImport
from blocks.errors import TagtrailError
from blocks.posts.identity import item_key
from flows.steps.imports.callback_watcher import CallbackWatcher
from flows.steps.imports.poll_once import poll_once
from flows.steps.run.context import RunContext
from flows.steps.run.summary import named


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
