"""Hashtags side by side and the growth of their posts; each number with its count, compared by the house's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from blocks.posts.snapshot_plan import age_text
from flows.reporting import statistics as rules
from flows.reporting.sample import METRICS, STATES, Mask, Sample
from flows.reporting.statistics import CHECKPOINT_SECONDS, Change, Growth, Middle

ALL: Final = -2
"""Stands for all posts, where a hashtag could stand."""
BY_OTHER_MEANS: Final = -1
"""Stands for the posts that no hashtag's import found: those given by URL or creator."""

DUE: Final = ("measured", "missed", "resting", "gone")
"""How a checkpoint stands for the posts for which it is over, or was answered."""

MIN_SHARE_KNOWN: Final = 0.5
"""A stratum is compared by plays where so many of its measured posts have any, else by views, else by likes."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Posts of one platform and media type, compared in the one number that they have."""

    platform: str
    medium: str
    metric: str
    posts: int
    change: Change
    total: int
    """The sum of the number over the compared posts; it stands beside its stratum and nowhere else."""

    @property
    def name(self) -> str:
        return f"{self.platform} {self.medium}"


@dataclass(slots=True)
class Hashtag:
    """One hashtag's line: counts, what its strata show, and likes + comments over all platforms."""

    tag: int
    label: str
    posts: int = 0
    posts_before: int | None = None
    creators: int = 0
    shared: int = 0
    """Posts that another followed hashtag found too: they count in each."""
    compared: int = 0
    too_young: int = 0
    not_measured: int = 0
    late: int = 0
    engagement: Change | None = None
    engagement_rate: float | None = None
    """The median of the posts' own (likes + comments) / plays, in the stratum in which most of them have it: rates are
    never pooled over platforms and media types."""
    rated: int = 0
    rated_stratum: str = ""
    strata: list[Stratum] = field(default_factory=list)
    line: list[tuple[int, float]] = field(default_factory=list)
    """(age in seconds, how many times its number at the first checkpoint) for the small picture."""


@dataclass(frozen=True, slots=True)
class Step:
    """Growth from one checkpoint to the next, and how the later one stands for the posts."""

    from_seconds: int
    to_seconds: int
    growth: Growth | None
    states: dict[str, int]

    @property
    def due(self) -> int:
        """Posts for which the checkpoint is over, or was answered."""
        return sum(self.states[name] for name in DUE)

    @property
    def name(self) -> str:
        return f"{age_text(self.from_seconds)} to {age_text(self.to_seconds)}"


@dataclass(frozen=True, slots=True)
class Curve:
    """How one number of one platform's posts grew, in one choice of posts."""

    posts: str
    platform: str
    metric: str
    steps: list[Step]


def tag_label(sample: Sample, tag: int) -> str:
    """A hashtag as it is shown."""
    return {ALL: "all", BY_OTHER_MEANS: "by URL or creator"}.get(tag) or f"#{sample.tags[tag]}"


def hashtags(sample: Sample, now: Mask, before: Mask | None) -> list[Hashtag]:
    """A line for each followed hashtag that has posts in either period, the largest first; one for all at the end."""
    either = now if before is None else now | before
    counts = np.bincount(sample.tag_of[either[sample.post_of]], minlength=len(sample.tags))
    order = sorted((tag for tag in range(len(sample.tags)) if counts[tag]), key=lambda tag: (-counts[tag], tag))
    others = sample.of_tag(BY_OTHER_MEANS)
    wanted = [*order, *([BY_OTHER_MEANS] if (others & either).any() else []), ALL]
    found = []
    found_by = np.bincount(sample.post_of, minlength=len(sample))
    for tag in wanted:
        mask = np.ones(len(sample), dtype=bool) if tag == ALL else sample.of_tag(tag)
        line = _line(sample, mask & now, None if before is None else mask & before)
        line.tag, line.label = tag, tag_label(sample, tag)
        line.shared = int((found_by[mask & now] > 1).sum())
        found.append(line)
    return found


def _line(sample: Sample, now: Mask, before: Mask | None) -> Hashtag:
    late = sample[f"late_{CHECKPOINT_SECONDS}"]
    compared = now & rules.at_checkpoint(late)
    young = now & (sample.as_of - sample["posted_at"] < CHECKPOINT_SECONDS)
    line = Hashtag(
        0, "", posts=int(now.sum()), posts_before=None if before is None else int(before.sum()),
        creators=len(np.unique(sample.creator[now])), compared=int(compared.sum()), too_young=int(young.sum()),
        late=int((now & ~np.isnan(late) & ~compared).sum()),
    )  # fmt: skip
    line.not_measured = line.posts - line.compared - line.late - line.too_young
    likes_comments, plays = sample.at("engagement"), sample.at("plays")
    line.engagement = change_of(sample, likes_comments, now, before)
    rated = now & ~np.isnan(likes_comments) & (plays > 0)
    if rated.any():
        pairs = sample.platform * len(sample.media) + sample.medium
        largest = int(np.bincount(pairs[rated]).argmax())
        rated &= pairs == largest
        platform, medium = divmod(largest, len(sample.media))
        line.rated_stratum = f"{sample.platforms[platform]} {sample.media[medium]}"
    line.engagement_rate = rules.rate(likes_comments[rated], plays[rated])
    line.rated = int(rated.sum())
    line.strata = list(strata(sample, now, before))
    line.line = _small_line(sample, now if before is None else now | before)
    return line


def strata(
    sample: Sample, now: Mask, before: Mask | None, comparisons: int = 1, only: str | None = None
) -> Iterator[Stratum]:
    """The posts by platform and media type, the largest first; or only the one of that name."""
    pairs = sample.platform * len(sample.media) + sample.medium
    counts = np.bincount(pairs[now], minlength=len(sample.platforms) * len(sample.media))
    for pair in sorted(np.flatnonzero(counts), key=lambda at: (-counts[at], at)):
        platform, medium = divmod(int(pair), len(sample.media))
        if only not in (None, f"{sample.platforms[platform]} {sample.media[medium]}"):
            continue
        mine = pairs == pair
        metric = _metric(sample, mine & now)
        values = sample.at(metric)
        change = change_of(sample, values, mine & now, None if before is None else mine & before, comparisons)
        total = int(np.nansum(values[mine & now]))
        yield Stratum(sample.platforms[platform], sample.media[medium], metric, int(counts[pair]), change, total)


def _metric(sample: Sample, which: Mask) -> str:
    measured = int(rules.at_checkpoint(sample[f"late_{CHECKPOINT_SECONDS}"])[which].sum())
    for name in METRICS:
        if (~np.isnan(sample.at(name)[which])).sum() >= max(1, MIN_SHARE_KNOWN * measured):
            return name
    return "likes"


def change_of(sample: Sample, values: rules.Numbers, now: Mask, before: Mask | None, comparisons: int = 1) -> Change:
    """One number of the posts of this period against those of the one before."""
    if before is None:
        return Change(rules.middle(values[now], sample.creator[now]), Middle(None, 0, 0), "too few")
    return rules.change(
        values[now], sample.creator[now], values[before], sample.creator[before], comparisons=comparisons
    )


def _small_line(sample: Sample, which: Mask) -> list[tuple[int, float]]:
    """The medians of the paired ratios multiplied up, as long as there are enough pairs and no step is selected; of the
    likes on the platform with most posts."""
    line: list[tuple[int, float]] = []
    if which.any():
        which = which & (sample.platform == np.bincount(sample.platform[which]).argmax())
    for step in steps(sample, "likes", which):
        if step.growth is not None and step.growth.median is not None and not step.growth.selected:
            line = line or [(step.from_seconds, 1.0)]
            line.append((step.to_seconds, line[-1][1] * step.growth.median))
        elif line:
            break
    return line


def steps(sample: Sample, metric: str, which: Mask) -> list[Step]:
    """Growth between each two checkpoints of the plan that follow one another."""
    found = []
    which = which & ~_without(sample, metric)
    for ages in pairwise(sample.plan.ages):
        # A post that is gone or at rest is not due at a checkpoint that lies ahead.
        is_over = ~(sample.as_of - sample["posted_at"] < ages[1]) | ~np.isnan(sample[f"late_{ages[1]}"])
        counts = np.bincount(sample.states(ages[1])[which & is_over], minlength=len(STATES))
        states = {name: int(count) for name, count in zip(STATES, counts, strict=True)}
        due = sum(states[name] for name in DUE)
        earlier, later = (sample.at(metric, age)[which] for age in ages)
        found.append(Step(*ages, rules.growth(earlier, later, due, ages_seconds=ages), states))
    return found


def _without(sample: Sample, metric: str) -> Mask:
    """Posts that were measured and never had such a number, such as the plays of an image: it was never due."""
    measured, known = np.zeros(len(sample), dtype=bool), np.zeros(len(sample), dtype=bool)
    for age in sample.plan.ages:
        measured |= ~np.isnan(sample[f"late_{age}"])
        known |= ~np.isnan(sample[f"{metric}_{age}"])
    return measured & ~known


def curves(sample: Sample, choices: dict[str, Mask]) -> list[Curve]:
    """The growth of each platform's numbers, for each choice of posts; without those that have too few pairs."""
    found = []
    for posts, which in choices.items():
        for number, platform in enumerate(sample.platforms):
            mine = which & (sample.platform == number)
            for metric in METRICS:
                walked = steps(sample, metric, mine)
                if any(step.growth is not None for step in walked):
                    found.append(Curve(posts, platform, metric, walked))
    return found
