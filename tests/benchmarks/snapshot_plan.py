"""A simulated month of one hashtag: what the snapshot plan buys, misses and leaves out, beside "all, every six hours".

The demo's month (`deployments/cli/demo_month.py`), followed by other habits: planning, claiming, storing and resting
are the real code on a real database, without network or Prefect: `python tests/benchmarks/snapshot_plan.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from blocks.database.engine import Store, open_store
from blocks.database.store import report
from blocks.posts.snapshot_plan import SnapshotPlan
from deployments.cli.demo_month import COLLECTION, PRICE_MICROS, Month
from flows.reporting.sample import STATES, load
from flows.reporting.statistics import CHECKPOINT_SECONDS

T0 = datetime(2026, 3, 1, tzinfo=UTC)
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
        return sum(self.states[name] for name in ("measured", "missed", "resting", "due"))


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
) -> tuple[Figures, Month]:
    """Follow the hashtag for so many days, and what was found for some more; money bounds the refreshes of each day."""
    month, figures = Month(store, plan or SnapshotPlan(), T0), Figures()
    started = time.perf_counter()
    left: int | None = None
    for hour in range((days + more_days) * 24):
        month.jump_to(T0 + timedelta(hours=hour, minutes=1))
        if hour % 24 == 0 and usd_per_day is not None:
            left = round(usd_per_day * 1e6)
        if hour % import_hours == 0 and hour < days * 24:
            figures.run_calls += month.track(posts_per_import)
        if hour % refresh_hours == 0:
            calls = month.refresh(left)
            figures.refresh_calls += calls
            left = None if left is None else left - calls * PRICE_MICROS
        if hour % NAIVE_HOURS == 0:
            # What "all known posts, every six hours, for 30 days" would call now.
            born = (T0 + timedelta(seconds=post.born) for post, _ in month.known.values())
            figures.naive_calls += sum(month.now - at < FOLLOWED for at in born)
    figures.seconds = time.perf_counter() - started
    count_states(month, figures)
    return figures, month


def count_states(month: Month, figures: Figures) -> None:
    """Count every checkpoint of every post, as the report does, by the rows alone."""
    scope = report.Scope(COLLECTION, None, None, month.now, month.now)
    with month.store.connect() as conn:
        rows = report.post_rows(conn, scope, month.plan.ages, CHECKPOINT_SECONDS)
        sample = load(rows, month.plan, month.now)
    figures.posts = len(sample)
    for age in month.plan.ages:
        figures.states.update(STATES[state] for state in sample.states(age))
    figures.resting_posts = int((~np.isnan(sample["resting_since"]) & np.isnan(sample["rested_until"])).sum())


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
    names = ("planned", "measured", "missed", "resting", "gone", "due", "unseen", "upcoming")
    print(
        f"{'':30}" + "".join(f"{name:>9}" for name in ("posts", *names, "by runs", "calls", "USD", "naive", "USD", "s"))
    )
    for name, variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(f"sqlite:///{Path(folder) / 'month.db'}", create=True)
            found, _ = simulate(
                store, days=asked.days, more_days=asked.more_days, posts_per_import=asked.posts, **variant
            )
            store.close()
        counts = [found.posts, found.planned, *(found.states[state] for state in names[1:])]
        counts += [found.run_calls, found.refresh_calls]
        money = [found.refresh_calls / 100, found.naive_calls, found.naive_calls / 100, found.seconds]
        print(f"{name:30}" + "".join(f"{count:>9}" for count in counts) + "".join(f"{each:>9.0f}" for each in money))


if __name__ == "__main__":
    main()
