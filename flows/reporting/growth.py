"""How numbers grow with a post's age, from its snapshots; only posts that were measured more than once tell."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

AGES: Final = (
    (7_200, "under 2 h"),
    (43_200, "2 to 12 h"),
    (129_600, "12 to 36 h"),
    (388_800, "36 h to 4.5 days"),
    (1_209_600, "4.5 to 14 days"),
    (3_888_000, "14 to 45 days"),
    (10**12, "over 45 days"),
)
"""Upper ends of the spans of age in seconds, and their names; about the checkpoints of the usual plan."""

METRICS: Final = ("plays", "views", "likes")
LINES: Final = 15
"""Leading posts that are drawn one by one."""

Line = list[tuple[int, int]]
"""(age in seconds, number) of one post, youngest first."""


@dataclass(frozen=True, slots=True)
class Point:
    """The middle of all posts that were measured in a span of age: of `posts` values, `age_seconds` in the middle."""

    span: str
    age_seconds: float
    median: float
    posts: int


@dataclass(slots=True)
class Growth:
    """Fed with snapshots in the order of their posts; closed once, then read."""

    measured_twice: int = 0
    """Posts with two or more snapshots whose age is known."""
    measured: int = 0
    leading: dict[tuple[str, str], list[Line]] = field(default_factory=dict)
    """(platform, metric) → the lines of the posts whose last number is highest."""
    _spans: dict[tuple[str, str, int], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    _heaps: dict[tuple[str, str], list[tuple[int, str, Line]]] = field(default_factory=lambda: defaultdict(list))
    _post: tuple[str, str] | None = None
    _rows: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one snapshot."""
        post = (row["platform"], row["post_id"])
        if post != self._post:
            self._settle()
            self._post, self._rows = post, []
        self._rows.append(row)

    def close(self) -> None:
        """Take the last post's snapshots into account."""
        self._settle()
        self._rows = []
        self.leading = {key: [line for *_, line in sorted(heap, reverse=True)] for key, heap in self._heaps.items()}
        self._heaps.clear()

    def points(self, platform: str, metric: str) -> list[Point]:
        """The medians over age; a span that nobody was measured in is left out."""
        found = []
        for at, (_, name) in enumerate(AGES):
            pairs = self._spans.get((platform, metric, at))
            if pairs:
                ages, values = zip(*pairs, strict=True)
                found.append(Point(name, median(ages), median(values), len(pairs)))
        return found

    def series(self) -> list[tuple[str, str]]:
        """(platform, metric) to draw: of each platform the first metric that its posts have, and likes."""
        there = {(platform, metric) for platform, metric, _ in self._spans}
        platforms = sorted({platform for platform, _ in there})
        first = [next((platform, name) for name in METRICS if (platform, name) in there) for platform in platforms]
        likes = [(platform, "likes") for platform in platforms if (platform, "likes") in there]
        return list(dict.fromkeys([*first, *likes]))

    def _settle(self) -> None:
        aged = [row for row in self._rows if row["age_seconds"] is not None and row["age_seconds"] >= 0]
        self.measured += bool(self._rows)
        if len(aged) < 2:
            return
        self.measured_twice += 1
        for metric in METRICS:
            line = [(row["age_seconds"], row[metric]) for row in aged if row[metric] is not None]
            if len(line) >= 2:
                self._keep(aged[0], metric, line)

    def _keep(self, row: Mapping[str, Any], metric: str, line: Line) -> None:
        platform = row["platform"]
        # One value a post and span, its last: a post that was measured often must not count more than others.
        last = {_span(age): (age, value) for age, value in line}
        for at, pair in last.items():
            self._spans[platform, metric, at].append(pair)
        heap = self._heaps[platform, metric]
        heapq.heappush(heap, (line[-1][1], row["post_id"], line))
        if len(heap) > LINES:
            heapq.heappop(heap)


def _span(age_seconds: int) -> int:
    return next(at for at, (end, _) in enumerate(AGES) if age_seconds < end)
