"""The snapshot plan: at which ages posts are measured, until when a checkpoint can be answered, which posts rest.

A checkpoint is an age. It is answered by the first snapshot that is taken at that age or within its window after it,
half of the gap to the next checkpoint by default (for the last one: of the gap to the one before), and by nothing
else: once the window is over it is missed for ever. Windows do not overlap, so that a snapshot answers one checkpoint
at most. A post whose time of posting is unknown has no age, and so no checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Literal

COUNTS: Final = ("plays", "views", "likes", "comments", "shares", "saves")
"""The numbers that say whether a post still moves."""

REST_SPAN: Final = timedelta(days=1)
"""Snapshots that say that a post stands still cover at least so long: three of one hour would say nothing."""

DAY: Final = timedelta(days=1)

CheckpointState = Literal["taken", "due", "upcoming", "missed", "resting", "unseen"]
"""taken: a snapshot answers it · due: its window is open · upcoming: the post is younger · missed: its window ended
without a snapshot · resting: it was, or will be, left out because the post's numbers stopped moving · unseen: its
window was over when the post was first seen."""

_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}


MAX_AGE_SECONDS = 3650 * 86_400


def parse_ages(text: str) -> tuple[int, ...]:
    """`1h,6h,24h,7d` as ages in seconds; `none` or nothing: no plan.

    Raises:
        ValueError: what is no age, or not in ascending order.
    """
    if text.strip().lower() in ("", "none"):
        return ()
    ages = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,6})([mhd])", part.strip().lower())
        if found is None or int(found[1]) == 0:
            raise ValueError(f"ages are written like 30m, 6h or 7d, separated by commas; not {part.strip()[:20]!r}")
        ages.append(int(found[1]) * _UNITS[found[2]])
    if ages and max(ages) > MAX_AGE_SECONDS:
        raise ValueError(f"an age of the plan is at most {MAX_AGE_SECONDS // 86_400}d")
    if any(later <= earlier for earlier, later in pairwise(ages)):
        raise ValueError("the ages of the plan are in ascending order, each once")
    return tuple(ages)


def age_text(seconds: int) -> str:
    """An age as the setting writes it: `90m`, `6h`, `7d`; hours up to three days."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and not (unit == "d" and seconds <= 3 * size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An age of the plan; it can be answered from `age_seconds` on, and before `ends_seconds`."""

    age_seconds: int
    ends_seconds: int

    @property
    def purpose(self) -> str:
        """The purpose of the work that answers it (see `Work`)."""
        return f"refresh:{self.age_seconds}"


@dataclass(frozen=True, slots=True)
class Measured:
    """A post's counts at one moment; a count that is unknown or hidden is None, or is not there."""

    observed_at: datetime
    counts: Mapping[str, int | None]


@dataclass(frozen=True)
class SnapshotPlan:
    """Ages in seconds, in ascending order, and the rules beside them; percentages are of 100."""

    ages: tuple[int, ...] = (3600, 21_600, 86_400, 259_200, 604_800, 2_592_000)
    tolerance_percent: float = 50
    rest_percent: float = 1
    """A post rests where every count that is known changed by less than this; 0: no post ever rests."""
    rest_snapshots: int = 3

    @cached_property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The checkpoints, youngest age first."""
        gaps = [later - earlier for earlier, later in pairwise(self.ages)]
        gaps.append(gaps[-1] if gaps else sum(self.ages))
        windows = (max(1, int(gap * self.tolerance_percent / 100)) for gap in gaps)
        return tuple(Checkpoint(age, age + window) for age, window in zip(self.ages, windows, strict=False))

    @property
    def longest(self) -> timedelta:
        """The age at which nothing more is asked of a post."""
        return timedelta(seconds=self.checkpoints[-1].ends_seconds if self.checkpoints else 0)

    def at_age(self, age_seconds: int | None) -> Checkpoint | None:
        """The checkpoint that a snapshot of this age answers, if nothing answered it before."""
        if age_seconds is not None:
            for checkpoint in self.checkpoints:
                if checkpoint.age_seconds <= age_seconds < checkpoint.ends_seconds:
                    return checkpoint
        return None

    def stands_still(self, newest_first: Sequence[Measured]) -> bool:
        """Whether a post's latest snapshots, at least `rest_snapshots` of them over at least a day, hardly differ.

        Compared are the counts that all of these snapshots know, each between its lowest and its highest value; a
        post of which no count can be compared does not rest, for nothing is known of it.
        """
        needed: int | None = None
        for at, one in enumerate(newest_first):
            if at + 1 >= self.rest_snapshots and newest_first[0].observed_at - one.observed_at >= REST_SPAN:
                needed = at + 1
                break
        if needed is None:
            return False
        compared = False
        for name in COUNTS:
            values = [one.counts.get(name) for one in newest_first[:needed]]
            known = [value for value in values if value is not None]
            if len(known) < needed:
                continue
            compared = True
            if (max(known) - min(known)) * 100 >= self.rest_percent * max(min(known), 1):
                return False
        return compared


def growth_per_day(newest_first: Sequence[Measured], posted_at: datetime) -> float:
    """How many plays, views, likes, comments, shares and saves a post gained a day between its last two snapshots.

    Counts that only one of the two knows are left out. With one snapshot: since it was posted, when all were 0.
    """
    if not newest_first:
        return 0.0
    last = newest_first[0]
    zero = Measured(posted_at, dict.fromkeys(COUNTS, 0))
    before = newest_first[1] if len(newest_first) > 1 else zero
    days = (last.observed_at - before.observed_at) / DAY
    if days <= 0:
        return 0.0
    pairs = ((last.counts.get(name), before.counts.get(name)) for name in COUNTS)
    return sum(new - old for new, old in pairs if new is not None and old is not None) / days


def counts_of(row: Any) -> dict[str, int | None]:
    """The counts among a row's attributes."""
    return {name: getattr(row, name) for name in COUNTS}
