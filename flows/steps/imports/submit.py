"""A planned import is paid for, written down and sent, once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from blocks.database.engine import Store, open_store
from blocks.database.store import import_planning
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Decision
from blocks.errors import (
    Busy,
    Duplicate,
    MemoriesError,
    NotSent,
    Refused,
    SpendCapReached,
    StoreError,
    TagtrailError,
    TooManyRequests,
    Transient,
    UsageError,
)
from blocks.memories.client import MemoriesClient
from blocks.memories.error_codes import contradicts_itself
from blocks.memories.requests import Where
from blocks.outside_words import for_log
from blocks.quotas.budget import Reservation
from blocks.settings import get_settings
from flows.steps.imports.poll import FollowedImport, read_import
from flows.steps.prefect_side import events
from flows.steps.run.accounts import saved_database_url
from flows.steps.run.call_limits import MAX_AMBIGUOUS
from flows.steps.run.context import RunContext
from flows.steps.run.summary import named

SUBMIT_TRIES = 8
"""A submission is sent again only where the API refused it (too many requests, busy) or nothing left."""

NOT_SENT_TRIES = 3
"""Where the API cannot be reached at all, somebody has to look."""

MAX_SLOT_AGE_SECONDS = 0.6
"""A slot that is older than this is not used. The margin between slots makes up for so much: 1 % of a minute."""


@task(name="submit-import", task_run_name="submit {planned.name}", persist_result=False, cache_policy=NO_CACHE)
async def submit_import(planned: FollowedImport) -> FollowedImport:
    """Send one planned import, once, and give what is to be followed then.

    A cap that is reached halts the run, and the import stays planned.

    Raises:
        TagtrailError: one that halts the run (key, credits, account); the import stays planned.
    """
    run, ticket = planned.run, planned.ticket
    state = await _submit(run, ticket.import_id)
    run.journal.log.of_import("%s: import %s (asked for %s posts)", planned.name, state, planned.row.requested)
    if state == "dropped" and (twin := await run.store.read(import_planning.running_twin, ticket.import_id)):
        return await read_import(run, replace(ticket, import_id=twin.import_id, how="attached", state=twin.state))
    return await read_import(run, replace(ticket, state=state))


async def _submit(run: RunContext, import_id: str) -> str:
    """Send it, once; gives the ledger's state afterwards."""
    for attempt in range(1, SUBMIT_TRIES + 1):
        if not await turn_to_send(run, import_id):
            break
        async with run.limits.ambiguity.place() as free:
            if not free:
                await _leave_planned(run, import_id)
                break
            if not await _wait_for_slot(run):
                break
            sending = submit_once(run, import_id, attempt=attempt)
            try:
                state = await run.halt.complete_even_if_cancelled(sending)
            except SpendCapReached as reached:
                run.halt.pull(reached)
                break
            run.limits.ambiguity.ended(state)
        if state is not None:
            return state
    return (await run.store.read(ledger.get, import_id)).state


async def _wait_for_slot(run: RunContext) -> bool:
    run.progress.turns_awaited += 1
    try:
        return await run.limits.slot("imports")
    finally:
        run.progress.turns_awaited -= 1


async def _leave_planned(run: RunContext, import_id: str) -> None:
    """Leave an import to another run: it might be billed as well, and would be one more question to somebody."""
    same = "the same command without --fresh" if run.request.fresh else "the same command"
    run.journal.note(
        f"{MAX_AMBIGUOUS} submissions in a row ended in doubt, so this run sends no other: what was not sent stays "
        f"planned, and {same} sends it later"
    )
    await run.store.run(ledger.release_import, import_id, owner=run.owner)


async def submit_once(run: RunContext, import_id: str, *, attempt: int = SUBMIT_TRIES) -> str | None:
    """Pay for the import, say so in the ledger, and send it; None: nothing was started, and it may be sent again.

    Call it as soon as there is a slot. `attempt` counts from 1; after the last one the import is given up.
    """
    slot_at = time.monotonic()
    row = await run.store.read(ledger.get, import_id)
    reservation = await run.budget.reserve_import(import_id, row.requested, collection=row.collection)
    may_have_left = False
    try:
        spend_id = reservation.spend_id
        if not await run.store.run_durable(ledger.mark_sending, import_id, owner=run.owner, spend_id=spend_id):
            # Somebody else sends it at this moment.
            await reservation.release()
            return (await run.store.read(ledger.get, import_id)).state
        if run.halt.cut_off is not None:
            await _not_sent(run.store, run.owner, import_id, reservation, "the run was stopped before it was sent")
            return None
        if time.monotonic() - slot_at > MAX_SLOT_AGE_SECONDS:
            # The database took so long that it would leave together with others: it waits for another slot.
            await _not_sent(run.store, run.owner, import_id, reservation, "its slot had passed before it was sent")
            return None
        may_have_left = True
        task_id = await _send(run.client, row)
    except UsageError as error:
        await reservation.release()
        return await _refused(run, import_id, error)
    except MemoriesError as error:
        if not is_safe_to_resend(error):
            state = await _unknown_outcome(run, import_id, reservation, error)
            await run.limits.apply_retry_after("imports", error)
            if error.halts:
                raise
            return state
        await reservation.release()
        last = SUBMIT_TRIES if isinstance(error, TooManyRequests | Busy) else NOT_SENT_TRIES
        if not isinstance(error, TooManyRequests | Busy | NotSent) or attempt >= last:
            state = await _refused(run, import_id, error)
            await run.limits.apply_retry_after("imports", error)
            return state
        run.progress.notes.append(f"{error}; trying again ({attempt} of {last})")
        await run.store.run_durable(ledger.back_to_planned, import_id, note=str(error), owner=run.owner)
        await run.limits.apply_retry_after("imports", error)
        return None
    except asyncio.CancelledError:
        await asyncio.shield(_cancelled_while_sending(run, import_id, reservation, may_have_left=may_have_left))
        raise
    run.limits.succeeded("imports")
    run.journal.served = True
    try:
        follows = run.request.wait
        await run.store.run_durable(ledger.mark_submitted, import_id, task_id, owner=run.owner, follows=follows)
    except StoreError:
        # The one place where the answer still stands is what the user is told.
        run.journal.note(
            f"import {import_id} was accepted as task {task_id}, which could not be written down: "
            f"`tagtrail resolve {import_id} --attach {task_id}` does it later"
        )
        raise
    return "submitted"


async def _cancelled_while_sending(
    run: RunContext, import_id: str, reservation: Reservation, *, may_have_left: bool
) -> None:
    """The ledger has to know before this process may end."""
    why = "the run was cancelled while the import was being sent"
    if may_have_left:
        await _ambiguous(run, import_id, why)
        return
    await _not_sent(run.store, run.owner, import_id, reservation, why)


async def _not_sent(store: Store, owner: str, import_id: str, reservation: Reservation, why: str) -> None:
    await reservation.release()
    await store.run_durable(ledger.back_to_planned, import_id, note=why, owner=owner)


async def turn_to_send(run: RunContext, import_id: str) -> bool:
    """Wait while another living run is about to send the import; False once it is sent, or need not be. Where that
    run ends without having sent it, it is this run's."""
    while run.halt.reason is None:
        if (leased := await run.store.run(ledger.lease_import, import_id, owner=run.owner)) is not None:
            return leased.state == "planned"
        row = await run.store.read(ledger.get, import_id)
        if row.state != "planned" or not run.request.wait:
            return False
        await run.halt.pause(run.settings.tagtrail_poll_seconds)
    return False


async def _send(client: MemoriesClient, row: ledger.OpenImport) -> str:
    where: Where = {"library": "private", "namespace": row.namespace, "callback_url": client.callback_url}
    if row.library == "public":  # It knows no namespaces; the row's keeps collections apart in the ledger.
        where = {"library": "public", "callback_url": client.callback_url}
    if row.kind == "hashtag":
        return await client.import_hashtag(row.wanted["hashtag"], row.requested, **where)
    if row.kind == "urls":
        return await client.import_urls(row.wanted["urls"], **where)
    return await client.import_creator(row.wanted["creator"], row.requested, **where)


async def _refused(run: RunContext, import_id: str, error: TagtrailError) -> str:
    if error.halts:
        await run.store.run_durable(ledger.back_to_planned, import_id, note=str(error), owner=run.owner)
        raise error
    row = await run.store.run_durable(ledger.mark_failed, import_id, note=str(error), owner=run.owner)
    if row is not None:
        events.import_ended(row, run_id=run.run_id)
    else:
        row = await run.store.read(ledger.get, import_id)
    if row.kind == "hashtag":
        run.journal.note(f"an import was not accepted: {error}")
    else:
        # The service may repeat a creator's name; its words stand in the ledger, and notes are shown in Prefect.
        what = named(row.kind, row.hashtag, import_id, row.requested)
        run.journal.note(
            f"{what} was not accepted ({error.error_class}); `tagtrail export imports` has the service's words"
        )
    return "failed"


async def _unknown_outcome(run: RunContext, import_id: str, reservation: Reservation, error: MemoriesError) -> str:
    """Nobody knows what the API did. Where it says that it did so before, the import that it means is looked for."""
    if isinstance(error, Duplicate):
        twin_id = await run.store.run_durable(
            import_planning.give_way, import_id, run_id=run.run_id, owner=run.owner, why=str(error)
        )
        if twin_id is not None:
            await reservation.release()
            run.journal.note(
                f"import {import_id} was taken for a repeated one; import {twin_id}, under way already, serves it"
            )
            return "dropped"
    await _ambiguous(run, import_id, str(error))
    return "ambiguous"


async def _ambiguous(run: RunContext, import_id: str, why: str) -> None:
    await run.store.run_durable(ledger.mark_ambiguous, import_id, note=why, owner=run.owner)
    run.journal.note(
        f"import {import_id} may or may not have been accepted ({why}); it is not sent again by itself: "
        f"`tagtrail resolve {import_id} --resubmit|--attach TASK_ID|--drop` decides"
    )


def is_safe_to_resend(error: TagtrailError) -> bool:
    """Whether a submission that failed so has begun no import, for sure.

    "Network abnormal", and a code of success beside `success: false`, say neither yes nor no: a second bill is worse
    than a question. Nor does "repeated operation": an earlier submission may run.
    """
    if isinstance(error, Transient | Duplicate):
        return False
    return isinstance(error, NotSent) or (isinstance(error, Refused) and not contradicts_itself(error))


NEXT = {
    "planned": "the next run of the same wish sends it",
    "submitted": "the next run or sweep follows it",
    "dropped": "its wish is free for a new import",
}


async def decide(import_id: str, decision: Decision, task_id: str) -> State[Any]:
    """Carry one decision out; Failed with one sentence where there is nothing to decide."""
    try:
        url = await saved_database_url() or get_settings().database_url
        store = await asyncio.to_thread(open_store, url, create=True)
        try:
            row = await store.run_durable(import_planning.decide, import_id, decision, task_id=task_id)
        finally:
            store.close()
    except TagtrailError as error:
        return Failed(message=for_log(str(error)))
    return Completed(message=f"import {row.import_id} is {row.state} now; {NEXT[row.state]}")
