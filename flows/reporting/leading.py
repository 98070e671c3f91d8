"""Posts that outrun their peers, and the creators: against whom each was compared is kept beside it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from flows.reporting import statistics as rules
from flows.reporting.comparisons import tag_label
from flows.reporting.sample import Mask, Sample
from flows.reporting.statistics import CHECKPOINT_SECONDS, Outrun

SHOWN: Final = 15
MIN_TIMES: Final = 2.0
"""A post outruns its peers from twice their median on."""

MIN_FOLLOWERS: Final = 100
MIN_DAYS: Final = 2
"""Followers are compared over so many days, from so many on."""


@dataclass(frozen=True, slots=True)
class Outrunner:
    """A post (its place in the sample), by which number at which age it was judged, and against which posts."""

    post: int
    metric: str
    age_seconds: int
    value: float
    outrun: Outrun
    tag: str | None
    """The hashtag whose posts it was compared with; None where it was its creator's."""


@dataclass(slots=True)
class Search:
    """The posts that lie furthest above their baseline, of how many that were searched."""

    leading: list[Outrunner] = field(default_factory=list)
    searched: int = 0
    without_baseline: int = 0
    over_zero: int = 0
    above: int = 0
    """Posts at twice their baseline or more."""


def search(sample: Sample, now: Mask) -> Search:
    """Judge each post of the period at the latest checkpoint up to 24 h at which it was measured in time."""
    found, left = Search(), now
    above: list[Outrunner] = []
    for age in reversed([age for age in sample.plan.ages if age <= CHECKPOINT_SECONDS]):
        outrun, left = _judge_at(sample, age, left, found)
        above += outrun
    found.above = len(above)
    found.leading = sorted(above, key=lambda one: (-one.outrun.times, sample.keys[one.post]))[:SHOWN]
    return found


def judged(sample: Sample, age: int, here: Mask, min_times: float, min_peers: int) -> list[Outrunner]:
    """Those of the posts `here` with so many times their baseline at an age.

    A hashtag's baseline is of `min_peers` posts at least, where that is more than the rule asks for.
    """
    found, _ = _judge_at(sample, age, here, Search())
    return [
        one
        for one in found
        if one.outrun.times >= min_times and (one.outrun.baseline == "creator" or one.outrun.posts >= min_peers)
    ]


def _judge_at(sample: Sample, age: int, here: Mask, found: Search) -> tuple[list[Outrunner], Mask]:
    """Judge the posts `here` by their plays at an age, else by their likes; and those that have neither."""
    above: list[Outrunner] = []
    for metric in ("plays", "likes"):
        values = sample.at(metric, age)
        there = here & ~np.isnan(values)
        here = here & ~there
        if there.any():
            above += _judge(sample, metric, age, values, there, found)
    return above, here


def _judge(sample: Sample, metric: str, age: int, values: rules.Numbers, here: Mask, found: Search) -> list[Outrunner]:
    """Judge the posts `here` by one number at one age; peers are of the same platform and media type."""
    baselines = _baselines(sample, values, here)
    times = rules.times(values, baselines.base)
    found.searched += int(here.sum())
    found.without_baseline += int((here & np.isnan(baselines.base)).sum())
    found.over_zero += int((here & (baselines.base == 0)).sum())
    return [
        Outrunner(
            int(post), metric, age, float(values[post]),
            Outrun(
                float(times[post]), float(baselines.base[post]), int(baselines.posts[post]),
                "creator" if baselines.tag[post] < 0 else "hashtag",
            ),
            None if baselines.tag[post] < 0 else tag_label(sample, int(baselines.tag[post])),
        )
        for post in np.flatnonzero(here & (times >= MIN_TIMES))
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Baselines:
    """Each post's baseline, of how many posts, and of which hashtag (-1: of the creator)."""

    base: rules.Numbers
    posts: rules.Codes
    tag: rules.Codes


def _baselines(sample: Sample, values: rules.Numbers, here: Mask) -> _Baselines:
    known = ~np.isnan(values)
    stratum = sample.platform * len(sample.media) + sample.medium
    base = np.full(len(sample), np.nan)
    posts, tag_used = np.zeros(len(sample), np.int64), np.full(len(sample), -1)
    for tag in range(len(sample.tags)):
        members = np.flatnonzero(sample.of_tag(tag) & known)
        for peers in _grouped(members, stratum).values():
            # Of several hashtags the one with most peers.
            better = posts[peers] < len(peers) - 1
            medians = rules.peers_baseline(values[peers])
            if better.any() and not np.isnan(medians).all():
                chosen = peers[better]
                base[chosen], posts[chosen], tag_used[chosen] = medians[better], len(peers) - 1, tag
    of_creator = _grouped(np.flatnonzero(known), sample.creator * len(sample.platforms) * len(sample.media) + stratum)
    for mine in of_creator.values():
        if len(mine) > rules.MIN_EARLIER_POSTS and here[mine].any():
            in_time = mine[np.argsort(sample["posted_at"][mine], kind="stable")]
            medians, counts = rules.creators_baseline(values[in_time], sample["posted_at"][in_time])
            own = ~np.isnan(medians)
            base[in_time[own]], posts[in_time[own]], tag_used[in_time[own]] = medians[own], counts[own], -1
    return _Baselines(base, posts, tag_used)


def baseline_posts(sample: Sample, one: Outrunner) -> rules.Codes:
    """The posts that a post was compared with, the latest first."""
    known = ~np.isnan(sample.at(one.metric, one.age_seconds))
    alike = known & (sample.platform == sample.platform[one.post]) & (sample.medium == sample.medium[one.post])
    if one.outrun.baseline == "creator":
        alike &= (sample.creator == sample.creator[one.post]) & (sample["posted_at"] < sample["posted_at"][one.post])
    else:
        alike &= sample.of_tag([tag_label(sample, tag) for tag in range(len(sample.tags))].index(str(one.tag)))
        alike[one.post] = False
    places = np.flatnonzero(alike)
    return places[np.argsort(-sample["posted_at"][places], kind="stable")]


def _grouped(places: rules.Codes, by: rules.Codes) -> dict[int, rules.Codes]:
    """The places by what stands at them."""
    if not len(places):
        return {}
    order = places[np.argsort(by[places], kind="stable")]
    values, starts = np.unique(by[order], return_index=True)
    return {int(value): part for value, part in zip(values, np.split(order, starts[1:]), strict=True)}


@dataclass(slots=True)
class CreatorLine:
    """A creator of the period: posts, median likes + comments at 24 h, and followers as each measurement saw them."""

    creator: int
    posts: int
    posts_before: int
    engagement: float | None
    measured: int
    is_new: bool
    followers: list[tuple[float, int]] = field(default_factory=list)
    """(when, how many), oldest first."""

    @property
    def follower_times(self) -> float | None:
        """By what the followers were multiplied, over two days at least."""
        if len(self.followers) < 2:
            return None
        (first_at, first), (last_at, last) = self.followers[0], self.followers[-1]
        return last / first if first >= MIN_FOLLOWERS and last_at - first_at >= MIN_DAYS * 86_400 else None


@dataclass(slots=True)
class Creators:
    """The creators of a period; `new` are those of whom no post was known before it."""

    total: int = 0
    new: int = 0
    top: list[CreatorLine] = field(default_factory=list)
    rising: list[CreatorLine] = field(default_factory=list)
    newcomers: list[CreatorLine] = field(default_factory=list)


def creators(sample: Sample, now: Mask, before: Mask | None, newcomers: Set[int]) -> Creators:
    """Top by median likes + comments at 24 h (from two measured posts on), rising by followers, and the new ones.

    `newcomers`: by their places in the sample.
    """
    found = Creators()
    counts = np.bincount(sample.creator[now], minlength=len(sample.creators))
    earlier = np.bincount(sample.creator[before], minlength=len(sample.creators)) if before is not None else counts * 0
    values = sample.at("engagement")
    of_creator = _grouped(np.flatnonzero(now), sample.creator)
    history = _grouped(np.flatnonzero(~np.isnan(sample[f"author_followers_{CHECKPOINT_SECONDS}"])), sample.creator)
    lines = []
    for creator in np.flatnonzero(counts):
        mine = values[of_creator[int(creator)]]
        mine = mine[~np.isnan(mine)]
        line = CreatorLine(
            int(creator), int(counts[creator]), int(earlier[creator]),
            float(np.median(mine)) if len(mine) else None, len(mine),
            int(creator) in newcomers,
        )  # fmt: skip
        line.followers = _followers(sample, history.get(int(creator)))
        lines.append(line)
    found.total, found.new = len(lines), sum(line.is_new for line in lines)
    ranked = sorted(lines, key=lambda line: (-(line.engagement or 0), sample.creators[line.creator]))
    found.top = [line for line in ranked if line.measured >= 2][:10]
    found.newcomers = [line for line in ranked if line.is_new and line.measured][:10]
    rising = [line for line in lines if (line.follower_times or 0) > 1]
    found.rising = sorted(rising, key=lambda one: (-(one.follower_times or 0), sample.creators[one.creator]))[:10]
    return found


def _followers(sample: Sample, posts: rules.Codes | None) -> list[tuple[float, int]]:
    if posts is None:
        return []
    seen = dict(
        zip(
            sample[f"observed_at_{CHECKPOINT_SECONDS}"][posts].tolist(),
            sample[f"author_followers_{CHECKPOINT_SECONDS}"][posts].tolist(),
            strict=True,
        )
    )
    return [(at, int(count)) for at, count in sorted(seen.items())]
