"""One post's metadata: bought through a channel, stored raw, parsed, stored; and what is done when that fails."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import datetime
from typing import Final

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
from flows.steps.run.lease_health import LeaseLost

MAX_REASONS = 3
"""So many reasons a task's retry names, the most frequent first."""


class StillPending(TagtrailError):
    """Some posts of a task failed in a way that may pass; Prefect shows this text as the reason of the task's retry.

    `reasons` has why, one for each post (`HTTP 502 from apify`); `what` is the task's name in Prefect.
    """

    def __init__(self, reasons: list[str], what: str) -> None:
        self.reasons, self.what = reasons, what
        counted = Counter(reasons).most_common(MAX_REASONS)
        named = ", ".join(reason if count == 1 else f"{reason} ({count} times)" for reason, count in counted)
        super().__init__(f"{named}, for {what}")


class NothingCalled(TagtrailError):
    """While the call waited for its slot it lost its sense: its channel rests, or the post's checkpoint is over."""


class PostWriter:
    """Writes what comes of posts: each answer raw, then its numbers, or the reason why there are none."""

    def __init__(self, run: RunContext) -> None:
        self._store, self._journal, self._clock = run.store, run.journal, run.clock
        self._settings, self._comment_key = run.settings, run.comment_key
        self._run_id, self._owner = run.run_id, run.owner

    async def keep(self, post: PostTask, answer: MetadataAnswer) -> Fetched:
        """Store the payload, as the settings allow for comments, before anybody parses it."""
        data, body = answer.data, answer.body
        scrubbed = scrub_comments(data, self._settings.tagtrail_comments, self._comment_key)
        if scrubbed is not data:
            data, body = scrubbed, orjson.dumps({"code": "0000", "data": scrubbed})
        observed_at = self._clock()
        sha256 = await self._store_raw(post, body, channel=answer.channel, url=answer.url_asked, fetched_at=observed_at)
        return Fetched(data, sha256, observed_at)

    async def write_stored(self, post: PostTask) -> bool:
        """Take up a payload that a killed run stored and did not parse; False if there is none of any use."""
        if post.unparsed is None:
            return False
        sha256, channel, fetched_at = post.unparsed
        post.unparsed = None
        body = await self._store.read(raw_store.load_raw, sha256)
        try:
            data = responses.open_stored(body)
        except MemoriesError:
            return False
        await self.write(post, channel, Fetched(data, sha256, fetched_at))
        return True

    async def write(self, post: PostTask, channel: Channel, fetched: Fetched) -> None:
        """Map a stored answer and write its numbers: the post ends enriched, gone, or failed."""
        sha256, observed_at = fetched.sha256, fetched.observed_at
        try:
            record = map_post(fetched.data, post.ref, observed_at=observed_at)
        except PostGone:
            await self._store.run_grouped(
                posts_store.mark_gone,
                [post.ref],
                run_id=self._run_id,
                now=self._clock(),
                observed_at=observed_at,
                owner=self._owner,
            )
            self._journal.settle(post, "gone")
            return
        except PayloadError as error:
            await self.give_up(post, error, stage="parse", channel=channel, raw_sha256=sha256)
            return
        enriched = EnrichedPost(
            record=record,
            channel=channel,
            observed_at=observed_at,
            run_id=self._run_id,
            raw_sha256=sha256,
            purpose=post.purpose,
            plan=self._settings.snapshot_plan,
        )
        await self._store.run_grouped(posts_store.save_posts, [enriched], now=self._clock())
        self._journal.settle(post, "enriched")

    async def give_up(
        self,
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
            raw_sha256 = await self._store_raw(post, error.body, channel=channel, url=url, fetched_at=self._clock())
        given_up = GivenUp.post(
            post.ref,
            stage,
            error,
            attempts=post.attempts,
            channel=channel,
            raw_sha256=raw_sha256,
            run_id=self._run_id,
        )
        await self._store.run_grouped(
            posts_store.mark_failed, [given_up], now=self._clock(), purpose=post.purpose, owner=self._owner
        )
        self._journal.settle(post, "failed")

    async def note_failed_calls(self, post: PostTask) -> None:
        """Keep the count of a post's failed calls for later runs."""
        failed = FailedCalls(post.ref, post.purpose, dict(post.failures_ever))
        await self._store.run_grouped(note_failed_calls, [failed], owner=self._owner)

    async def _store_raw(self, post: PostTask, body: bytes, *, channel: Channel, url: str, fetched_at: datetime) -> str:
        answer = RawAnswer(
            ref=post.ref,
            body=body,
            channel=channel,
            url=url,
            purpose=post.purpose,
            fetched_at=fetched_at,
            run_id=self._run_id,
        )
        [sha256] = await self._store.run_grouped(raw_store.save_raw, [answer])
        return sha256


class Fetcher:
    """Buys metadata for one run, within its limits and caps, while the run goes on and still holds the post."""

    def __init__(self, run: RunContext) -> None:
        self._client, self._limiter, self._budget = run.client, run.limiter, run.budget
        self._channels, self._halt, self._leases = run.channels, run.halt, run.leases
        self._store, self._journal, self._clock = run.store, run.journal, run.clock
        self._run_id, self._progress = run.run_id, run.progress
        self._in_flight: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(run.settings.tagtrail_in_flight)
        )
        """The places for calls under way, by limit; a slow or paused one holds up no other's."""
        self.posts: Final = run.journal.posts
        """The run's posts, by key."""
        self._writer = PostWriter(run)

    async def enrich(self, post: PostTask) -> bool:
        """Bring one claimed post to its end, as far as this try goes; True if it should be tried again later."""
        if await self._writer.write_stored(post):
            return False
        if post.lost_answers >= MAX_LOST_ANSWERS:
            # A run was killed between its last call and its failure.
            lost = NoAnswer("its calls of earlier runs were lost, or answered with what nobody can read")
            await self._writer.give_up(post, lost, stage="metadata", channel=self._channels.order[0])
            return False
        while (channel := await self._next_channel(post)) is not None:
            try:
                fetched = await self.fetch_metadata(post, channel)
            except NothingCalled:
                continue
            except LeaseLost:
                post.lost = True
                return False
            except asyncio.CancelledError:
                if post.answer is not None:
                    # Cut off while it waited for an answer that has come: what is paid for is taken in, to its end.
                    writing = EnduringTask(self._writer.write(post, channel, post.answer))
                    await wait_even_if_cancelled(writing, ANSWER_SECONDS)
                raise
            except TagtrailError as error:
                if isinstance(error, Held) or error in (self._halt.reason, self._halt.cut_off):
                    break
                if not error.halts and not isinstance(error, MemoriesError):
                    raise  # The database cannot be used: another try would only buy what cannot be stored.
                failure = error
            else:
                await self._writer.write(post, channel, fetched)
                return False
            finally:
                self._channels[channel].release(post.key)
            match self._verdict_of(post, channel, failure):
                case Verdict.RETRY:
                    return True
                case Verdict.RETRY_AT_ONCE:
                    continue
                case Verdict.NEXT_CHANNEL:
                    post.refused_by.add(channel)
                    post.failures.clear()
                case Verdict.GIVE_UP:
                    await self._writer.give_up(post, failure, stage="metadata", channel=channel)
                    return False
                case Verdict.HALT:
                    refused = StillRefused(f"the service still does not serve this account: {failure}")
                    self._halt.limit_buying(failure if failure.halts else refused, post.collection, post.asked_by)
                    break
                case Verdict.HOLD:
                    self._channels.leave(post.refused_by)
                    break
        post.outcome = "pending"
        return False

    async def _next_channel(self, post: PostTask) -> Channel | None:
        """The channel to ask, as soon as one may be asked; None where the post stays pending."""
        while not self._halt.stops(post.collection, post.asked_by) and not self._is_too_late(post):
            channel = self._channels.pick(post.refused_by, post.key)
            if channel is not None:
                return channel
            if self._channels.are_dead(post.refused_by):
                self._channels.leave(post.refused_by)
                return None
            self._journal.note(
                "posts wait for channels that do not answer: after each rest of a minute one call tries each again"
            )
            await self._halt.pause(self._channels.wait_seconds(post.refused_by))
        return None

    def _is_too_late(self, post: PostTask) -> bool:
        """Whether the window of the post's checkpoint is over."""
        return post.ends_at is not None and self._clock() >= post.ends_at

    def _verdict_of(self, post: PostTask, channel: Channel, error: TagtrailError) -> Verdict:
        service = Service(
            on_trial=self._journal.on_trial,
            silent=self._channels.silent is not None,
            channels_dead=self._channels.are_dead(post.refused_by),
        )
        return verdict(error, post.history_of(error, channel, self._channels.order), service)

    async def fetch_metadata(self, post: PostTask, channel: Channel) -> Fetched:
        """One call, within the limits and the caps, and its answer stored; a failed one is counted.

        Raises:
            SpendCapReached: the next call would overstep a cap.
            Held: a person stopped the run that asked for it.
            NothingCalled: it waited for its slot until there was no sense in it any more.
            LeaseLost: another run took the post over.
            MemoriesError: the call failed.
            StoreError: the answer could not be stored.
        """
        names = limits_for(post.ref.platform, channel)
        reservations: list[Reservation] = []
        wanted = self._channels[channel].allows(post.key)

        def ensure_it_makes_sense() -> None:
            if self._is_too_late(post):
                raise NothingCalled("the window of the post's checkpoint is over")
            if wanted and not self._channels[channel].allows(post.key):
                raise NothingCalled(f"channel {channel} rests")

        async def reserve_money() -> Reservation:
            return await self._budget.reserve(
                post.ref.platform, channel, collection=post.collection, asked_by=post.asked_by
            )

        async def may_call() -> None:
            # Before a second call (another form of the URL): the first was made, and refused, which is not billed.
            for earlier in reservations:
                await earlier.release()
            ensure_it_makes_sense()
            reservation = await reserve_money()
            try:
                await self._wait_for_slot(post, names)
                if not reservation.is_of_today:
                    await reservation.release()
                    reservation = await reserve_money()
                # The wait may have been long; what follows is quick, so that the call leaves when its slot is due.
                ensure_it_makes_sense()
                await self._ensure_it_is_asked_for(post)
                if self._halt.cut_off is not None:
                    raise self._halt.cut_off
            except BaseException:
                with suppress(StoreError):
                    await asyncio.shield(reservation.release())
                raise
            reservations.append(reservation)

        async def call() -> tuple[int, Fetched]:
            try:
                answer = await self._client.metadata(
                    post.ref, channel, source_url=post.source_url, before_second_call=may_call
                )
            except MemoriesError as error:
                if error not in (self._halt.reason, self._halt.cut_off):
                    await reservations[-1].settle(0 if is_unbilled(error) else 1)
                    await self._record_failure(post, channel, error)
                raise
            self._channels.answered(channel)
            self._journal.served, self._journal.on_trial = True, False
            # Before another call takes its place: so what a kill loses, or a stuck disk keeps waiting, is never more
            # than the calls in flight.
            post.answer = kept = await self._writer.keep(post, answer)
            # An answer that came is worth more than its entry in the books, which the run's end makes up for.
            with suppress(StoreError):
                await reservations[-1].settle(1)
            return answer.calls, kept

        async with self._in_flight[names[0]]:
            await may_call()
            calls, fetched = await self._halt.complete_even_if_cancelled(call())
        post.attempts += calls
        for name in names:
            self._limiter.succeeded(name)
        return fetched

    async def _wait_for_slot(self, post: PostTask, names: tuple[str, ...]) -> None:
        """Wait for the slot of a paid call, and for another one where the lease had to be looked up meanwhile."""
        while True:
            if not await self._halt.unless_halted(self._limiter.acquire(*names), paid=True):
                assert self._halt.reason is not None
                raise self._halt.reason
            if not await self._leases.ensure(post):
                return

    async def _ensure_it_is_asked_for(self, post: PostTask) -> None:
        """Look, where it is another run's request, whether a person stopped that run since the money was reserved."""
        asker = post.asked_by
        if asker not in (None, self._run_id) and await self._store.read(runs_store.is_stopped, str(asker)):
            raise Held("the run that asked for it was stopped; nothing was bought")

    async def _record_failure(self, post: PostTask, channel: Channel, error: MemoriesError) -> None:
        """Count a failed call on its post, on the channel's circuit breaker, and in the database for later runs."""
        limit = retry_limit(error)
        post.attempts += error.calls
        post.last_failure = f"{reason_of(error)} from {channel}"
        self._journal.log.call_failed(error, channel, attempt=post.failures[kind_of(error)] + 1, of=limit.calls)
        post.count_failure(error, probe=self._channels[channel].is_probe(post.key))
        if limit.blames == "everybody":
            self._channels.forbidden(post.key, error)
        elif limit.blames == "post":
            self._channels.answered(channel)
        else:
            is_final = is_used_up(error, post.history_of(error, channel, self._channels.order))
            if self._channels.failed(channel, post.key, final=is_final):
                self._journal.note(f"channel {channel} rests for a minute: it failed again and again ({error.what})")
        if self._channels.silent is not None:
            self._halt.pull(self._channels.silent)
        until = await self._limiter.apply_retry_after(limits_for(post.ref.platform, channel)[0], error)
        self._progress.paused_until = until or self._progress.paused_until
        if post.claimed_at is not None and counts_over_runs(error):
            await self._writer.note_failed_calls(post)
