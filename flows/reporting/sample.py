"""The posts of a report as columns of numbers, so that a million fit into memory and are counted at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blocks.database.store import report
from blocks.posts.captions import hashtag_key
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting.statistics import CHECKPOINT_SECONDS, Codes, Numbers, at_checkpoint, engagement

METRICS: Final = ("plays", "views", "likes")
UNKNOWN_MEDIA: Final = "unknown"

STATES: Final = ("measured", "resting", "missed", "gone", "due", "upcoming", "unseen")
"""How a checkpoint stands for a post: `measured` in time or not; `due` means that it still can be."""

Mask = NDArray[np.bool_]


@dataclass(slots=True)
class Sample:
    """The posts of one collection, in the order of their keys; times are seconds since the epoch, unknown is NaN.

    `post_of` and `tag_of` say together which followed hashtag found which post; a post without any is in neither.
    """

    plan: SnapshotPlan
    as_of: float
    keys: list[tuple[str, str]] = field(default_factory=list)
    platforms: list[str] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    creators: list[tuple[str, str]] = field(default_factory=list)
    creator_names: list[str | None] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    platform: Codes = field(default_factory=lambda: np.empty(0, np.int64))
    medium: Codes = field(default_factory=lambda: np.empty(0, np.int64))
    creator: Codes = field(default_factory=lambda: np.empty(0, np.int64))
    post_of: Codes = field(default_factory=lambda: np.empty(0, np.int64))
    tag_of: Codes = field(default_factory=lambda: np.empty(0, np.int64))
    columns: dict[str, Numbers] = field(default_factory=dict)
    _states: dict[int, Codes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, name: str) -> Numbers:
        return self.columns[name]

    def at(self, name: str, age_seconds: int = CHECKPOINT_SECONDS) -> Numbers:
        """A number at a checkpoint, NaN where it was not measured in time (at most 25 % late)."""
        late = self.columns[f"late_{age_seconds}"]
        if name == "engagement":
            return engagement(self.at("likes", age_seconds), self.at("comments", age_seconds))
        return np.where(at_checkpoint(late, age_seconds), self.columns[f"{name}_{age_seconds}"], np.nan)

    def posted_in(self, begin: float | None, end: float) -> Mask:
        """Posts that were posted in a period and first seen by its end."""
        posted = np.where(np.isnan(self["posted_at"]), self["first_seen_at"], self["posted_at"])
        inside = (posted < end) & (self["first_seen_at"] <= end)
        return inside if begin is None else inside & (posted >= begin)

    def of_tag(self, tag: int) -> Mask:
        """Posts that an import of the hashtag found; -1: those that came by URL or creator alone."""
        mask = np.zeros(len(self), dtype=bool)
        if tag < 0:
            mask[self.post_of] = True
            return ~mask
        mask[self.post_of[self.tag_of == tag]] = True
        return mask

    def states(self, age_seconds: int) -> Codes:
        """How the checkpoint stands for each post, as a place in `STATES` (see `CheckpointState`)."""
        if age_seconds not in self._states:
            self._states[age_seconds] = self._told(age_seconds)
        return self._states[age_seconds]

    def _told(self, age_seconds: int) -> Codes:
        ends = next(one.ends_seconds for one in self.plan.checkpoints if one.age_seconds == age_seconds)
        age = self.as_of - self["posted_at"]
        seen = self["first_seen_at"] - self["posted_at"]
        last = np.minimum(age, ends)
        rests = self["resting_since"] - self["posted_at"] <= last
        rests &= np.isnan(self["rested_until"]) | (last <= self["rested_until"] - self["posted_at"])
        gone = self["gone_at"] - self["posted_at"] < ends
        conditions = [
            ~np.isnan(self[f"late_{age_seconds}"]), ~(ends > seen), gone, rests, age < age_seconds, age < ends,
        ]  # fmt: skip
        named = ("measured", "unseen", "gone", "resting", "upcoming", "due")
        return np.select(conditions, [STATES.index(name) for name in named], STATES.index("missed"))


def load(
    batches: Iterable[Sequence[Any]], plan: SnapshotPlan, as_of: datetime, contents: Contents | None = None
) -> Sample:
    """The rows of `blocks.database.store.report.post_rows` as a sample; `contents` counts what it does not keep.

    What happened to a post after `as_of` is left out.
    """
    sample = Sample(plan, as_of.timestamp())
    platforms, media, creators, tags = _Numbered(), _Numbered(), _Numbered(), _Numbered()
    parts: dict[str, list[NDArray[Any]]] = {}

    def part(name: str, values: Any, kind: Any = np.float64) -> None:
        parts.setdefault(name, []).append(np.array(values, kind))

    for batch in batches:
        columns = dict(zip(batch[0]._fields, zip(*batch, strict=True), strict=True))
        start = len(sample.keys)
        people = zip(
            columns["platform"], *(columns[name] for name in ("author_id", "author_username", "post_id")), strict=True
        )
        part("platform", [platforms[one] for one in columns["platform"]], np.int64)
        part("medium", [media[one or UNKNOWN_MEDIA] for one in columns["media_type"]], np.int64)
        part("creator", [creators[platform, _creator_of(*one)] for platform, *one in people], np.int64)
        names = dict(zip(parts["creator"][-1].tolist(), columns["author_username"], strict=True))
        sample.creator_names.extend(names[at] for at in range(len(sample.creator_names), len(creators)))
        found_by = [
            (at, tags[tag])
            for at, lines in enumerate(columns["tags"], start)
            for tag in sorted((lines or "").split("\n"))
            if tag
        ]
        part("found_by", found_by, np.int64)
        known = list(platforms)
        sample.keys.extend(zip((known[at] for at in parts["platform"][-1]), columns["post_id"], strict=True))
        for name in columns.keys() & _names(plan):
            part(name, columns[name])
        if contents is not None:
            for row in batch:
                contents.add(row)
    sample.platforms, sample.media, sample.creators, sample.tags = map(list, (platforms, media, creators, tags))
    if sample.keys:
        made = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        sample.platform, sample.medium, sample.creator = made.pop("platform"), made.pop("medium"), made.pop("creator")
        sample.post_of, sample.tag_of = made.pop("found_by").reshape(-1, 2).T
        sample.columns = made
    for name in _names(plan):
        sample.columns.setdefault(name, np.full(len(sample), np.nan))
    for name in ("gone_at", "enriched_at", "resting_since", "rested_until"):
        sample[name][sample[name] > sample.as_of] = np.nan
    return sample


def _creator_of(author_id: str | None, username: str | None, post_id: str) -> str:
    """Who made a post: some payloads name nobody, or give no id; without either each post is a creator of its own."""
    return author_id or (f"@{username}" if username else f"of {post_id}")


class _Numbered(dict[Any, int]):
    """Numbers what is looked up, in the order in which it comes."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


_FLAGS: Final = ("likes_hidden", "is_paid_partnership")


def _names(plan: SnapshotPlan) -> list[str]:
    """The columns of numbers, flags and times."""
    growing = [f"{name}_{age}" for age in plan.ages for name in (*METRICS, "late")]
    compared = [f"{name}_{CHECKPOINT_SECONDS}" for name in (*report.COMPARED, "observed_at")]
    return [*report.TIMES, *_FLAGS, *growing, *compared]


class Contents:
    """Counts of a period's posts what no column of numbers holds: hashtags in captions, and why numbers are missing."""

    def __init__(self, begin: float | None, end: float) -> None:
        self._begin, self._end = begin, end
        self.posts = 0
        self.hashtags: Counter[str] = Counter()
        self.shown: dict[str, str] = {}
        """Hashtags as they were first written."""
        self.missing: dict[str, Counter[str]] = {name: Counter() for name in (*METRICS, "comments")}

    def add(self, row: Any) -> None:
        """Count one post; a hashtag once, without regard to case, and not if it was followed."""
        posted = row.first_seen_at if row.posted_at is None else row.posted_at
        if posted >= self._end or (self._begin is not None and posted < self._begin) or row.first_seen_at > self._end:
            return
        self.posts += 1
        followed = set((row.tags or "").split("\n"))
        for key, written in {hashtag_key(one): one for one in _read(row.hashtags) or ()}.items():
            if key not in followed:
                self.hashtags[key] += 1
                self.shown.setdefault(key, written)
        reasons = _read(row.null_reasons) or {}
        for name, counts in self.missing.items():
            if name in reasons:
                counts[str(reasons[name])] += 1


def _read(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def seconds(moment: datetime | None) -> float | None:
    """A moment as the sample has it."""
    return None if moment is None else moment.timestamp()
