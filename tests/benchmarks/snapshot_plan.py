"""A simulated month of one hashtag: what the snapshot plan buys, misses and leaves out, beside "all, every six hours".

The sandbox's invented posts grow by a clock that jumps an hour at a time; planning, claiming, storing and resting are
the real code on a real database, without the network and without Prefect: `python tests/benchmarks/snapshot_plan.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from blocks.database.engine import Store, open_store
from blocks.database.store import export, posts, snapshots, work
from blocks.database.store.statements import table_of
from blocks.database.tables import Post as PostRow
from blocks.errors import PayloadError, PostGone
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.record import PostRef
from blocks.posts.snapshot_plan import PlannedPost, SnapshotPlan
from deployments.sandbox import instagram, tiktok
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.stock import Post, Stock
from flows.steps.upkeep.refresh import affordable

T0 = datetime(2026, 3, 1, tzinfo=UTC)
PRICE_MICROS = 10_000
PRICES = {"tiktok": PRICE_MICROS, "instagram": PRICE_MICROS}
MAX_AGE = timedelta(hours=12)
FOLLOWED = timedelta(days=30)
NAIVE_HOURS = 6


@dataclass
class Figures:
    """What a simulation came to; checkpoints by state, calls by who made them."""

    posts: int = 0
    run_calls: int = 0
    refresh_calls: int = 0
    naive_calls: int = 0
    states: Counter[str] = field(default_factory=Counter)
    resting_posts: int = 0
    seconds: float = 0.0

    @property
    def planned(self) -> int:
        """Checkpoints whose window opened while their post was known; of posts at rest also those to come."""
        return sum(self.states[name] for name in ("taken", "missed", "resting", "due"))


class World:
    """One hashtag of the sandbox, and a database that follows it, at a time that only `step` moves."""

    def __init__(self, store: Store, plan: SnapshotPlan) -> None:
        self.store, self.plan = store, plan
        self.seconds = 0.0
        self.calendar = VirtualClock(1.0, started_at=T0.timestamp(), monotonic=lambda: self.seconds)
        self.stock = Stock(self.calendar)
        self.known: dict[tuple[str, str], tuple[Post, PostRef]] = {}
        self.figures = Figures()

    @property
    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds)

    def track(self, count: int) -> None:
        """As a run does: list the newest posts, measure those that were not measured lately."""
        refs = []
        for post in self.stock.newest(("tiktok", "instagram"), count, tag="linen"):
            ref = parse_post_url(url_of(post))
            self.known[ref.platform, ref.post_id] = (post, ref)
            refs.append(ref)
        with self.store.begin() as conn:
            posts.ensure_posts(conn, [(ref, None) for ref in refs], self.now, "run")
            fresh_after = self.now - MAX_AGE
            claimed = work.claim(conn, "run", refs, "enrich", fresh_after=fresh_after, now=self.now)
        self.figures.run_calls += self._buy([item.ref for item in claimed.claimed], "enrich")

    def refresh(self, left_micros: int | None = None) -> int:
        """As a refresh does: buy what is due, the most valuable first, as far as the money goes; the calls."""
        with self.store.connect() as conn:
            due = snapshots.due(conn, self.plan, self.now)
        taken = affordable(due, left_micros, PRICES).taken
        calls = 0
        for purpose in sorted({one.purpose for one in taken}):
            refs = [one.ref for one in taken if one.purpose == purpose]
            with self.store.begin() as conn:
                claimed = work.claim(
                    conn, "refresh", refs, purpose, fresh_after=None, measured_after=self.now, now=self.now
                )
            calls += self._buy([item.ref for item in claimed.claimed], purpose)
        self.figures.refresh_calls += calls
        return calls

    def _buy(self, refs: Sequence[PostRef], purpose: str) -> int:
        saved, gone = [], []
        for ref in refs:
            post, _ = self.known[ref.platform, ref.post_id]
            try:
                record = map_post(payload_of(post, self.calendar), ref)
            except (PostGone, PayloadError):
                gone.append(ref)
                continue
            saved.append(
                posts.EnrichedPost(
                    record=record, channel="apify", observed_at=self.now, purpose=purpose, plan=self.plan
                )
            )
        with self.store.begin() as conn:
            posts.save_posts(conn, saved, now=self.now)
            posts.mark_gone(conn, gone, None, now=self.now)
        return len(refs)

    def count_naively(self) -> None:
        """What "all known posts, every six hours, for 30 days" would call now."""
        born = (T0 + timedelta(seconds=post.born) for post, _ in self.known.values())
        self.figures.naive_calls += sum(self.now - at < FOLLOWED for at in born)

    def finish(self) -> Figures:
        """Count every checkpoint of every post by the rows alone."""
        answered: dict[tuple[str, str], set[int]] = {}
        for row in export.rows(self.store, "snapshots"):
            if row["target_age"] is not None:
                answered.setdefault((row["platform"], row["post_id"]), set()).add(row["target_age"])
        self.figures.posts = len(self.known)
        with self.store.connect() as conn:
            for row in conn.execute(select(table_of(PostRow)).where(table_of(PostRow).c.status == "enriched")):
                taken = answered.get((row.platform, row.post_id), ())
                post = PlannedPost(row.posted_at, row.first_seen_at, taken, row.resting_since, row.rested_until)
                self.figures.states.update(self.plan.states(post, self.now))
                self.figures.resting_posts += row.resting_since is not None and row.rested_until is None
        return self.figures


def url_of(post: Post) -> str:
    if post.platform == "instagram":
        return f"https://www.instagram.com/p/{post.code}/"
    return f"https://www.tiktok.com/@{post.handle}/video/{post.post_id}"


def payload_of(post: Post, calendar: VirtualClock) -> Any:
    if post.platform == "instagram":
        return instagram.payload(post, calendar)
    return tiktok.payload(post, calendar, "apify")


def simulate(
    store: Store,
    *,
    days: int,
    refresh_hours: int,
    posts_per_import: int = 25,
    import_hours: int = 6,
    usd_per_day: float | None = None,
    plan: SnapshotPlan | None = None,
    more_days: int = 0,
) -> Figures:
    """Follow the hashtag for so many days, and what was found for some more; money bounds the refreshes of each day."""
    world = World(store, plan or SnapshotPlan())
    started = time.perf_counter()
    left: int | None = None
    for hour in range((days + more_days) * 24):
        world.seconds = hour * 3600.0 + 60
        if hour % 24 == 0 and usd_per_day is not None:
            left = round(usd_per_day * 1e6)
        if hour % import_hours == 0 and hour < days * 24:
            world.track(posts_per_import)
        if hour % refresh_hours == 0:
            calls = world.refresh(left)
            left = None if left is None else left - calls * PRICE_MICROS
        if hour % NAIVE_HOURS == 0:
            world.count_naively()
    world.figures.seconds = time.perf_counter() - started
    return world.finish()


DAILY = SnapshotPlan(ages=tuple(day * 86_400 for day in range(1, 31)))

VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("refresh every hour", {"refresh_hours": 1}),
    ("refresh every 6 hours", {"refresh_hours": 6}),
    ("refresh once a day", {"refresh_hours": 24}),
    ("every hour, 0.50 USD a day", {"refresh_hours": 1, "usd_per_day": 0.5}),
    ("every hour, no rest", {"refresh_hours": 1, "plan": SnapshotPlan(rest_percent=0)}),
    ("a plan of every day", {"refresh_hours": 6, "plan": DAILY}),
    ("a plan of every day, no rest", {"refresh_hours": 6, "plan": replace(DAILY, rest_percent=0)}),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--days", type=int, default=30, help="days of imports")
    options.add_argument("--more-days", type=int, default=0, help="days for which the posts are followed after them")
    options.add_argument("--posts", type=int, default=6, help="posts per import, every 6 hours")
    asked = options.parse_args()
    print(
        f"{asked.days} days of one hashtag, an import of {asked.posts} posts every 6 hours, followed for "
        f"{asked.more_days} days more; 0.01 USD a call"
    )
    names = ("planned", "taken", "missed", "resting", "due", "unseen", "upcoming")
    print(
        f"{'':30}" + "".join(f"{name:>9}" for name in ("posts", *names, "by runs", "calls", "USD", "naive", "USD", "s"))
    )
    for name, variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(f"sqlite:///{Path(folder) / 'month.db'}", create=True)
            found = simulate(store, days=asked.days, more_days=asked.more_days, posts_per_import=asked.posts, **variant)
            store.close()
        counts = [found.posts, found.planned, *(found.states[state] for state in names[1:])]
        counts += [found.run_calls, found.refresh_calls]
        money = [found.refresh_calls / 100, found.naive_calls, found.naive_calls / 100, found.seconds]
        print(f"{name:30}" + "".join(f"{count:>9}" for count in counts) + "".join(f"{each:>9.0f}" for each in money))


if __name__ == "__main__":
    main()
