"""The numbers of a report, each with the count of values that it rests on; one section a collection."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from blocks.database.engine import Store
from blocks.database.store import gaps, report
from blocks.database.store.coverage import Coverage
from blocks.database.store.export import COLUMNS, rows
from blocks.database.store.filters import Filters
from blocks.database.store.gaps import GapRow
from blocks.database.store.known import collections
from blocks.database.store.report import SpendTotal
from blocks.memories.errors import UsageError
from flows.reporting.growth import Growth

METRICS: Final = ("plays", "views", "likes", "comments", "shares", "saves")
LEADING: Final = 10
MOST_IMPORTS: Final = 100
"""Imports in the methods' table; older ones are counted only."""

NEW: Final = timedelta(days=7)
"""A post first seen so long ago at most is new, where the report's period has no beginning."""

BY_OTHER_MEANS: Final = ""
"""Stands for a hashtag where a post was found by URL or creator."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A sum and a median, and of how many values (`known`) of how many posts (`posts`)."""

    total: int
    median: float | None
    known: int
    posts: int


@dataclass(slots=True)
class Group:
    """Posts that belong together: those of a hashtag, or of a whole collection."""

    posts: int = 0
    new: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    platforms: Counter[str] = field(default_factory=Counter)
    values: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in METRICS})

    def add(self, row: Mapping[str, Any], *, new: bool) -> None:
        """Count one post."""
        self.posts += 1
        self.new += new
        self.statuses[row["status"]] += 1
        self.platforms[row["platform"]] += 1
        for name in METRICS:
            if row[name] is not None:
                self.values[name].append(row[name])

    def figure(self, name: str) -> Figure:
        """Sum and median of one metric."""
        values = self.values[name]
        return Figure(sum(values), _median(values) if values else None, len(values), self.posts)


def _median(values: list[int]) -> float:
    """The middle of whole numbers; itself one where it can be, so that large ones stay exact."""
    in_order = sorted(values)
    both = in_order[(len(values) - 1) // 2] + in_order[len(values) // 2]
    return both / 2 if both % 2 else both // 2


@dataclass(slots=True)
class Section:
    """One collection's part of a report."""

    collection: str
    whole: Group = field(default_factory=Group)
    hashtags: dict[str, Group] = field(default_factory=dict)
    by_day: Counter[tuple[date, str]] = field(default_factory=Counter)
    """Posts by UTC day of posting, and platform."""
    leading: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The posts that lead in plays, and in likes."""
    growth: Growth = field(default_factory=Growth)
    coverage: Coverage = field(default_factory=lambda: Coverage(COLUMNS["posts"]))
    parsers: Counter[str] = field(default_factory=Counter)
    channels: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Posts by platform and the channel of their latest measurement."""
    measured_from: datetime | None = None
    measured_until: datetime | None = None
    imports: list[dict[str, Any]] = field(default_factory=list)
    import_states: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Open ones by stage and class."""
    gaps: list[GapRow] = field(default_factory=list)
    spending: list[SpendTotal] = field(default_factory=list)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Figures:
    """All that a report shows. `new_since`: posts first seen at that time or later are called new. `posts`: the keys
    of all posts in it, each once, in however many collections it is."""

    made_at: datetime
    collection: str | None
    hashtag: str | None
    since: datetime | None
    new_since: datetime
    sections: list[Section]
    posts: set[str] = field(default_factory=set)


def gather(
    store: Store, *, collection: str | None, hashtag: str | None, since: datetime | None, now: datetime
) -> Figures:
    """Read everything for a report on one collection, or on all, each apart; `hashtag` is a tag's key.

    Raises:
        UsageError: there is no such collection.
        StoreError: the database cannot be read.
    """
    with store.connect() as conn:
        known = collections(conn)
    if collection is not None and collection not in known:
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        raise UsageError(f"there is no collection {collection} in the database; {there}")
    new_since = since or now - NEW
    wanted = known if collection is None else [collection]
    figures = Figures(now.astimezone(UTC), collection, hashtag, since, new_since, [])
    for name in wanted:
        figures.sections.append(_section(store, Filters(name, hashtag, since=since), new_since, figures.posts))
    return figures


def _section(store: Store, filters: Filters, new_since: datetime, keys: set[str]) -> Section:
    """One collection's part; the keys of its posts go to `keys`."""
    assert filters.collection is not None
    made = Section(filters.collection)
    _add_posts(made, store, filters, new_since, keys)
    for row in rows(store, "snapshots", filters, moments=True):
        made.growth.add(row)
        at = row["observed_at"]
        made.measured_from = min(made.measured_from or at, at)
        made.measured_until = max(made.measured_until or at, at)
    made.growth.close()
    latest: list[dict[str, Any]] = []
    for row in rows(store, "imports", filters, moments=True):
        made.import_states[row["state"]] += 1
        latest = [*latest[1 - MOST_IMPORTS :], row]
    made.imports = latest[::-1]
    open_failures = Filters(filters.collection, filters.hashtag, since=filters.since, status="open")
    for row in rows(store, "failures", open_failures):
        made.failures[row["stage"], row["error_class"]] += 1
    with store.connect() as conn:
        made.gaps = gaps.find(conn, hashtag=filters.hashtag, collection=filters.collection, since=filters.since)
        made.spending = report.spending(conn, filters.collection, filters.since)
        made.findings = report.findings(conn, filters.collection)
    return made


def _add_posts(made: Section, store: Store, filters: Filters, new_since: datetime, keys: set[str]) -> None:
    groups: dict[str, Group] = defaultdict(Group)
    leading: dict[str, list[tuple[int, str, dict[str, Any]]]] = {"plays": [], "likes": []}
    for row in made.coverage.of(rows(store, "posts", filters, moments=True)):
        key = f"{row['platform']}:{row['post_id']}"
        keys.add(key)
        new = row["first_seen_at"] >= new_since
        made.whole.add(row, new=new)
        for tag in row["source_hashtags"] or [BY_OTHER_MEANS]:
            if filters.hashtag in (None, tag):
                groups[tag].add(row, new=new)
        if row["posted_at"] is not None:
            made.by_day[row["posted_at"].date(), row["platform"]] += 1
        if row["observed_at"] is not None:
            made.parsers[row["parser_version"] or "unknown"] += 1
            made.channels[row["platform"], row["channel"] or "unknown"] += 1
        for name, heap in leading.items():
            if row[name] is not None:
                heapq.heappush(heap, (row[name], key, dict(row)))
                if len(heap) > LEADING:
                    heapq.heappop(heap)
    made.leading = {name: [row for *_, row in sorted(heap, reverse=True)] for name, heap in leading.items()}
    made.hashtags = dict(sorted(groups.items(), key=lambda item: (item[0] == BY_OTHER_MEANS, -item[1].posts, item[0])))
