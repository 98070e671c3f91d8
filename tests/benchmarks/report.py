"""A report on many invented posts: seconds, memory and size, on SQLite or Postgres.

`python tests/benchmarks/report.py --posts 10000`, or with `--url postgresql+psycopg://…` of an empty database.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert

from blocks.database.engine import Store, open_store, upgrade
from blocks.database.store import runs
from blocks.database.store.statements import table_of
from blocks.database.tables import Import, ImportItem, Post, Snapshot
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting.figures import gather
from flows.reporting.page import render
from flows.reporting.period import Period

NOW = datetime(2026, 11, 30, tzinfo=UTC)
PLAN = SnapshotPlan()
BATCH = 5000
MAX_HASHTAGS, PER_IMPORT = 200, 100


def fill(store: Store, posts: int, days: int) -> None:
    """Posts spread evenly over so many days, of up to 200 hashtags, five by each creator, with six snapshots each."""
    rng = np.random.default_rng(1)
    final = rng.lognormal(10, 1.5, posts)
    grown = np.array([0.1, 0.3, 0.6, 0.8, 0.9, 1.0])
    with store.begin() as conn:
        runs.start_run(conn, run_id="r", flow="track-hashtags", account="a", collection="big", now=NOW)
        for at in range(0, posts, PER_IMPORT):
            conn.execute(
                insert(table_of(Import)),
                _import(at, posted_at(at, posts, days), min(MAX_HASHTAGS, max(1, posts // 1000))),
            )
    for start in range(0, posts, BATCH):
        some = range(start, min(start + BATCH, posts))
        with store.begin() as conn:
            conn.execute(insert(table_of(Post)), [_post(at, posted_at(at, posts, days)) for at in some])
            items = [_item(at, posted_at(at, posts, days)) for at in some]
            conn.execute(insert(table_of(ImportItem)), items)
            made = [one for at in some for one in _snapshots(at, posted_at(at, posts, days), final[at] * grown)]
            conn.execute(insert(table_of(Snapshot)), made)


def posted_at(at: int, posts: int, days: int) -> datetime:
    return NOW - timedelta(days=days) * (1 - at / posts)


def _import(at: int, when: datetime, hashtags: int) -> dict[str, Any]:
    number = at // PER_IMPORT
    return {
        "import_id": f"i{number}", "account": "a", "kind": "hashtag", "hashtag": f"tag{number % hashtags}",
        "wanted": {}, "dedup_key": f"w{number}", "collection": "big", "namespace": "big", "library": "private",
        "requested": PER_IMPORT, "state": "complete", "planned_at": when, "submitted_at": when, "finished_at": when,
        "run_id": "r", "polls": 1, "quiet_polls": 0, "looks": 0, "seen": 0, "new": 0, "known": 0, "withheld": 0,
        "cost_micros": 0, "forced": False,
    }  # fmt: skip


def _post(at: int, when: datetime) -> dict[str, Any]:
    return {
        "platform": "tiktok", "post_id": str(10**18 + at), "status": "enriched", "author_id": f"a{at // 5}",
        "url": f"https://www.tiktok.com/@a{at // 5}/video/{10**18 + at}", "author_username": f"a{at // 5}",
        "caption": f"invented #Loom #x{at % 50}", "hashtags": ["Loom", f"x{at % 50}"], "posted_at": when,
        "media_type": "video", "first_seen_at": when, "last_seen_at": when, "enriched_at": when, "observed_at": when,
        "likes_hidden": False, "null_reasons": {"views": "not_in_payload"}, "run_id": "r",
    }  # fmt: skip


def _item(at: int, when: datetime) -> dict[str, Any]:
    return {
        "import_id": f"i{at // PER_IMPORT}", "item_key": f"tiktok:{10**18 + at}", "platform": "tiktok",
        "post_id": str(10**18 + at), "was_new": True, "first_seen_at": when, "last_seen_at": when,
    }  # fmt: skip


def _snapshots(at: int, when: datetime, values: Any) -> Iterator[dict[str, Any]]:
    for age, plays in zip(PLAN.ages, values.tolist(), strict=True):
        yield {
            "platform": "tiktok", "post_id": str(10**18 + at), "observed_at": when + timedelta(seconds=age + 600),
            "age_seconds": age + 600, "target_age": age, "lateness_seconds": 600, "plays": int(plays),
            "likes": int(plays / 20), "comments": int(plays / 500), "likes_hidden": False, "channel": "apify",
            "author_followers": 1000, "run_id": "r", "parser_version": "2", "raw_sha256": f"{at:064x}",
        }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--posts", type=int, default=10_000)
    options.add_argument("--days", type=int, default=14, help="days over which they were posted")
    options.add_argument("--report-days", type=int, default=7, help="the report's period; 0: all time")
    options.add_argument("--url", default="", help="an empty Postgres database")
    options.add_argument("--keep", default="", help="a SQLite file to fill, or to use again")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(asked.keep or Path(folder) / "big.db")
        is_filled = file.exists()
        if asked.url:
            upgrade(asked.url)
        store = open_store(asked.url or f"sqlite:///{file}", create=not asked.url)
        if not is_filled:
            fill(store, asked.posts, asked.days)
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        begin = NOW - timedelta(days=asked.report_days) if asked.report_days else None
        made = gather(store, collection=None, hashtag=None, period=Period(begin, NOW, NOW), plan=PLAN)
        gathered = time.perf_counter() - started
        page = render(made)
        after = resource.getrusage(resource.RUSAGE_SELF)
        print(
            f"{len(made.posts):,} posts in the period of {asked.posts:,}: gathered in {gathered:.1f} s, page after "
            f"{time.perf_counter() - started:.1f} s ({after.ru_utime - before.ru_utime:.1f} s of CPU), peak "
            f"{after.ru_maxrss / 1024:.0f} MB (with filling, unless the file was there), {len(page) / 1e6:.2f} MB"
        )
        store.close()


if __name__ == "__main__":
    main()
