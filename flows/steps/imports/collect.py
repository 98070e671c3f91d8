"""Imports: planned in the ledger, submitted once, polled until they are finished; posts come out as they appear."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.completion import finished_state, next_poll_seconds, overdue
from blocks.database.store import imports as ledger
from blocks.database.store import repeated
from blocks.database.store.ending import SAID_FAILED, end_import
from blocks.database.store.imports import Ticket
from blocks.errors import (
    Busy,
    Duplicate,
    MemoriesError,
    NotSent,
    SpendCapReached,
    StoreError,
    TagtrailError,
    TooManyRequests,
    UsageError,
)
from blocks.memories.requests import Where
from blocks.quotas.budget import Voucher
from blocks.quotas.limit_queues import Turn
from flows.steps.enrichment.verdict import surely_not_begun
from flows.steps.imports.ambiguity_limit import leave_planned
from flows.steps.imports.callback_watcher import Hearing
from flows.steps.imports.poll_once import ask
from flows.steps.prefect_side import run_events
from flows.steps.prefect_side.schedule import is_scheduled
from flows.steps.run.cancellation import finished
from flows.steps.run.lifecycle import Run, current_run
from flows.steps.run.summary import named

SUBMIT_TRIES = 8
"""A submission is sent again only where the API refused it (too many requests, busy) or nothing left."""

NOT_SENT_TRIES = 3
"""Where the API cannot be reached at all, somebody has to look."""

TURN_SECONDS = 1.0
"""A turn to send that is older than this is not used."""

UNANSWERED_POLLS = 3
"""So many polls in a row without an answer, past the deadline, and the import is left to a later run."""


async def plan_imports(run: Run) -> list[Ticket]:
    """Write every import of the wish into the ledger, or find the one that serves it already."""
    tickets = []
    if run.wish.library == "public" and run.wish.namespace != run.wish.collection:
        run.note(f"the public library knows no namespaces: {run.wish.namespace!r} is not sent")
    for wish in run.wish.imports:
        ticket = await run.store.run_durable(
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
            continues=not is_scheduled(),
        )
        if ticket.how != "submit":
            at = ticket.since.strftime("%H:%M")
            done = "re-used" if ticket.how == "reused" else "joined"
            if ticket.open_only:
                done, run.continues = "continued", True
            what = named(wish.kind, wish.wanted.get("hashtag"), ticket.import_id, wish.requested)
            run.note(f"{done} the import of {at} UTC for {what}")
            run.log.of_import("%s: import of %s UTC %s; nothing is submitted", what, at, done)
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
    """Submit and poll one import; what ends the run is kept in it, and the others end by themselves."""
    try:
        await _submit_and_poll(run, ticket)
    except TagtrailError as error:
        # Also a database that cannot be used: an answer that one of the others waits for is taken in.
        run.halt(error)
    run.progress.imports_open -= 1
    run.progress.imports_done += 1


async def _submit_and_poll(run: Run, ticket: Ticket) -> None:
    state = ticket.state
    row = await run.store.read(ledger.get, ticket.import_id)
    name = named(row.kind, row.hashtag, row.import_id, row.requested)
    if state == "planned":
        state = await submit_import(ticket.import_id, name)
        run.log.of_import("%s: import %s (asked for %s posts)", name, state, row.requested)
        if state == "dropped" and (twin := await run.store.read(repeated.running_twin, ticket.import_id)):
            ticket, state = replace(ticket, import_id=twin.import_id, how="attached"), twin.state
    listed = {"open_only": ticket.open_only}
    if state in ("submitted", "collecting", "empty", "sending"):
        run.found(await run.store.read(ledger.found_posts, ticket.import_id, **listed))
        if run.wish.wait:
            await poll_import(ticket.import_id, name)
    elif state == "complete":
        run.found(await run.store.read(ledger.found_posts, ticket.import_id, **listed))
        if ticket.how == "reused" and run.wish.wait and await _lists_more(run, ticket.import_id):
            await poll_import(ticket.import_id, name)


async def _lists_more(run: Run, import_id: str) -> bool:
    """Whether an import that ended with fewer posts than were asked for lists more by now; then it is open again.

    A poll costs nothing: what came after the quiet time need not be bought a second time.
    """
    row = await run.store.read(ledger.get, import_id)
    if row.task_id is None or row.seen + row.withheld >= row.requested:
        return False
    items = await ask(run, row)
    listed = {item.video_no if item.ref is None else item.ref for item in items or ()}
    return len(listed) > row.seen + row.withheld and await run.store.run_durable(ledger.reopen, import_id)


@task(name="submit-import", task_run_name="submit {name}", persist_result=False, cache_policy=NO_CACHE)
async def submit_import(import_id: str, name: str) -> str:
    """Send one planned import, once; gives the ledger's state afterwards. `name` is what Prefect shows (`#lvmh`).

    A cap that is reached halts the run, and the import stays planned.

    Raises:
        TagtrailError: one that halts the run (key, credits, account); the import stays planned.
    """
    run = current_run()
    for attempt in range(1, SUBMIT_TRIES + 1):
        if not await turn_to_send(run, import_id):
            break
        async with run.doubts.place() as free:
            if not free:
                await leave_planned(run, import_id)
                break
            if (turn := await _turn_by_rate(run)) is None:
                break
            sending = submit_once(run, import_id, attempt=attempt, turn=turn)
            try:
                state = await finished(sending, cancelled=run.say_it_ends)
            except SpendCapReached as reached:
                run.halt(reached)
                break
            run.doubts.ended(state)
        if state is not None:
            return state
    return (await run.store.read(ledger.get, import_id)).state


async def _turn_by_rate(run: Run) -> Turn | None:
    run.progress.turns_awaited += 1
    try:
        return await run.slot("imports")
    finally:
        run.progress.turns_awaited -= 1


async def submit_once(run: Run, import_id: str, *, attempt: int = SUBMIT_TRIES, turn: Turn | None = None) -> str | None:
    """Pay for the import, say so in the ledger, and send it; None: nothing was started, and it may be sent again.

    `attempt` counts from 1; after the last one the import is given up. `turn` is the slot by which it is sent.
    """
    row = await run.store.read(ledger.get, import_id)
    voucher = await run.budget.take_import(import_id, row.requested, collection=row.collection)
    may_have_left = False
    try:
        spend_id = voucher.spend_id
        if not await run.store.run_durable(ledger.mark_sending, import_id, owner=run.owner, spend_id=spend_id):
            # Somebody else sends it at this moment.
            await voucher.release()
            return (await run.store.read(ledger.get, import_id)).state
        if run.stops.cut_off is not None:
            await _not_sent(run, import_id, voucher, "the run was stopped before it was sent")
            return None
        if turn is not None and not turn.use(TURN_SECONDS):
            # The database took so long that others may have had their turn since: this one waits for another.
            await _not_sent(run, import_id, voucher, "its turn had passed before it was sent")
            return None
        may_have_left = True
        task_id = await _send(run, row)
    except UsageError as error:
        await voucher.release()
        return await _refused(run, import_id, error)
    except MemoriesError as error:
        if not surely_not_begun(error):
            state = await _unknown_outcome(run, import_id, voucher, error)
            await run.heed("imports", error)
            if error.halts:
                raise
            return state
        await voucher.release()
        last = SUBMIT_TRIES if isinstance(error, TooManyRequests | Busy) else NOT_SENT_TRIES
        if not isinstance(error, TooManyRequests | Busy | NotSent) or attempt >= last:
            state = await _refused(run, import_id, error)
            await run.heed("imports", error)
            return state
        run.progress.notes.append(f"{error}; trying again ({attempt} of {last})")
        await run.store.run_durable(ledger.back_to_planned, import_id, note=str(error), owner=run.owner)
        await run.heed("imports", error)
        return None
    except asyncio.CancelledError:
        await asyncio.shield(_cancelled_while_sending(run, import_id, voucher, may_have_left=may_have_left))
        raise
    run.limiter.succeeded("imports")
    run.served = True
    try:
        await run.store.run_durable(ledger.mark_submitted, import_id, task_id, owner=run.owner)
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
    await _not_sent(run, import_id, voucher, why)


async def _not_sent(run: Run, import_id: str, voucher: Voucher, why: str) -> None:
    await voucher.release()
    await run.store.run_durable(ledger.back_to_planned, import_id, note=why, owner=run.owner)


async def turn_to_send(run: Run, import_id: str) -> bool:
    """Wait while another living run is about to send the import; False once it is sent, or need not be. Where that
    run ends without having sent it, it is this run's."""
    while run.halted is None:
        if await run.store.run(ledger.lease_import, import_id, owner=run.owner):
            return (await run.store.read(ledger.get, import_id)).state == "planned"
        row = await run.store.read(ledger.get, import_id)
        if row.state != "planned" or not run.wish.wait:
            return False
        await run.pause(run.settings.tagtrail_poll_seconds)
    return False


async def _send(run: Run, row: ledger.OpenImport) -> str:
    where: Where = {"library": "private", "namespace": row.namespace, "callback_url": run.callback_url}
    if row.library == "public":  # It knows no namespaces; the row's keeps collections apart in the ledger.
        where = {"library": "public", "callback_url": run.callback_url}
    if row.kind == "hashtag":
        return await run.client.import_hashtag(row.wanted["hashtag"], row.requested, **where)
    if row.kind == "urls":
        return await run.client.import_urls(row.wanted["urls"], **where)
    return await run.client.import_creator(row.wanted["creator"], row.requested, **where)


async def _refused(run: Run, import_id: str, error: TagtrailError) -> str:
    if error.halts:
        await run.store.run_durable(ledger.back_to_planned, import_id, note=str(error), owner=run.owner)
        raise error
    if await run.store.run_durable(ledger.mark_failed, import_id, note=str(error), owner=run.owner):
        await run_events.import_ended(run, import_id)
    row = await run.store.read(ledger.get, import_id)
    if row.kind == "hashtag":
        run.note(f"an import was not accepted: {error}")
    else:
        # The service may repeat a creator's name; its words stand in the ledger, and notes are shown in Prefect.
        what = named(row.kind, row.hashtag, import_id, row.requested)
        run.note(f"{what} was not accepted ({error.error_class}); `tagtrail export imports` has the service's words")
    return "failed"


async def _unknown_outcome(run: Run, import_id: str, voucher: Voucher, error: MemoriesError) -> str:
    """Nobody knows what the API did. Where it says that it did so before, the import that it means is looked for."""
    if isinstance(error, Duplicate):
        twin_id = await run.store.run_durable(
            repeated.give_way, import_id, run_id=run.run_id, owner=run.owner, why=str(error)
        )
        if twin_id is not None:
            await voucher.release()
            run.note(f"import {import_id} was taken for a repeated one; import {twin_id}, under way already, serves it")
            return "dropped"
    await _ambiguous(run, import_id, str(error))
    return "ambiguous"


async def _ambiguous(run: Run, import_id: str, why: str) -> None:
    await run.store.run_durable(ledger.mark_ambiguous, import_id, note=why, owner=run.owner)
    run.note(
        f"import {import_id} may or may not have been accepted ({why}); it is not sent again by itself: "
        f"`tagtrail resolve {import_id} --resubmit|--attach TASK_ID|--drop` decides"
    )


@task(name="poll-import", task_run_name="poll {name}", persist_result=False, cache_policy=NO_CACHE)
async def poll_import(import_id: str, name: str) -> str:
    """Follow one import until it is finished, by three clocks; gives the ledger's state afterwards.

    Another run that follows it already is watched instead, through the database, and replaced if it dies.
    """
    run = current_run()
    try:
        while run.halted is None:
            if await run.store.run(ledger.lease_import, import_id, owner=run.owner):
                return await _follow(run, import_id, name)
            row = await run.store.read(ledger.get, import_id)
            run.found(await run.store.read(ledger.found_posts, import_id))
            if row.state not in ("sending", "submitted", "collecting"):
                return row.state
            await run.pause(run.settings.tagtrail_poll_seconds)
        return (await run.store.read(ledger.get, import_id)).state
    finally:
        await asyncio.shield(run.store.run(ledger.release_import, import_id, owner=run.owner))


async def _follow(run: Run, import_id: str, name: str) -> str:
    unanswered = 0
    wait_seconds = run.settings.tagtrail_poll_seconds
    post_micros = run.settings.tagtrail_prices.import_micros(1)
    row = await run.store.run(ledger.start_following, import_id)
    hearing = Hearing(run, import_id)
    while run.halted is None:
        await hearing.listen()
        items = await ask(run, row)
        now = run.clock()
        if items is None:
            unanswered += 1
            late = overdue(row.clocks(), now, deadline_seconds=run.settings.tagtrail_import_deadline_seconds)
            if late and unanswered >= UNANSWERED_POLLS:
                drop = f"; `tagtrail resolve {import_id} --drop` gives it up"
                why = "" if run.poll_errors["Unreadable"] == 0 else f": its answers cannot be read{drop}"
                run.note(f"import {import_id} could not be polled; it is left to a later run{why}")
                return row.state
        else:
            unanswered = 0
            result = await run.store.run(ledger.record_poll, import_id, items, post_micros=post_micros)
            if result.new_posts:
                if row.seen == 0:
                    run.log.of_import(
                        "%s: the first %s posts are listed; their metadata is bought now", name, len(items)
                    )
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
                    run.log.of_import("%s: import %s, %s listed, %s of them new", name, state, row.seen, row.new)
                    await run_events.import_ended(run, import_id)
                return state
            wait_seconds = next_poll_seconds(
                result.quiet_polls, run.settings.tagtrail_poll_seconds, jitter=random.random()
            )
        await hearing.pause(wait_seconds)
    return row.state
