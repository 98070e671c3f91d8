"""What stays in a database after kills, compared with an undisturbed run and with the service's books."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from blocks.database.engine import Store, open_store
from blocks.database.store import export, money, overview
from blocks.database.store import imports as ledger
from blocks.settings import Prices
from tests.unparsed import unparsed

Rows = Counter[tuple[str, tuple[tuple[str, str], ...]]]

CHANGING = (
    "run_id",
    "import_ids",
    "import_id",
    "task_id",
    "raw_sha256",
    "note",
    "age_seconds",
    "target_age",
    "lateness_seconds",
    "new",
    "known",
    "author",
)
"""Columns that two undisturbed runs do not share, beside all times: a post that both hashtags found is new to either,
and a database has its own key for pseudonyms."""

NOTHING_USD = 1e-9


@dataclass
class Result:
    """One line of the table; `submissions` is the most of any hashtag, `twice` counts metadata served once more."""

    point: str
    engine: str
    kills: int
    doubts: int
    over_usd: float
    """Counted as spent, and not billed: what was reserved and never settled."""
    take_up_seconds: float | None
    faults: list[str]
    submissions: int = 0
    in_flight: int = 0
    twice: int = 0
    lost: int = 0
    extra: int = 0


class Database:
    """The rows of one database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = "sqlite" if url.startswith("sqlite") else "postgres"

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Store]:
        store = open_store(self.url)
        try:
            yield store
        finally:
            store.close()

    def rows(self) -> Rows:
        """All rows, without what differs between two undisturbed runs."""
        with self._opened() as store:
            return Counter((what, _steady(row)) for what in export.COLUMNS for row in export.rows(store, what))

    def stored_posts(self) -> set[str]:
        """Posts whose answer is stored, parsed or not."""
        with self._opened() as store:
            with store.connect() as conn:
                paid = {f"{one.platform}:{one.post_id}" for one in unparsed(conn)}
            rows = export.rows(store, "posts")
            return paid | {f"{row['platform']}:{row['post_id']}" for row in rows if row["status"] == "enriched"}

    def ambiguous(self) -> list[ledger.Import]:
        """Imports that wait for a decision."""
        with self._opened() as store, store.connect() as conn:
            return ledger.read(conn, ledger.imports.c.state == "ambiguous")

    def spent_usd(self) -> float:
        """What counts as spent today, reserved money among it."""
        with self._opened() as store, store.connect() as conn:
            return overview.overview(conn, datetime.now(UTC)).spent_micros / money.MICROS_PER_USD


def billed_usd(books: Mapping[str, Any]) -> float:
    """What the service would bill for what its books show."""
    posts, calls = sum(job["posts"] for job in books["imports"]), sum(books["metadata_served"].values())
    usd: float = posts * Prices().import_post + calls * Prices().metadata_default
    return usd


def judge(
    result: Result,
    books: Mapping[str, Any],
    found: Rows,
    expected: Rows,
    *,
    requests: Sequence[str],
    in_flight: Sequence[set[str]],
    most_in_flight: int,
) -> Result:
    """Fill in what the books and rows say, and what of it must not be; `in_flight` has the posts of each kill."""
    allowed = Counter(post for posts in in_flight for post in posts)
    twice = {post: count - 1 for post, count in books["metadata_served"].items() if count > 1}
    lost, extra = expected - found, found - expected
    result.submissions = max(books["accepted"].values(), default=0)
    result.in_flight, result.twice = sum(allowed.values()), sum(twice.values())
    result.lost, result.extra = sum(lost.values()), sum(extra.values())
    checks = {
        f"submissions: {books['accepted']}": books["accepted"] == dict.fromkeys(requests, 1),
        f"bought again: {twice}, in flight: {dict(allowed)}": all(n <= allowed[post] for post, n in twice.items()),
        f"more than {most_in_flight} in flight": all(len(posts) <= most_in_flight for posts in in_flight),
        f"rows lost: {list(lost.elements())[:3]}": not lost,
        f"rows too many: {list(extra.elements())[:3]}": not extra,
        f"billed {-result.over_usd} USD more than counted": result.over_usd > -NOTHING_USD,
    }
    result.faults += [what for what, good in checks.items() if not good]
    return result


def _steady(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _plain(value)) for name, value in sorted(row.items()) if not _changes(name))


def _changes(name: str) -> bool:
    return name in CHANGING or name.endswith("_at")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if not _changes(name)}
    elif isinstance(value, list):
        value = sorted(value, key=str)
    return json.dumps(value, sort_keys=True, default=str)


COLUMNS = ("engine", "submissions", "in flight", "twice", "lost", "doubts", "over USD", "first post s")


def table(results: Sequence[Result]) -> list[str]:
    """The kills, a line each, and their sums."""
    head = f"{'killed':44}" + "".join(f"{name:>13}" for name in COLUMNS)
    lines = [head, "-" * len(head)]
    for one in results:
        first = "-" if one.take_up_seconds is None else f"{one.take_up_seconds:.1f}"
        cells = (
            one.engine,
            one.submissions,
            one.in_flight,
            one.twice,
            one.lost,
            one.doubts,
            f"{one.over_usd:.2f}",
            first,
        )
        failed = "  FAILED" if one.faults else ""
        lines.append(f"{one.point:44}" + "".join(f"{cell:>13}" for cell in cells) + failed)
    kills = Counter[str]()
    for one in results:
        kills[one.engine] += one.kills
    shown = " + ".join(f"{count} on {engine}" for engine, count in sorted(kills.items()))
    most = max((one.submissions for one in results), default=0)
    sums = {name: sum(getattr(one, name) for one in results) for name in ("in_flight", "twice", "lost", "extra")}
    return [
        *lines,
        f"{sum(kills.values())} kills ({shown}): submissions per hashtag {most}, metadata bought twice {sums['twice']} "
        f"(in flight at a kill: {sums['in_flight']}), rows lost {sums['lost']}, rows too many {sums['extra']}",
    ]
