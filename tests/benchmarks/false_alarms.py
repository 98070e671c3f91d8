"""How often a report calls a change, and an event a trending post, in simulated months in which nothing happens.

`python tests/benchmarks/false_alarms.py --months 200`. The months are of the demo's simulator (its posts, creators and
luck) without its surge; only measurements at 24 h are made, and no database. The default threshold was chosen by seeds
0 to 39; those that are told begin at 1,000.
"""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np

from blocks.database.engine import Store
from blocks.posts.snapshot_plan import SnapshotPlan
from deployments.cli.demo_month import Month
from deployments.sandbox.catalog import numbers_of
from flows.reporting import statistics as rules

NOW = datetime(2026, 11, 30, tzinfo=UTC)
FIRST_SEED = 1_000
DAYS = 28
THRESHOLDS = (10.0, 30.0, 100.0, 500.0)


def month_of(seed: int, store: Store | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Day of posting, creator, platform and plays at 24 h of the posts of one simulated month."""
    month = Month(store, SnapshotPlan(), NOW - timedelta(days=DAYS))  # type: ignore[arg-type]
    month.seed = str(seed)
    month.jump_to(NOW)
    creators: dict[str, int] = {}
    rows = []
    for post in month.catalog.newest(("tiktok", "instagram"), 3000, tag=f"{month.hashtag}{seed}"):
        cast, _ = month.cast_of(post)
        if post.born < 0:
            break
        month.seconds = post.born + 86_400
        plays = numbers_of(cast, month.calendar).plays
        rows.append(
            (post.born / 86_400, creators.setdefault(cast.handle, len(creators)), post.platform == "tiktok", plays)
        )
    days, people, platform, plays = (np.array(column) for column in zip(*rows, strict=True))
    return days, people, platform, plays.astype(np.float64)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--months", type=int, default=200)
    options.add_argument("--first-seed", type=int, default=FIRST_SEED)
    asked = options.parse_args()
    said: Counter[str] = Counter()
    weeks = compared = 0
    for seed in range(asked.first_seed, asked.first_seed + asked.months):
        days, people, platform, plays = month_of(seed)
        for week in range(1, DAYS // 7):
            weeks += 1
            now, before = ((days >= 7 * at) & (days < 7 * (at + 1)) for at in (week, week - 1))
            verdicts = []
            for one in (0, 1):
                mine = platform == one
                found = rules.change(
                    plays[now & mine], people[now & mine], plays[before & mine], people[before & mine], comparisons=2
                )
                plain = rules.change(plays[now & mine], people[now & mine], plays[before & mine], people[before & mine])
                compared += plain.verdict != "too few"
                said["a plain change"] += plain.verdict in ("up", "down")
                verdicts.append(found.verdict)
            said["a first sentence"] += any(one in ("up", "down") for one in verdicts)
            for one in (0, 1):
                peers = np.flatnonzero((platform == one) & (days < 7 * (week + 1)))
                times = rules.times(plays[peers], rules.peers_baseline(plays[peers]))
                new = days[peers] >= 7 * week
                for threshold in THRESHOLDS:
                    said[f"a post of {threshold:g} times"] += int((times[new] >= threshold).sum())
    print(f"{asked.months} simulated months without a surge, {weeks} hashtag-weeks, {compared} comparisons:")
    print(f"  a plain 90 % interval says a change: {said['a plain change'] / max(compared, 1):.1%} of comparisons")
    print(f"  the first sentence (two comparisons, corrected): {said['a first sentence'] / weeks:.1%} of weeks")
    for threshold in THRESHOLDS:
        posts = said[f"a post of {threshold:g} times"] / weeks
        print(f"  trending at {threshold:g} times: {posts:.2f} posts a hashtag-week")


if __name__ == "__main__":
    main()
