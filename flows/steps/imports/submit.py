"""A planned import is paid for, written down and sent, once; where the outcome is unknown, a person decides."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from blocks.database.store import import_planning
from blocks.database.store import imports as ledger
from blocks.database.store.import_planning import Decision, Ticket
from blocks.database.tables import Import
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
from blocks.memories.error_codes import contradicts_itself
from blocks.memories.requests import Where
from blocks.outside_words import for_log
from blocks.quotas.budget import Reservation
from flows.steps.prefect_side import events
from flows.steps.run.accounts import open_database
from flows.steps.run.context import RunContext
from flows.steps.run.halt_switch import MAX_AMBIGUOUS
from flows.steps.run.summary import named

SUBMIT_TRIES = 8
"""A submission is sent again only where the API refused it (too many requests, busy) or nothing left."""

NOT_SENT_TRIES = 3
"""Where the API cannot be reached at all, somebody has to look."""

MAX_SLOT_AGE_SECONDS = 0.6
"""A slot that is older than this is not used. The margin between slots makes up for so much: 1 % of a minute."""


class Submitter:
    """Sends planned imports for one run: each is paid for, written down and sent, once."""

    def __init__(self, run: RunContext) -> None:
        self._store, self._client, self._budget = run.store, run.client, run.budget
        self._limiter, self._halt = run.limiter, run.halt
        self._journal, self._progress = run.journal, run.progress
        self._run_id, self._owner, self._request = run.run_id, run.owner, run.request
        self._look_seconds = run.settings.tagtrail_poll_seconds

    async def submit(self, ticket: Ticket, name: str) -> Ticket:
        """Send one planned import, once, and give what is to be followed then; `name` is what the log calls it.

        Where the run is halted first, or a cap is reached, which halts it, the import stays planned.

        Raises:
            TagtrailError: one that halts the run (key, credits, account); the import stays planned.
        """
        state = await self._submit(ticket.import_id)
        self._journal.log.of_import("%s: import %s (asked for %s posts)", name, state, ticket.requested)
        if state == "dropped" and (twin := await self._store.read(import_planning.running_twin, ticket.import_id)):
            return replace(ticket, import_id=twin.import_id, action="attached", state=twin.state)
        return replace(ticket, state=state)

    async def _submit(self, import_id: str) -> str:
        """Try until it is sent, or need not be; gives the ledger's state afterwards."""
        for attempt in range(1, SUBMIT_TRIES + 1):
            if not await self._lease_to_send(import_id):
                break
            async with self._halt.ambiguity.place() as free:
                if not free:
                    await self._leave_planned(import_id)
                    break
                if not await self._wait_for_slot():
                    break
                sending = self._submit_once(import_id, attempt)
                try:
                    state = await self._halt.complete_even_if_cancelled(sending)
                except SpendCapReached as reached:
                    self._halt.pull(reached)
                    break
                self._halt.ambiguity.ended(state)
            if state is not None:
                return state
        return (await self._store.read(ledger.get, import_id)).state

    async def _lease_to_send(self, import_id: str) -> bool:
        """Wait while another living run is about to send the import; False once it is sent, or need not be. Where that
        run ends without having sent it, it is this run's."""
        while self._halt.reason is None:
            if (leased := await self._store.run(ledger.lease_import, import_id, owner=self._owner)) is not None:
                return leased.state == "planned"
            row = await self._store.read(ledger.get, import_id)
            if row.state != "planned" or not self._request.wait:
                return False
            await self._halt.pause(self._look_seconds)
        return False

    async def _leave_planned(self, import_id: str) -> None:
        """Leave an import to another run: it might be billed as well, and would be one more question to somebody."""
        same = "the same command without --fresh" if self._request.fresh else "the same command"
        self._journal.note(
            f"{MAX_AMBIGUOUS} submissions in a row ended in doubt, so this run sends no other: what was not sent stays "
            f"planned, and {same} sends it later"
        )
        await self._store.run(ledger.release_import, import_id, owner=self._owner)

    async def _wait_for_slot(self) -> bool:
        self._progress.imports_waiting += 1
        try:
            return await self._halt.unless_halted(self._limiter.acquire("imports"))
        finally:
            self._progress.imports_waiting -= 1

    async def _submit_once(self, import_id: str, attempt: int) -> str | None:
        """Pay for the import, say so in the ledger, and send it; None: nothing was started, and it may be sent again.

        Call it as soon as there is a slot. `attempt` counts from 1; after the last one the import is given up.
        """
        slot_at = time.monotonic()
        row = await self._store.read(ledger.get, import_id)
        reservation = await self._budget.reserve_import(import_id, row.requested, collection=row.collection)
        may_have_left = False
        try:
            spend_id = reservation.spend_id
            if not await self._store.run_durable(ledger.mark_sending, import_id, owner=self._owner, spend_id=spend_id):
                # Somebody else sends it at this moment.
                await reservation.release()
                return (await self._store.read(ledger.get, import_id)).state
            if self._halt.cut_off is not None:
                await self._not_sent(import_id, reservation, "the run was stopped before it was sent")
                return None
            if time.monotonic() - slot_at > MAX_SLOT_AGE_SECONDS:
                # The database took so long that it would leave together with others: it waits for another slot.
                await self._not_sent(import_id, reservation, "its slot had passed before it was sent")
                return None
            may_have_left = True
            task_id = await self._send(row)
        except UsageError as error:
            await reservation.release()
            return await self._refused(import_id, error)
        except MemoriesError as error:
            if not is_safe_to_resend(error):
                state = await self._unknown_outcome(import_id, reservation, error)
                await self._apply_retry_after(error)
                if error.halts:
                    raise
                return state
            await reservation.release()
            last = SUBMIT_TRIES if isinstance(error, TooManyRequests | Busy) else NOT_SENT_TRIES
            if not isinstance(error, TooManyRequests | Busy | NotSent) or attempt >= last:
                state = await self._refused(import_id, error)
                await self._apply_retry_after(error)
                return state
            self._progress.notes.append(f"{error}; trying again ({attempt} of {last})")
            await self._store.run_durable(ledger.back_to_planned, import_id, note=str(error), owner=self._owner)
            await self._apply_retry_after(error)
            return None
        except asyncio.CancelledError:
            # The ledger has to know before this process may end.
            why = "the run was cancelled while the import was being sent"
            if may_have_left:
                await asyncio.shield(self._ambiguous(import_id, why))
            else:
                await asyncio.shield(self._not_sent(import_id, reservation, why))
            raise
        self._limiter.succeeded("imports")
        self._journal.served = True
        try:
            follows = self._request.wait
            await self._store.run_durable(ledger.mark_submitted, import_id, task_id, owner=self._owner, follows=follows)
        except StoreError:
            # The one place where the answer still stands is this sentence.
            self._journal.note(
                f"import {import_id} was accepted as task {task_id}, which could not be written down: "
                f"`tagtrail resolve {import_id} --attach {task_id}` does it later"
            )
            raise
        return "submitted"

    async def _send(self, row: Import) -> str:
        client = self._client
        where: Where = {"library": "private", "namespace": row.namespace, "callback_url": client.callback_url}
        if row.library == "public":  # It knows no namespaces; the row's keeps collections apart in the ledger.
            where = {"library": "public", "callback_url": client.callback_url}
        if row.kind == "hashtag":
            return await client.import_hashtag(row.wanted["hashtag"], row.requested, **where)
        if row.kind == "urls":
            return await client.import_urls(row.wanted["urls"], **where)
        return await client.import_creator(row.wanted["creator"], row.requested, **where)

    async def _apply_retry_after(self, error: MemoriesError) -> None:
        until = await self._limiter.apply_retry_after("imports", error)
        self._progress.paused_until = until or self._progress.paused_until

    async def _not_sent(self, import_id: str, reservation: Reservation, why: str) -> None:
        await reservation.release()
        await self._store.run_durable(ledger.back_to_planned, import_id, note=why, owner=self._owner)

    async def _refused(self, import_id: str, error: TagtrailError) -> str:
        if error.halts:
            await self._store.run_durable(ledger.back_to_planned, import_id, note=str(error), owner=self._owner)
            raise error
        row = await self._store.run_durable(ledger.mark_failed, import_id, note=str(error), owner=self._owner)
        if row is not None:
            events.import_ended(row, run_id=self._run_id)
        else:
            row = await self._store.read(ledger.get, import_id)
        if row.kind == "hashtag":
            self._journal.note(f"an import was not accepted: {error}")
        else:
            # The service may repeat a creator's name; its words stand in the ledger, and notes are shown in Prefect.
            what = named(row.kind, row.hashtag, import_id, row.requested)
            self._journal.note(
                f"{what} was not accepted ({error.error_class}); `tagtrail export imports` has the service's words"
            )
        return "failed"

    async def _unknown_outcome(self, import_id: str, reservation: Reservation, error: MemoriesError) -> str:
        """Nobody knows what the API did. Where it says that it did so before, the import that it means is looked
        for."""
        if isinstance(error, Duplicate):
            twin_id = await self._store.run_durable(
                import_planning.give_way, import_id, run_id=self._run_id, owner=self._owner, why=str(error)
            )
            if twin_id is not None:
                await reservation.release()
                self._journal.note(
                    f"import {import_id} was taken for a repeated one; import {twin_id}, under way already, serves it"
                )
                return "dropped"
        await self._ambiguous(import_id, str(error))
        return "ambiguous"

    async def _ambiguous(self, import_id: str, why: str) -> None:
        await self._store.run_durable(ledger.mark_ambiguous, import_id, note=why, owner=self._owner)
        self._journal.note(
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
    "planned": "the next run that asks for the same sends it",
    "submitted": "the next run or sweep follows it",
    "dropped": "the same may be imported anew",
}


async def decide(import_id: str, decision: Decision, task_id: str) -> State[Any]:
    """Carry out a person's decision about an ambiguous import; Failed with one sentence where there is none to take."""
    try:
        async with open_database() as store:
            row = await store.run_durable(import_planning.decide, import_id, decision, task_id=task_id)
    except TagtrailError as error:
        return Failed(message=for_log(str(error)))
    return Completed(message=f"import {row.import_id} is {row.state} now; {NEXT[row.state]}")
