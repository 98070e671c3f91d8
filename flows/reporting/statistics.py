"""The rules for numbers: what may be compared, when a change may be stated, and how far it is certain.

Every rule is a pure function on small inputs; `docs/statistics.md` says each in words, with its source. Unknown numbers
are NaN. All chance is drawn from a seed that is made of what is compared, so that the same data gives the same report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]

CHECKPOINT_SECONDS: Final = 86_400
"""Periods and hashtags are compared at this age only."""

MAX_LATE_PERCENT: Final = 25
"""A post counts at a checkpoint if it was measured at most so much of the age late."""

MIN_POSTS: Final = 20
MIN_CREATORS: Final = 10
"""A change is stated from so many posts and creators on, on both sides."""

INTERVAL_PERCENT: Final = 90

MIN_EARLIER_POSTS: Final = 10
MIN_PEERS: Final = 30
"""A post is compared with so many earlier posts of its creator, else with so many peers of its hashtag."""

MIN_PAIRS: Final = 10
"""Growth between two checkpoints is drawn from so many posts that were measured at both."""

MIN_AGE_STEP: Final = 1.5
"""The later of two checkpoints is at least so many times as old as the earlier one."""

MIN_MEASURED_SHARE: Final = 0.8
"""Where fewer of the due posts were measured, those that were are called selected."""

RESAMPLES: Final = 1000
MAX_RESAMPLES: Final = 40_000
MAX_CREATORS: Final = 2000
"""Of more creators a random choice is resampled: the interval gets a little wider, never too narrow."""


@dataclass(frozen=True, slots=True)
class Middle:
    """A median with its count, and the interval that resampling the creators gives (None: too few for one)."""

    median: float | None
    posts: int
    creators: int
    low: float | None = None
    high: float | None = None


Verdict = Literal["up", "down", "no clear change", "too few"]


@dataclass(frozen=True, slots=True)
class Change:
    """The ratio of two medians, and whether it may be called a change."""

    now: Middle
    before: Middle
    verdict: Verdict
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    level_percent: float = INTERVAL_PERCENT


@dataclass(frozen=True, slots=True)
class Growth:
    """What one post's number was multiplied by from one checkpoint to the next: the median of the posts' own ratios.

    The band holds the middle half of the posts. `selected`: under 80 % of those due were measured at both.
    """

    pairs: int
    median: float | None
    low: float | None
    high: float | None
    selected: bool


@dataclass(frozen=True, slots=True)
class Outrun:
    """How many times its baseline a post has: the median of `posts` earlier posts of its creator, or of others of its
    hashtag."""

    times: float
    base: float
    posts: int
    baseline: Literal["creator", "hashtag"]


def at_checkpoint(lateness_seconds: Numbers, age_seconds: int = CHECKPOINT_SECONDS) -> NDArray[np.bool_]:
    """Which posts count at a checkpoint: measured for it, and at most 25 % of its age late."""
    in_time: NDArray[np.bool_] = lateness_seconds <= age_seconds * MAX_LATE_PERCENT / 100
    return in_time


def engagement(likes: Numbers, comments: Numbers) -> Numbers:
    """Likes and comments, the only numbers that all platforms have; unknown (or hidden) in part is unknown."""
    return likes + comments


def rate(parts: Numbers, whole: Numbers) -> float | None:
    """The median of the posts' own rates, never the ratio of two sums; a rate over 0 is none."""
    known = ~np.isnan(parts) & (whole > 0)
    return float(np.median(parts[known] / whole[known])) if known.any() else None


def middle(values: Numbers, creators: Codes) -> Middle:
    """The median of the known values, and its interval where there are enough posts and creators."""
    return _side(values, creators)[0]


def _side(values: Numbers, creators: Codes) -> tuple[Middle, Numbers]:
    """The same with the medians of its resamples, none where there are too few posts or creators."""
    known = ~np.isnan(values)
    values, creators = values[known], creators[known]
    posts, people = len(values), len(np.unique(creators))
    if posts == 0:
        return Middle(None, 0, 0), np.empty(0)
    median = float(np.median(values))
    if not _enough(posts, people):
        return Middle(median, posts, people), np.empty(0)
    medians = resampled_medians(values, creators, _seed(values, creators))
    return Middle(median, posts, people, *_interval(medians, INTERVAL_PERCENT)), medians


def change(
    now: Numbers, now_creators: Codes, before: Numbers, before_creators: Codes, *, comparisons: int = 1
) -> Change:
    """Compare two periods (or two groups) by the ratio of their medians.

    A change is stated where both sides have 20 posts of 10 creators, and the interval of the ratio excludes 1. Where
    many `comparisons` were searched for it, the interval is so much wider that all of them together are wrong no
    oftener than one alone (Bonferroni).
    """
    (one, medians), (other, medians_before) = _side(now, now_creators), _side(before, before_creators)
    level = 100 - (100 - INTERVAL_PERCENT) / comparisons
    if not (len(medians) and len(medians_before) and other.median):
        return Change(one, other, "too few", level_percent=level)
    assert one.median is not None
    low, high = _ratio_interval(medians, medians_before, INTERVAL_PERCENT)
    if comparisons > 1 and _excludes_1(low, high):
        # Ten resamples in each tail, so that the wide interval's ends are more than one odd draw.
        draws = min(MAX_RESAMPLES, max(RESAMPLES, round(2000 / (100 - level))))
        low, high = _ratio_interval(_drawn(now, now_creators, draws), _drawn(before, before_creators, draws), level)
    ratio = one.median / other.median
    verdict: Verdict = "no clear change"
    if _excludes_1(low, high):
        verdict = "up" if ratio > 1 else "down"
    return Change(one, other, verdict, ratio, low, high, level)


def growth(earlier: Numbers, later: Numbers, due: int, *, ages_seconds: tuple[int, int]) -> Growth | None:
    """Each post's own ratio between two checkpoints; None where too few posts, or too near ages, tell anything.

    A post that was measured at one of the two only says nothing, and nor does one that stood at 0. `due`: posts that
    were due at the later checkpoint.
    """
    both = (earlier > 0) & ~np.isnan(later)
    pairs = int(both.sum())
    if pairs < MIN_PAIRS or ages_seconds[1] < ages_seconds[0] * MIN_AGE_STEP:
        return None
    low, median, high = (float(at) for at in np.quantile(later[both] / earlier[both], (0.25, 0.5, 0.75)))
    measured = int((~np.isnan(earlier) & ~np.isnan(later)).sum())
    return Growth(pairs, median, low, high, is_selected(measured, due))


def is_selected(measured: int, due: int) -> bool:
    """Whether so few of the due posts were measured that those that were may be other than the rest."""
    return due > 0 and measured < MIN_MEASURED_SHARE * due


def creators_baseline(values: Numbers, posted_at: Numbers) -> tuple[Numbers, Codes]:
    """For each post of one creator (and platform, media type, age), oldest first: the median of the posts before it,
    and how many these are. A post of the same second is none of them.

    NaN where fewer than 10 of them are known (hidden numbers are not).
    """
    found, counts = np.full(len(values), np.nan), np.zeros(len(values), np.int64)
    for at, end in enumerate(np.searchsorted(posted_at, posted_at, "left")):
        earlier = values[:end][~np.isnan(values[:end])]
        if len(earlier) >= MIN_EARLIER_POSTS:
            found[at], counts[at] = np.median(earlier), len(earlier)
    return found, counts


def peers_baseline(values: Numbers) -> Numbers:
    """For each post of one hashtag (and platform, media type, age): the median of all the others.

    NaN where fewer than 30 others are known. All values are known. A post is never in its own baseline.
    """
    others = len(values) - 1
    if others < MIN_PEERS:
        return np.full(len(values), np.nan)
    order = np.sort(values)
    place = np.searchsorted(order, values)
    # Without the post itself, what stands behind it moves up by one.
    lower, upper = (middle + (middle >= place) for middle in ((others - 1) // 2, others // 2))
    medians: Numbers = (order[lower] + order[upper]) / 2
    return medians


def times(values: Numbers, base: Numbers) -> Numbers:
    """How many times their baseline posts have; NaN where there is none, or where it is 0."""
    found: Numbers = np.divide(values, base, out=np.full(len(values), np.nan), where=base > 0)
    return found


@dataclass(frozen=True, slots=True)
class Listing:
    """What one import listed: how many posts were asked for and listed, how many of them the import before had too
    (None: it is the first), and when the oldest and the newest of the `timed` ones (of known time) were posted."""

    requested: int
    listed: int
    shared: int | None
    oldest_at: datetime | None
    newest_at: datetime | None
    timed: int
    is_complete: bool = True
    """It has ended: one that is under way, or failed, may have more."""

    @property
    def is_full(self) -> bool:
        """It listed as many as were asked for, so that there may be more."""
        return self.listed >= self.requested


@dataclass(frozen=True, slots=True)
class Pace:
    """Posts an hour between the oldest and the newest listed post of one import: a window and a count."""

    posts: int
    hours: float
    per_hour: float


def tells_the_world(listings: Sequence[Listing]) -> bool:
    """Whether counts of listed posts say how much was posted: consecutive imports overlap, and none is full.

    "The newest N" otherwise measures our own schedule.
    """
    return len(listings) > 1 and all(
        one.is_complete and not one.is_full and (number == 0 or bool(one.shared)) for number, one in enumerate(listings)
    )


def pace(listing: Listing) -> Pace | None:
    """What can be said instead: posts an hour within one import's own list."""
    if listing.oldest_at is None or listing.newest_at is None or listing.timed < 2:
        return None
    hours = (listing.newest_at - listing.oldest_at).total_seconds() / 3600
    return Pace(listing.timed, hours, (listing.timed - 1) / hours) if hours > 0 else None


def resampled_medians(values: Numbers, creators: Codes, seed: int, draws: int = RESAMPLES) -> Numbers:
    """The median in each of `draws` resamples of the creators: a creator comes with all of his posts, or not at all.

    Posts of one creator are alike, so that resampling posts would call much too much certain.
    """
    rng = np.random.default_rng(seed)
    _, of_post = np.unique(creators, return_inverse=True)
    people = int(of_post.max()) + 1
    if people > MAX_CREATORS:
        kept = np.zeros(people, dtype=bool)
        kept[rng.choice(people, MAX_CREATORS, replace=False)] = True
        values, of_post = values[kept[of_post]], of_post[kept[of_post]]
        return resampled_medians(values, of_post, seed, draws)
    order = np.argsort(values, kind="stable")
    values, of_post = values[order], of_post[order]
    found = np.empty(draws)
    step = max(1, 2_000_000 // max(len(values), people))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        chosen = rng.integers(0, people, (count, people)) + np.arange(count)[:, None] * people
        times = np.bincount(chosen.ravel(), minlength=count * people).reshape(count, people).astype(np.int32)
        reached = np.cumsum(times[:, of_post], axis=1, dtype=np.int32)
        total = reached[:, -1]
        # The lower and the upper middle of what was drawn; nothing is drawn where all the drawn creators have no post.
        lower = (reached >= ((total + 1) // 2)[:, None]).argmax(axis=1)
        upper = (reached >= (total // 2 + 1)[:, None]).argmax(axis=1)
        found[start : start + count] = (values[lower] + values[upper]) / 2
    return found


def _drawn(values: Numbers, creators: Codes, draws: int) -> Numbers:
    known = ~np.isnan(values)
    values, creators = values[known], creators[known]
    return resampled_medians(values, creators, _seed(values, creators), draws)


def _ratio_interval(medians: Numbers, before: Numbers, percent: float) -> tuple[float | None, float | None]:
    """The interval of the ratio of two medians; None for an end that is not bounded (a median of 0 below)."""
    # The two are drawn apart, also where both are of the same numbers.
    before = np.roll(before, len(before) // 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = medians / before
    return _interval(np.where(np.isnan(ratios), np.inf, ratios), percent)


def _interval(values: Numbers, percent: float) -> tuple[float | None, float | None]:
    tail = (100 - percent) / 200
    ordered = np.sort(values)
    ends = (ordered[int(tail * len(ordered))], ordered[min(len(ordered) - 1, int((1 - tail) * len(ordered)))])
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    return low, high


def _excludes_1(low: float | None, high: float | None) -> bool:
    return (low is not None and low > 1) or (high is not None and high < 1)


def _enough(posts: int, creators: int) -> bool:
    return posts >= MIN_POSTS and creators >= MIN_CREATORS


def _seed(values: Numbers, creators: Any) -> int:
    """The same for the same numbers, whatever order the creators are numbered in."""
    return int.from_bytes(blake2b(np.sort(values).tobytes(), digest_size=6).digest(), "big") + len(np.unique(creators))
