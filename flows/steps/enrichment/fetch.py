"""One post's metadata: bought through a channel, stored raw, parsed, stored; and what is done when that fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import datetime

import orjson

from blocks.database.store import posts as posts_store
from blocks.database.store import raw_payloads as raw_store
from blocks.database.store import runs as runs_store
from blocks.database.store.failures import GivenUp, Stage
from blocks.database.store.posts import EnrichedPost
from blocks.database.store.raw_payloads import RawAnswer
from blocks.database.store.work import FailedCalls, note_failed_calls
from blocks.errors import (
    Held,
    MemoriesError,
    NoAnswer,
    PayloadError,
    PostGone,
    StoreError,
    TagtrailError,
    Unreadable,
)
from blocks.memories import responses
from blocks.memories.client import MetadataAnswer
from blocks.posts.payloads.mapping import map_post
from blocks.posts.payloads.pseudonyms import scrub_comments
from blocks.posts.record import Channel
from blocks.quotas.budget import Reservation
from blocks.quotas.rate_limiter import limits_for
from flows.steps.enrichment.circuit_breaker import StillRefused
from flows.steps.enrichment.post_state import Fetched, PostTask
from flows.steps.enrichment.verdict import (
    MAX_LOST_ANSWERS,
    Service,
    Verdict,
    counts_over_runs,
    is_unbilled,
    is_used_up,
    kind_of,
    retry_limit,
    verdict,
)
from flows.steps.run.context import RunContext
from flows.steps.run.halt_switch import ANSWER_SECONDS, EnduringTask, wait_even_if_cancelled
from flows.steps.run.journal import reason_of
from flows.steps.run.lease_health import LeaseLost, ensure_lease

MAX_REASONS = 3
"""So many reasons a task's retry names, the most frequent first."""


class StillPending(TagtrailError):
    """Some posts of a task failed in a way that may pass; Prefect shows this text as the reason of the task's retry.

    `reasons` has why, one for each post (`HTTP 502 from apify`); `what` is the task's name in Prefect.
    """

    def __init__(self, reasons: list[str], what: str) -> None:
        self.reasons, self.what = reasons, what
        counted = Counter(reasons).most_common(MAX_REASONS)
        told = ", ".join(reason if count == 1 else f"{reason} ({count} times)" for reason, count in counted)
        super().__init__(f"{told}, for {what}")


class NothingCalled(TagtrailError):
    """While the call waited for its turn it lost its sense: its channel rests, or the post's checkpoint is over."""


async def enrich_one(run: RunContext, post: PostTask) -> bool:
    """Bring one claimed post to its end, as far as this try goes; True if it should be tried again later."""
    if post.unparsed is not None and await _parse_stored(run, post):
        return False
    if post.lost_answers >= MAX_LOST_ANSWERS:
        # A run was killed between its last call and its failure.
        lost = NoAnswer("its calls of earlier runs were lost, or answered with what nobody can read")
        await _give_up(run, post, lost, stage="metadata", channel=run.channels.order[0])
        return False
    while (channel := await _next_channel(run, post)) is not None:
        try:
            fetched = await fetch_metadata(run, post, channel)
        except NothingCalled:
            continue
        except LeaseLost:
            post.lost = True
            return False
        except asyncio.CancelledError:
            if post.answer is not None:
                # Cut off while it waited for an answer that has come: what is paid for is taken in, to its end.
                storing = EnduringTask(_parse_and_store(run, post, channel, post.answer))
                await wait_even_if_cancelled(storing, ANSWER_SECONDS)
            raise
        except TagtrailError as error:
            if isinstance(error, Held) or error in (run.halt.reason, run.halt.cut_off):
                break
            if not error.halts and not isinstance(error, MemoriesError):
                raise  # The database cannot be used: another try would only buy what cannot be stored.
            failure = error
        else:
            await _parse_and_store(run, post, channel, fetched)
            return False
        finally:
            run.channels[channel].release(post.key)
        match _verdict_of(run, post, channel, failure):
            case Verdict.RETRY:
                return True
            case Verdict.RETRY_AT_ONCE:
                continue
            case Verdict.NEXT_CHANNEL:
                post.refused_by.add(channel)
                post.failures.clear()
            case Verdict.GIVE_UP:
                await _give_up(run, post, failure, stage="metadata", channel=channel)
                return False
            case Verdict.HALT:
                refused = StillRefused(f"the service still does not serve this account: {failure}")
                run.halt.limit_buying(failure if failure.halts else refused, post.collection, post.asked_by)
                break
            case Verdict.HOLD:
                run.channels.leave(post.refused_by)
                break
    post.outcome = "pending"
    return False


async def _next_channel(run: RunContext, post: PostTask) -> Channel | None:
    """The channel to ask, as soon as one may be asked; None where the post stays pending."""
    while _is_wanted(run, post):
        channel = run.channels.pick(post.refused_by, post.key)
        if channel is not None:
            return channel
        if run.channels.are_dead(post.refused_by):
            run.channels.leave(post.refused_by)
            return None
        run.journal.note(
            "posts wait for channels that do not answer: after each rest of a minute one call tries each again"
        )
        await run.halt.pause(run.channels.wait_seconds(post.refused_by))
    return None


def _is_wanted(run: RunContext, post: PostTask) -> bool:
    """Whether this run is to buy the post (any more)."""
    return not run.halt.stops(post.collection, post.asked_by) and not _is_too_late(run, post)


def _is_too_late(run: RunContext, post: PostTask) -> bool:
    """Whether the window of the post's checkpoint is over."""
    return post.ends_at is not None and run.clock() >= post.ends_at


def _verdict_of(run: RunContext, post: PostTask, channel: Channel, error: TagtrailError) -> Verdict:
    service = Service(
        on_trial=run.journal.on_trial,
        silent=run.channels.silent is not None,
        channels_dead=run.channels.are_dead(post.refused_by),
    )
    return verdict(error, post.history_of(error, channel, run.channels.order), service)


async def fetch_metadata(run: RunContext, post: PostTask, channel: Channel) -> Fetched:
    """One call, within the limits and the caps, and its answer stored; a failed one is counted.

    Raises:
        SpendCapReached: the next call would overstep a cap.
        Held: a person stopped the run that asked for it.
        NothingCalled: it waited for its turn until there was no sense in it any more.
        LeaseLost: another run took the post over.
        MemoriesError: the call failed.
        StoreError: the answer could not be stored.
    """
    names = limits_for(post.ref.platform, channel)
    reservations: list[Reservation] = []
    wanted = run.channels[channel].allows(post.key)

    def must_be_worth_it() -> None:
        if _is_too_late(run, post):
            raise NothingCalled("the window of the post's checkpoint is over")
        if wanted and not run.channels[channel].allows(post.key):
            raise NothingCalled(f"channel {channel} rests")

    async def reserve_money() -> Reservation:
        return await run.budget.reserve(post.ref.platform, channel, collection=post.collection, asked_by=post.asked_by)

    async def may_call() -> None:
        # Before a second call (another form of the URL): the first was made, and refused, which is not billed.
        for earlier in reservations:
            await earlier.release()
        must_be_worth_it()
        reservation = await reserve_money()
        try:
            await _wait_for_slot(run, post, names)
            if not reservation.is_of_today:
                await reservation.release()
                reservation = await reserve_money()
            # The wait may have been long; what follows is quick, so that the call leaves when its slot is due.
            must_be_worth_it()
            await _must_be_asked_for(run, post)
            if run.halt.cut_off is not None:
                raise run.halt.cut_off
        except BaseException:
            with suppress(StoreError):
                await asyncio.shield(reservation.release())
            raise
        reservations.append(reservation)

    async def call() -> tuple[int, Fetched]:
        try:
            answer = await run.client.metadata(
                post.ref, channel, source_url=post.source_url, before_second_call=may_call
            )
        except MemoriesError as error:
            if error not in (run.halt.reason, run.halt.cut_off):
                await reservations[-1].settle(0 if is_unbilled(error) else 1)
                await _record_failure(run, post, channel, error)
            raise
        run.channels.answered(channel)
        run.journal.served, run.journal.on_trial = True, False
        # Before another call takes its place: so what a kill loses, or a stuck disk keeps waiting, is never more
        # than the calls in flight.
        post.answer = kept = await _keep(run, post, answer)
        # An answer that came is worth more than its entry in the books, which the run's end makes up for.
        with suppress(StoreError):
            await reservations[-1].settle(1)
        return answer.calls, kept

    async with run.limits.place(names[0]):
        await may_call()
        calls, fetched = await run.halt.complete_even_if_cancelled(call())
    post.attempts += calls
    run.limits.succeeded(*names)
    return fetched


async def _wait_for_slot(run: RunContext, post: PostTask, names: tuple[str, ...]) -> None:
    """Wait for the slot of a paid call; for another one where the process slept meanwhile, and looks at its lease."""
    while True:
        if not await run.limits.slot(*names, paid=True):
            assert run.halt.reason is not None
            raise run.halt.reason
        if post.claimed_at is None or not run.leases.in_doubt(post.claimed_at):
            return
        await ensure_lease(run.store, run.owner, run.leases, post)


async def _must_be_asked_for(run: RunContext, post: PostTask) -> None:
    """Look, where it is another run's request, whether a person stopped that run since the money was reserved."""
    asker = post.asked_by
    if asker not in (None, run.run_id) and await run.store.read(runs_store.is_stopped, str(asker)):
        raise Held("the run that asked for it was stopped; nothing was bought")


async def _record_failure(run: RunContext, post: PostTask, channel: Channel, error: MemoriesError) -> None:
    """Count a failed call on its post, on the channel's circuit breaker, and in the database for later runs."""
    limit = retry_limit(error)
    post.attempts += error.calls
    post.last_failure = f"{reason_of(error)} from {channel}"
    run.log.call_failed(error, channel, attempt=post.failures[kind_of(error)] + 1, of=limit.calls)
    post.count_failure(error, probe=run.channels[channel].is_probe(post.key))
    if limit.blames == "everybody":
        run.channels.forbidden(post.key, error)
    elif limit.blames == "post":
        run.channels.answered(channel)
    else:
        is_final = is_used_up(error, post.history_of(error, channel, run.channels.order))
        if run.channels.failed(channel, post.key, final=is_final):
            run.journal.note(f"channel {channel} rests for a minute: it failed again and again ({error.what})")
    if run.channels.silent is not None:
        run.halt.pull(run.channels.silent)
    await run.limits.apply_retry_after(limits_for(post.ref.platform, channel)[0], error)
    if post.claimed_at is not None and counts_over_runs(error):
        failed = FailedCalls(post.ref, post.purpose, dict(post.failures_ever))
        await run.store.run_grouped(note_failed_calls, [failed], owner=run.owner)


async def _keep(run: RunContext, post: PostTask, answer: MetadataAnswer) -> Fetched:
    """Store the payload, as the settings allow for comments, before anybody parses it."""
    data, body = answer.data, answer.body
    scrubbed = scrub_comments(data, run.settings.tagtrail_comments, run.comment_key)
    if scrubbed is not data:
        data, body = scrubbed, orjson.dumps({"code": "0000", "data": scrubbed})
    observed_at = run.clock()
    sha256 = await _store_raw(run, post, body, channel=answer.channel, url=answer.url_asked, fetched_at=observed_at)
    return Fetched(data, sha256, observed_at)


async def _parse_stored(run: RunContext, post: PostTask) -> bool:
    """Take up a payload that a killed run stored and did not parse; False if it is of no use."""
    assert post.unparsed is not None
    sha256, channel, fetched_at = post.unparsed
    post.unparsed = None
    body = await run.store.read(raw_store.load_raw, sha256)
    try:
        data = responses.open_stored(body)
    except MemoriesError:
        return False
    await _parse_and_store(run, post, channel, Fetched(data, sha256, fetched_at))
    return True


async def _parse_and_store(run: RunContext, post: PostTask, channel: Channel, fetched: Fetched) -> None:
    sha256, observed_at = fetched.sha256, fetched.observed_at
    try:
        record = map_post(fetched.data, post.ref, observed_at=observed_at)
    except PostGone:
        await run.store.run_grouped(
            posts_store.mark_gone,
            [post.ref],
            run_id=run.run_id,
            now=run.clock(),
            observed_at=observed_at,
            owner=run.owner,
        )
        post.outcome = "gone"
        run.progress.gone += 1
        _tell_progress(run, post)
        return
    except PayloadError as error:
        await _give_up(run, post, error, stage="parse", channel=channel, raw_sha256=sha256)
        return
    enriched = EnrichedPost(
        record=record,
        channel=channel,
        observed_at=observed_at,
        run_id=run.run_id,
        raw_sha256=sha256,
        purpose=post.purpose,
        plan=run.settings.snapshot_plan,
    )
    await run.store.run_grouped(posts_store.save_posts, [enriched], now=run.clock())
    post.outcome = "enriched"
    run.progress.one_enriched(run.clock())
    _tell_progress(run, post)


async def _store_raw(
    run: RunContext, post: PostTask, body: bytes, *, channel: Channel, url: str, fetched_at: datetime
) -> str:
    answer = RawAnswer(
        ref=post.ref,
        body=body,
        channel=channel,
        url=url,
        purpose=post.purpose,
        fetched_at=fetched_at,
        run_id=run.run_id,
    )
    [sha256] = await run.store.run_grouped(raw_store.save_raw, [answer])
    return sha256


async def _give_up(
    run: RunContext,
    post: PostTask,
    error: TagtrailError,
    *,
    stage: Stage,
    channel: Channel,
    raw_sha256: str | None = None,
) -> None:
    """The post ends failed; an answer that nobody can read is kept raw."""
    if isinstance(error, Unreadable) and error.body:
        url = post.source_url or post.ref.url
        raw_sha256 = await _store_raw(run, post, error.body, channel=channel, url=url, fetched_at=run.clock())
    given_up = GivenUp.post(
        post.ref,
        stage,
        error,
        attempts=post.attempts,
        channel=channel,
        raw_sha256=raw_sha256,
        run_id=run.run_id,
    )
    await run.store.run_grouped(
        posts_store.mark_failed, [given_up], now=run.clock(), purpose=post.purpose, owner=run.owner
    )
    post.outcome = "failed"
    run.progress.failed += 1
    _tell_progress(run, post)


def _tell_progress(run: RunContext, post: PostTask) -> None:
    """Log that a post is settled, and every so many posts how far the run is."""
    done = run.progress
    run.log.post_settled(f"{post.ref.platform}/{post.shown}", post.outcome or "pending")
    run.log.progress(done.settled, done.found, per_second=done.rate_per_second(run.clock()), spent_usd=done.spent_usd)
