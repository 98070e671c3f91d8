"""An import is polled until it is finished; each poll task gives the posts that are new, as soon as there are any."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.completion import finished_state, next_poll_seconds, overdue
from blocks.database.store import import_polls
from blocks.database.store import imports as ledger
from blocks.database.store.import_polls import SAID_FAILED, ItemSeen, end_import
from blocks.database.store.imports import FoundPost
from flows.steps.imports.followed import FollowedImport
from flows.steps.imports.poll_once import poll_once
from flows.steps.prefect_side import run_events

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
        run.log.of_import("%s: the first %s posts are listed; their metadata is bought now", name, len(items))
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
            run.log.of_import("%s: import %s, %s listed, %s of them new", name, state, row.seen, row.new)
            run_events.import_ended(done, run_id=run.run_id)
    return submitted.new_ones(result.new_posts)
