"""Imports: planned in the ledger, submitted once, polled until they are finished; posts come out as they appear."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.database.store import imports as ledger
from blocks.database.store.ending import SAID_FAILED, end_import
from blocks.database.store.imports import ItemSeen, Ticket
from blocks.memories.budget import Voucher
from blocks.memories.client import ImportItemSeen
from blocks.memories.clocks import finished_state, next_poll_seconds, overdue
from blocks.memories.errors import (
    Busy,
    MemoriesError,
    NotAPostUrl,
    NotSent,
    Refused,
    StoreError,
    TagtrailError,
    TooManyRequests,
    UsageError,
)
from blocks.memories.identity import parse_post_url
from blocks.memories.outgoing import Where
from flows.steps import announcing
from flows.steps.hearing import Hearing
from flows.steps.run import Run, current_run
from flows.steps.summary import named
from flows.steps.valve import valve
from flows.steps.wish import Library

SUBMIT_TRIES = 8
"""A submission is sent again only where the API refused it (too many requests, busy) or nothing left."""

NOT_SENT_TRIES = 3
"""Where the API cannot be reached at all, somebody has to look."""

UNANSWERED_POLLS = 3
"""So many polls in a row without an answer, past the deadline, and the import is left to a later run."""


async def plan_imports(run: Run) -> list[Ticket]:
    """Write every import of the wish into the ledger, or find the one that serves it already."""
    tickets = []
    for wish in run.wish.imports:
        ticket = await run.store.run(
            ledger.plan_import,
            account=run.client.account,
            kind=wish.kind,
            hashtag=wish.hashtag,
            wanted=wish.wanted,
            wish=wish.key,
            collection=run.wish.collection or "default",
            namespace=run.wish.namespace,
            library=run.wish.library,
            requested=wish.requested,
            run_id=run.run_id,
            owner=run.owner,
            reuse_after=run.clock() - timedelta(hours=run.wish.reuse_hours),
            fresh=run.wish.fresh,
            durable=True,
        )
        if ticket.how != "submit":
            at = ticket.since.strftime("%H:%M")
            done = "re-used" if ticket.how == "reused" else "joined"
            what = named(wish.kind, wish.wanted.get("hashtag"), ticket.import_id)
            run.note(f"{done} the import of {at} UTC for {what}")
        tickets.append(ticket)
    run.progress.imports_open = len(tickets)
    return tickets


async def collect_posts(run: Run, tickets: list[Ticket]) -> None:
    """Submit and poll all imports at once, each at its own pace; hand over posts as soon as they are listed."""
    run.progress.stage = "importing"
    async with asyncio.TaskGroup() as group:
        for ticket in tickets:
            group.create_task(collect_one(run, ticket))
    run.progress.stage = "enriching"


async def collect_one(run: Run, ticket: Ticket) -> None:
    """Submit and poll one import; what halts the run is kept in it, and the others end by themselves."""
    try:
        await _submit_and_poll(run, ticket)
    except TagtrailError as error:
        if not error.halts:
            raise
        # An answer that one of the others waits for is taken in.
        run.halt(error)
    run.progress.imports_open -= 1
    run.progress.imports_done += 1


async def _submit_and_poll(run: Run, ticket: Ticket) -> None:
    state = ticket.state
    if state == "planned":
        state = await submit_import(ticket.import_id)
    if state in ("submitted", "collecting", "empty", "sending"):
        run.found(await run.store.read(ledger.found_posts, ticket.import_id))
        if run.wish.wait:
            await poll_import(ticket.import_id)
    elif state == "complete":
        run.found(await run.store.read(ledger.found_posts, ticket.import_id))


@task(name="submit-import", task_run_name="submit-import {import_id}", persist_result=False, cache_policy=NO_CACHE)
async def submit_import(import_id: str) -> str:
    """Send one planned import, once; gives the ledger's state afterwards.

    Raises:
        TagtrailError: one that halts the run (key, credits, account, spend cap); the import stays planned.
    """
    run = current_run()
    for attempt in range(1, SUBMIT_TRIES + 1):
        if not await turn_to_send(run, import_id) or not await _turn_by_rate(run):
            break
        async with valve(run) as opened:
            if not opened:
                break
            state = await submit_once(run, import_id, attempt=attempt)
        if state is not None:
            return state
    return (await run.store.read(ledger.get, import_id)).state


async def _turn_by_rate(run: Run) -> bool:
    run.progress.turns_awaited += 1
    try:
        return await run.slot("imports")
    finally:
        run.progress.turns_awaited -= 1


async def submit_once(run: Run, import_id: str, *, attempt: int = SUBMIT_TRIES) -> str | None:
    """Pay for the import, say so in the ledger, and send it; None: nothing was started, and it may be sent again.

    `attempt` counts from 1; after the last one the import is given up.
    """
    row = await run.store.read(ledger.get, import_id)
    voucher = await run.budget.take_import(import_id, row.requested)
    may_have_left = False
    try:
        if not await run.store.run(ledger.mark_sending, import_id, owner=run.owner, durable=True):
            # Somebody else sends it at this moment.
            await voucher.release()
            return (await run.store.read(ledger.get, import_id)).state
        may_have_left = True
        task_id = await _send(run, row)
    except UsageError as error:
        await voucher.release()
        return await _refused(run, import_id, error)
    except MemoriesError as error:
        if not isinstance(error, Refused | NotSent):
            await _ambiguous(run, import_id, str(error))
            return "ambiguous"
        await voucher.release()
        last = SUBMIT_TRIES if isinstance(error, TooManyRequests | Busy) else NOT_SENT_TRIES
        if not isinstance(error, TooManyRequests | Busy | NotSent) or attempt >= last:
            return await _refused(run, import_id, error)
        run.progress.notes.append(f"{error}; trying again ({attempt} of {last})")
        await run.store.run(ledger.back_to_planned, import_id, note=str(error), owner=run.owner, durable=True)
        if isinstance(error, TooManyRequests):
            await run.limiter.penalise("imports", error.retry_after_seconds)
            run.progress.paused_until = run.limiter.paused_until("imports")
        return None
    except asyncio.CancelledError:
        await asyncio.shield(_cancelled_while_sending(run, import_id, voucher, may_have_left=may_have_left))
        raise
    run.limiter.succeeded("imports")
    try:
        await run.store.run(ledger.mark_submitted, import_id, task_id, owner=run.owner, durable=True)
    except StoreError:
        # The one place where the answer still stands is what the user is told.
        run.note(
            f"import {import_id} was accepted as task {task_id}, which could not be written down: "
            f"`tagtrail resolve {import_id} --attach {task_id}` does it later"
        )
        raise
    return "submitted"


async def _cancelled_while_sending(run: Run, import_id: str, voucher: Voucher, *, may_have_left: bool) -> None:
    """The ledger has to know before this process may end."""
    why = "the run was cancelled while the import was being sent"
    if may_have_left:
        await _ambiguous(run, import_id, why)
        return
    await voucher.release()
    await run.store.run(ledger.back_to_planned, import_id, note=why, owner=run.owner, durable=True)


async def turn_to_send(run: Run, import_id: str) -> bool:
    """Wait while another living run is about to send the import; False once it is sent, or need not be.

    That run may wait for its slot for minutes, and may end without having sent anything: then it is this run's.
    """
    while run.halted is None:
        if await run.store.run(ledger.lease_import, import_id, owner=run.owner):
            return (await run.store.read(ledger.get, import_id)).state == "planned"
        row = await run.store.read(ledger.get, import_id)
        if row.state != "planned" or not run.wish.wait:
            return False
        await run.pause(run.settings.tagtrail_poll_seconds)
    return False


async def _send(run: Run, row: ledger.OpenImport) -> str:
    library: Library = "public" if row.library == "public" else "private"
    where: Where = {"namespace": row.namespace, "library": library, "callback_url": run.callback_url}
    if row.kind == "hashtag":
        return await run.client.import_hashtag(row.wanted["hashtag"], row.requested, **where)
    if row.kind == "urls":
        return await run.client.import_urls(row.wanted["urls"], **where)
    return await run.client.import_creator(row.wanted["creator"], row.requested, **where)


async def _refused(run: Run, import_id: str, error: TagtrailError) -> str:
    if error.halts:
        await run.store.run(ledger.back_to_planned, import_id, note=str(error), owner=run.owner, durable=True)
        raise error
    if await run.store.run(ledger.mark_failed, import_id, note=str(error), owner=run.owner, durable=True):
        await announcing.import_ended(run, import_id)
    row = await run.store.read(ledger.get, import_id)
    if row.kind == "hashtag":
        run.note(f"an import was not accepted: {error}")
    else:
        # The service may repeat a creator's name; its words stand in the ledger, and notes are shown in Prefect.
        what = named(row.kind, row.hashtag, import_id)
        run.note(f"{what} was not accepted ({error.error_class}); `tagtrail export imports` has the service's words")
    return "failed"


async def _ambiguous(run: Run, import_id: str, why: str) -> None:
    await run.store.run(ledger.mark_ambiguous, import_id, note=why, owner=run.owner, durable=True)
    run.note(
        f"import {import_id} may or may not have been accepted ({why}); it is not sent again by itself: "
        f"`tagtrail resolve {import_id} --resubmit|--attach TASK_ID|--drop` decides"
    )


@task(name="poll-import", task_run_name="poll-import {import_id}", persist_result=False, cache_policy=NO_CACHE)
async def poll_import(import_id: str) -> str:
    """Follow one import until it is finished, by three clocks; gives the ledger's state afterwards.

    Another run that follows it already is watched instead, through the database, and replaced if it dies.
    """
    run = current_run()
    try:
        while run.halted is None:
            if await run.store.run(ledger.lease_import, import_id, owner=run.owner):
                return await _follow(run, import_id)
            row = await run.store.read(ledger.get, import_id)
            run.found(await run.store.read(ledger.found_posts, import_id))
            if row.state not in ("sending", "submitted", "collecting"):
                return row.state
            await run.pause(run.settings.tagtrail_poll_seconds)
        return (await run.store.read(ledger.get, import_id)).state
    finally:
        await asyncio.shield(run.store.run(ledger.release_import, import_id, owner=run.owner))


async def _follow(run: Run, import_id: str) -> str:
    unanswered = 0
    wait_seconds = run.settings.tagtrail_poll_seconds
    post_micros = run.settings.tagtrail_prices.import_micros(1)
    row = await run.store.run(ledger.start_following, import_id)
    hearing = Hearing(run, import_id)
    while run.halted is None:
        await hearing.listen()
        items = await _ask(run, row)
        now = run.clock()
        if items is None:
            unanswered += 1
            late = overdue(row.clocks(), now, deadline_seconds=run.settings.tagtrail_import_deadline_seconds)
            if late and unanswered >= UNANSWERED_POLLS:
                run.note(f"import {import_id} could not be polled; it is left to a later run")
                return row.state
        else:
            unanswered = 0
            result = await run.store.run(ledger.record_poll, import_id, items, post_micros=post_micros)
            run.progress.cost_usd += result.new_items * post_micros / 1_000_000
            if result.new_posts:
                run.found(result.new_posts)
            row = result.row
            said = await hearing.answered(result)
            state = finished_state(
                row.clocks(),
                now,
                quiet_seconds=run.settings.tagtrail_import_quiet_seconds,
                deadline_seconds=run.settings.tagtrail_import_deadline_seconds,
                said=said,
            )
            if state is not None:
                ended: dict[str, Any] = {"state": state, "post_micros": post_micros, "run_id": run.run_id, "now": now}
                if state == "empty" and said is not None and not said.succeeded:
                    ended["note"] = SAID_FAILED
                if await run.store.run(end_import, import_id, **ended):
                    await announcing.import_ended(run, import_id)
                return state
            wait_seconds = next_poll_seconds(
                result.quiet_polls, run.settings.tagtrail_poll_seconds, jitter=random.random()
            )
        await hearing.pause(wait_seconds)
    return row.state


async def _ask(run: Run, row: ledger.OpenImport) -> list[ItemSeen] | None:
    """One poll; None where no answer came. A poll's error is never the import's failure."""
    if not await run.slot("status"):
        return None
    assert row.task_id is not None
    try:
        # A public import has no namespace: polled under one it would look empty for ever.
        namespace = None if row.library == "public" else row.namespace
        items = await run.client.import_status(row.task_id, namespace=namespace)
    except TagtrailError as error:
        if error.halts:
            raise
        if isinstance(error, TooManyRequests):
            await run.limiter.penalise("status", error.retry_after_seconds)
        run.poll_errors[error.error_class] += 1
        return None
    run.limiter.succeeded("status")
    return [_seen(item) for item in items]


def _seen(item: ImportItemSeen) -> ItemSeen:
    ref = None
    if item.video_url is not None:
        try:
            ref = parse_post_url(item.video_url)
        except NotAPostUrl:
            # Kept and counted as an item without a post; its own URL stands in the row.
            ref = None
    return ItemSeen(video_no=item.video_no, source_url=item.video_url, item_status=item.status, ref=ref)
