"""The live look: buys one import of one post and one metadata call per platform and channel, and judges by what comes.

It is a run like any other: the import goes through the ledger and is never sent twice blindly, every call within the
account's limits and caps, every payload is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from blocks.database.engine import Store
from blocks.database.store import Connection, accounts, overview
from blocks.database.store import posts as posts_store
from blocks.database.store.imports import FoundPost
from blocks.database.store.posts import EnrichedPost
from blocks.errors import BadParameters, MemoriesError, NotFound, PayloadError, SpendCapReached
from blocks.memories.requests import url_form, url_forms
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import CHANNELS, Channel, Platform, PostRef
from blocks.settings import Settings
from deployments.doctor.points import Evidence, Finding, Metered, Verdict, judge, shape_point
from deployments.doctor.service import NOT_THERE, Account
from flows.steps.enrichment.fetch import Fetcher
from flows.steps.enrichment.post_state import Fetched, PostTask
from flows.steps.imports.plan import plan_imports
from flows.steps.imports.poll import poll_import, read_import
from flows.steps.imports.submit import Submitter
from flows.steps.run.context import RunContext
from flows.steps.run.lifecycle import open_run, utc_now
from flows.steps.run.request import RunRequest, request_for_hashtags
from flows.steps.run.summary import RunSummary

COLLECTION: Final = "doctor"
FLOW: Final = "doctor"


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a live look."""

    findings: list[Finding]
    summary: RunSummary


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a live look is asked for: a hashtag to import one post of, posts by URL, and a cap in US dollars."""

    hashtag: str
    urls: Sequence[str]
    max_spend_usd: float

    def request(self, settings: Settings) -> RunRequest:
        """As the ledger knows it.

        Raises:
            UsageError: no hashtag, or an address that names no post.
        """
        for url in self.urls:
            parse_post_url(url)
        request = request_for_hashtags([self.hashtag], 1, collection=COLLECTION, max_spend_usd=self.max_spend_usd)
        return request.changed(reuse_hours=settings.tagtrail_import_reuse_hours)


async def look(
    settings: Settings,
    store: Store,
    account: Account,
    wanted: Wanted,
    say: Callable[[str], None],
) -> Look:
    """Buy, look, and keep what was found; ends early where a cap is reached or the account is refused.
    The store stays open.
    """
    request, evidence = wanted.request(settings), Evidence()
    async with account.client(evidence) as client:
        known = await store.read(accounts.findings, client.account)
        young = {name for name, found in known.items() if found["at"] >= _since(settings.tagtrail_max_age_hours)}
        async with open_run(FLOW) as opened:
            run = await opened.accept_on(store, client, request, settings)
            await _Looker(run, evidence, wanted, young, say).look()
    evidence.hashtag_platforms = await store.read(accounts.hashtag_platforms, client.account)
    judged = judge(evidence)
    now = {one.name: (one.verdict, one.said) for one in judged}
    await store.run(accounts.keep_findings, client.account, now, utc_now())
    assert opened.summary is not None
    return Look([_as_known(one, known) for one in judged], opened.summary)


def _since(hours: float) -> str:
    return accounts.as_text(datetime.now(UTC) - timedelta(hours=hours))


def _as_known(one: Finding, known: Mapping[str, Mapping[str, str]]) -> Finding:
    """What this look says nothing of stays as an earlier one found it."""
    earlier = known.get(one.name)
    if one.verdict != "unknown" or earlier is None:
        return one
    verdict: Verdict = "confirmed" if earlier["verdict"] == "confirmed" else "contradicted"
    said = f"{earlier['said']}, " if earlier["said"] else ""
    return replace(one, verdict=verdict, said=f"{said}found {earlier['at']}")


class _Looker:
    """The steps of one look, in the order of what they tell for their money."""

    def __init__(
        self, run: RunContext, evidence: Evidence, wanted: Wanted, young: Collection[str], say: Callable[[str], None]
    ) -> None:
        self.run, self.evidence, self.wanted, self.say = run, evidence, wanted, say
        self._young = young
        """Points that were found lately: metadata is not bought again for them."""
        self._measured: set[PostRef] = set()

    async def look(self) -> None:
        await self._ask_for_nothing()
        longest = self.run.settings.tagtrail_import_deadline_seconds
        self.say(f"importing one post of #{self.wanted.hashtag}, which may take up to {longest:g} s …")
        posts = await self._import_one()
        posts += [FoundPost(parse_post_url(url), url) for url in self.wanted.urls]
        by_platform = {found.ref.platform: found for found in reversed(posts)}
        for platform in PLATFORMS:
            known = None if platform in by_platform else await self._known_post(platform)
            if known is not None:
                by_platform[platform] = known
        if missing := [name for name in PLATFORMS if name not in by_platform]:
            self.say(f"no post of {', '.join(missing)} is known, so nothing is asked for there: give one with --url")
        for channel in CHANNELS:
            for platform in PLATFORMS:
                if platform not in by_platform or shape_point(platform, channel) in self._young:
                    continue
                if not await self._buy(by_platform[platform], channel):
                    return

    async def _ask_for_nothing(self) -> None:
        """What the API says of a task that does not exist, which is free; also whether it takes the key at all."""
        await self.run.limiter.acquire("status")
        before = len(self.evidence.answers)
        await self._status(str(NOT_THERE))
        if len(self.evidence.answers) > before:
            self.evidence.unknown_task = self.evidence.answers[-1]

    async def _status(self, task_id: str) -> None:
        try:
            await self.run.client.import_status(task_id, namespace=self.run.request.namespace)
        except MemoriesError as error:
            if error.halts:
                raise

    async def _import_one(self) -> list[FoundPost]:
        """Import one post, and give what the import lists."""
        run = self.run
        self.evidence.namespace = run.request.namespace
        [ticket] = await plan_imports(run)
        if ticket.state == "planned":
            self.evidence.callback_sent = run.client.callback_url is not None
            ticket = await Submitter(run).submit(ticket, f"#{self.wanted.hashtag}")
            if run.halt.reason is not None:
                raise run.halt.reason
        followed = await read_import(run, ticket)
        posts = followed.listed
        while followed.is_open and (batch := await poll_import.fn(followed)):
            posts += batch
        if ticket.state == "complete" and followed.row.task_id is not None:
            # An earlier look has it already: asking for it again is free, and shows how its items are written.
            await run.limiter.acquire("status")
            await self._status(followed.row.task_id)
        return posts

    async def _known_post(self, platform: Platform) -> FoundPost | None:
        """A post of the platform that is in the database, whichever leads."""

        def find(conn: Connection) -> FoundPost | None:
            for metric in ("plays", "likes"):
                for post in overview.top(conn, metric=metric, platform=platform, limit=1):
                    return FoundPost(PostRef(platform, post.post_id, post.url, post.shortcode), post.source_url)
            return None

        return await self.run.store.read(find)

    async def _buy(self, found: FoundPost, channel: Channel) -> bool:
        """One metadata call; False where the money is at its end."""
        ref = found.ref
        task = PostTask(ref, found.source_url, purpose="live")
        forms = [url_form(url) for url in url_forms(ref, found.source_url)]
        try:
            fetched = await Fetcher(self.run).fetch_metadata(task, channel)
        except SpendCapReached:
            self.run.journal.note("the cap of this look is reached; what was not asked for stays unknown")
            return False
        except MemoriesError as error:
            refused = isinstance(error, BadParameters | NotFound)
            taken = dict.fromkeys(forms[: max(0, task.attempts - (not refused))], False)
            said = Metered(error=error.error_class, said=str(error), forms=taken)
            self.evidence.metadata[ref.platform, channel] = said
            if error.halts:
                raise
            return True
        taken = dict.fromkeys(forms[: task.attempts], False) | {forms[task.attempts - 1]: True}
        read = await self._read(found, fetched, channel)
        self.evidence.metadata[ref.platform, channel] = replace(read, forms=taken)
        return True

    async def _read(self, found: FoundPost, fetched: Fetched, channel: Channel) -> Metered:
        """Which shape it has; the first payload of a post that can be read is kept as its measurement."""
        run, ref = self.run, found.ref
        try:
            record = map_post(fetched.data, ref, observed_at=fetched.observed_at)
        except PayloadError as error:
            return Metered(error=error.error_class, said=str(error))
        if ref not in self._measured:
            self._measured.add(ref)
            measured = EnrichedPost(
                record=record, channel=channel, observed_at=fetched.observed_at, run_id=run.run_id,
                raw_sha256=fetched.sha256,
            )  # fmt: skip
            await run.store.run(posts_store.ensure_posts, [(ref, found.source_url)], run.clock(), run.run_id)
            await run.store.run(posts_store.save_posts, [measured], run.clock())
        return Metered(shape=record.shape)
