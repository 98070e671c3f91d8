"""A simulated month of one hashtag: invented posts and a clock that jumps; planning, storing and resting are the real
code on the real database. Nothing is asked of any API, the sandbox's neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from blocks.database.engine import Store
from blocks.database.store import (
    import_planning,
    import_polls,
    imports,
    money,
    posts,
    raw_payloads,
    runs,
    snapshots,
    work,
)
from blocks.database.store.accounts import SERVICE
from blocks.errors import PayloadError, PostGone
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.record import Platform, PostRef
from blocks.posts.snapshot_plan import SnapshotPlan
from deployments.sandbox import instagram, tiktok
from deployments.sandbox.catalog import Catalog, Post
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.people import SeededRandom, handle_from, seed_of

COLLECTION: Final = "simulated month"
HASHTAG: Final = "slowfashion"
SEED: Final = "11"
"""Behind the hashtag it chooses how often somebody posts, and what: some 18 posts a day."""

DAYS: Final = 30
ACCOUNT: Final = "simulated"
HOST: Final = "127.0.0.1"
"""Runs that asked this machine: what they brought is marked as invented."""

PRICE_MICROS: Final = 10_000
PRICES: Final[dict[Platform, int]] = {"tiktok": PRICE_MICROS, "instagram": PRICE_MICROS}
MAX_AGE: Final = timedelta(hours=12)

REGULARS: Final = 24
"""So many creators write half of the posts, so that there are earlier posts to compare with."""

SURGE: Final = timedelta(days=7)
SURGE_SHARE: Final = 0.8
"""In the last week so large a share of the posts does better than usual: the report has something to find."""

HIT_SHARE: Final = 0.03
GONE_SHARE: Final = 0.02


class Month:
    """One invented hashtag, and a database that follows it, at a time that only `jump_to` moves."""

    def __init__(self, store: Store, plan: SnapshotPlan, begin: datetime, *, hashtag: str = HASHTAG) -> None:
        self.store, self.plan, self.begin, self.hashtag = store, plan, begin, hashtag
        self.surge_at: datetime | None = None
        self.collection, self.seed = COLLECTION, SEED
        self.seconds = 0.0
        self.calendar = VirtualClock(1.0, started_at=begin.timestamp(), monotonic=lambda: self.seconds)
        self.catalog = Catalog(self.calendar)
        self._unpaid: Counter[str] = Counter()
        self.known: dict[tuple[str, str], tuple[Post, PostRef]] = {}
        self._cast: dict[str, tuple[Post, PostRef]] = {}
        self._gone: set[tuple[str, str]] = set()

    @property
    def now(self) -> datetime:
        return self.begin + timedelta(seconds=self.seconds)

    def jump_to(self, moment: datetime) -> None:
        """Move the clock; nothing happens by that."""
        self.seconds = (moment - self.begin).total_seconds()

    def track(self, count: int) -> int:
        """As a run does: list the newest posts in an import, and measure those that were not measured lately."""
        run_id = f"month-{self.hashtag}-{self.now:%m%d%H%M}"
        newest = self.catalog.newest(("tiktok", "instagram"), count, tag=f"{self.hashtag}{self.seed}")
        refs = []
        for post, ref in map(self.cast_of, newest):
            if (ref.platform, ref.post_id) not in self._gone:
                self.known[ref.platform, ref.post_id] = (post, ref)
                refs.append(ref)
        with self.store.begin() as conn:
            self._start(conn, run_id, "track-hashtags")
            self._import(conn, run_id, refs, count)
            claimed = work.claim(conn, run_id, refs, "enrich", fresh_after=self.now - MAX_AGE, now=self.now)
            calls = self._buy(conn, [(item.ref, "enrich") for item in claimed.claimed], run_id)
            self._end(conn, run_id, calls)
        return calls

    def refresh(self, left_micros: int | None = None) -> int:
        """As a refresh does: buy what is due, the most valuable first, as far as the money goes; the calls."""
        # It brings Prefect along, which no command needs for its help.
        from flows.steps.upkeep.refresh import affordable

        with self.store.connect() as conn:
            due = snapshots.due(conn, self.plan, self.now)
        taken = affordable(due, left_micros, PRICES).taken
        if not taken:
            return 0
        run_id = f"month-refresh-{self.hashtag}-{self.now:%m%d%H%M}"
        wanted: list[tuple[PostRef, str]] = []
        with self.store.begin() as conn:
            self._start(conn, run_id, "refresh-metrics")
            for purpose in sorted({one.purpose for one in taken}):
                refs = [one.ref for one in taken if one.purpose == purpose and self._knows(one.ref)]
                claimed = work.claim(
                    conn, run_id, refs, purpose, fresh_after=None, measured_after=self.now, now=self.now
                )
                wanted += [(item.ref, purpose) for item in claimed.claimed]
            calls = self._buy(conn, wanted, run_id)
            self._end(conn, run_id, calls)
        return calls

    def _knows(self, ref: PostRef) -> bool:
        return (ref.platform, ref.post_id) in self.known

    def cast_of(self, post: Post) -> tuple[Post, PostRef]:
        """The post with its creator and its luck; always the same ones."""
        if post.key not in self._cast:
            random = SeededRandom(post.seed ^ seed_of("month"))
            handle = handle_from(random, 1) if random.unit(2) < 0.5 else _regular(random)
            born = self.begin + timedelta(seconds=post.born)
            is_lucky = self.surge_at is not None and born >= self.surge_at and random.unit(3) < SURGE_SHARE
            # Slot 4 decides how many plays a post comes to: the middle one of nine, so that few are very high or low.
            seeds = sorted(
                (post.seed ^ seed_of(f"luck {at}") for at in range(9)), key=lambda one: SeededRandom(one).unit(4)
            )
            seed = seeds[8 if random.unit(6) < HIT_SHARE else 5 if is_lucky else 4]
            cast = replace(post, handle=handle, seed=seed, tag=self.hashtag)
            self._cast[post.key] = (cast, parse_post_url(url_of(cast)))
        return self._cast[post.key]

    def _start(self, conn: Any, run_id: str, flow: str) -> None:
        runs.start_run(
            conn, run_id=run_id, flow=flow, account=ACCOUNT, collection=self.collection,
            parameters={SERVICE: HOST, "simulated": True}, now=self.now,
        )  # fmt: skip

    def _end(self, conn: Any, run_id: str, calls: int) -> None:
        message = f"{calls} posts measured, in a simulation"
        runs.finish_run(conn, run_id, outcome="done", message=message, summary=None, now=self.now)

    def pay(self) -> None:
        """Book the calls that were made since the last time."""
        run_id = f"month-refresh-{self.hashtag}-{self.now:%m%d%H%M}"
        with self.store.begin() as conn:
            for platform, calls in self._unpaid.items():
                self._pay(conn, run_id, calls, platform=platform)
        self._unpaid.clear()

    def _pay(
        self, conn: Any, run_id: str, calls: int, *, platform: str | None = None, import_id: str | None = None
    ) -> None:
        """Book calls of a platform, or the posts that an import listed."""
        purpose = money.Purpose(
            account=ACCOUNT, run_id=run_id, collection=self.collection, import_id=import_id, platform=platform,
            kind="import" if platform is None else "metadata", channel=None if platform is None else "apify",
        )  # fmt: skip
        micros = calls * PRICE_MICROS
        taken = money.reserve(conn, purpose, micros=micros, caps=money.Caps(None, None, None), now=self.now)
        money.settle(conn, taken, spent_micros=micros, calls=calls, now=self.now)

    def _import(self, conn: Any, run_id: str, refs: Sequence[PostRef], count: int) -> None:
        ticket = import_planning.plan_import(
            conn, account=ACCOUNT, kind="hashtag", hashtag=self.hashtag, wanted={"hashtag": self.hashtag},
            dedup_key=run_id, collection=self.collection, namespace=self.collection, library="private", requested=count,
            run_id=run_id, owner="month", reuse_after=None, fresh=False, now=self.now,
        )  # fmt: skip
        imports.mark_sending(conn, ticket.import_id, owner="month", now=self.now)
        imports.mark_submitted(conn, ticket.import_id, f"simulated-{run_id}", owner="month", now=self.now)
        seen = [import_polls.ItemSeen(f"V{ref.post_id}", ref.url, "PARSE", ref) for ref in refs]
        import_polls.record_poll(conn, ticket.import_id, seen, post_micros=PRICE_MICROS, now=self.now)
        self._pay(conn, run_id, len(refs), import_id=ticket.import_id)
        imports.finish_import(conn, ticket.import_id, state="complete", now=self.now)

    def _buy(self, conn: Any, wanted: Sequence[tuple[PostRef, str]], run_id: str) -> int:
        """Measure posts, each for its purpose; some of those that are measured again are gone by then."""
        answers, read, gone = [], [], []
        for ref, purpose in wanted:
            post, _ = self.known[ref.platform, ref.post_id]
            payload = payload_of(post, self.calendar)
            try:
                if purpose != "enrich" and post.random.unit(77) < GONE_SHARE:
                    raise PostGone
                read.append((map_post(payload, ref, observed_at=self.now), purpose))
            except (PostGone, PayloadError):
                gone.append(ref)
            else:
                answers.append(
                    raw_payloads.RawAnswer(ref, orjson.dumps(payload), "apify", ref.url, purpose, self.now, run_id)
                )
        hashes = raw_payloads.save_raw(conn, answers)
        saved = [
            posts.EnrichedPost(
                record=record, channel="apify", observed_at=self.now, purpose=purpose, plan=self.plan, run_id=run_id,
                raw_sha256=sha,
            )
            for (record, purpose), sha in zip(read, hashes, strict=True)
        ]  # fmt: skip
        if saved:
            posts.save_posts(conn, saved, now=self.now)
        if gone:
            posts.mark_gone(conn, gone, run_id, now=self.now)
            self._gone.update((ref.platform, ref.post_id) for ref in gone)
        self._unpaid.update(ref.platform for ref, _ in wanted)
        return len(wanted)


def _regular(random: SeededRandom) -> str:
    """One of a few creators, some of whom post much more than others."""
    number = int(REGULARS * random.unit(5) ** 2)
    return handle_from(SeededRandom(seed_of(f"regular/{number}")), 1)


def url_of(post: Post) -> str:
    """The post's address, as its platform writes it."""
    if post.platform == "instagram":
        return f"https://www.instagram.com/p/{post.code}/"
    return f"https://www.tiktok.com/@{post.handle}/video/{post.post_id}"


def payload_of(post: Post, calendar: VirtualClock) -> Any:
    """The post's metadata, as the sandbox writes it."""
    if post.platform == "instagram":
        return instagram.payload(post, calendar)
    return tiktok.payload(post, calendar, "apify")


def simulate(
    store: Store,
    plan: SnapshotPlan,
    end: datetime,
    *,
    days: int = DAYS,
    posts_per_import: int = 24,
    refresh_hours: int = 6,
) -> Month:
    """Follow the hashtag for so many days, up to `end`."""
    begin = end - timedelta(days=days)
    month = Month(store, plan, begin)
    month.surge_at = end - SURGE
    for hour in range(days * 24):
        month.jump_to(begin + timedelta(hours=hour, minutes=1))
        if hour % 24 == 0:
            month.track(posts_per_import)
        if hour % refresh_hours == 0:
            month.refresh()
        if hour % 24 == 23:
            month.pay()
    return month
