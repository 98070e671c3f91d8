"""A report on many invented posts: CPU, memory and size, on SQLite or Postgres.

    python tests/benchmarks/many_posts.py --url URL [--posts 10000]
    python tests/benchmarks/report.py --url URL [--collection c1]

Figures depend on what else the machine does: compare those of one hour.
"""

from __future__ import annotations

import argparse
import resource
import time
from datetime import UTC, datetime

from blocks.database.engine import open_store
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting.figures import gather
from flows.reporting.page import render
from flows.reporting.period import period_of


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", required=True)
    options.add_argument("--collection", help="by itself all, each in a part of its own")
    options.add_argument("--days", type=int, default=7, help="the report's period; 0: all time")
    asked = options.parse_args()
    store = open_store(asked.url)
    period = period_of(days=asked.days, now=datetime.now(UTC))
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    made = gather(store, collection=asked.collection, hashtag=None, period=period, plan=SnapshotPlan())
    page = render(made)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu, seconds = after.ru_utime - before.ru_utime, time.perf_counter() - began
    print(f"{len(made.posts):,} posts in the period: {cpu:.1f} s of CPU, {seconds:.1f} s in all")
    print(f"{after.ru_maxrss / 1024:.0f} MB at most, {len(page.encode()) / 1e6:.2f} MB of page")
    store.close()


if __name__ == "__main__":
    main()
