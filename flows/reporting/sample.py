"""The posts of a report as columns of numbers, so that a million fit into memory and are counted at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
    numbers: dict[str, list[Numbers]] = {}
    codes: dict[str, dict[Any, int]] = {name: {} for name in ("platform", "medium", "creator", "tag")}
    parts: dict[str, list[Codes]] = {name: [] for name in ("platform", "medium", "creator")}
    members: list[tuple[int, int]] = []
    members_parts: list[NDArray[np.int64]] = []

    def code(name: str, value: Any) -> int:
        return codes[name].setdefault(value, len(codes[name]))

    for batch in batches:
        start = len(sample.keys)
        for at, row in enumerate(batch, start):
            sample.keys.append((row.platform, row.post_id))
            members.extend((at, code("tag", tag)) for tag in sorted((row.tags or "").split("\n")) if tag)
            if contents is not None:
                contents.add(row)
        parts["platform"].append(np.array([code("platform", row.platform) for row in batch]))
        parts["medium"].append(np.array([code("medium", row.media_type or UNKNOWN_MEDIA) for row in batch]))
        known = len(codes["creator"])
        people = [(row.platform, row.author_id or f"of {row.post_id}") for row in batch]
        parts["creator"].append(np.array([code("creator", one) for one in people]))
        newly = {codes["creator"][one]: row.author_username for one, row in zip(people, batch, strict=True)}
        sample.creator_names.extend(newly[at] for at in range(known, len(codes["creator"])))
        for name, values in _numbers(batch).items():
            numbers.setdefault(name, []).append(values)
        members_parts.append(np.array(members, np.int64).reshape(-1, 2))
        members.clear()
    sample.platforms, sample.media = list(codes["platform"]), list(codes["medium"])
    sample.creators, sample.tags = list(codes["creator"]), list(codes["tag"])
    if sample.keys:
        sample.platform, sample.medium, sample.creator = (np.concatenate(part) for part in parts.values())
        sample.post_of, sample.tag_of = np.concatenate(members_parts).T
    sample.columns = {name: np.concatenate(values) for name, values in numbers.items()}
    for name in ("gone_at", "enriched_at", "resting_since", "rested_until"):
        if name in sample.columns:
            sample[name][sample[name] > sample.as_of] = np.nan
    for name in _names(plan):
        sample.columns.setdefault(name, np.full(len(sample), np.nan))
    return sample


_TIMES: Final = ("posted_at", "first_seen_at", "enriched_at", "gone_at", "resting_since", "rested_until")
_FLAGS: Final = ("likes_hidden", "is_paid_partnership")
_AT_CHECKPOINT: Final = ("plays", "views", "likes", "comments", "shares", "saves", "author_followers", "late")


def _names(plan: SnapshotPlan) -> list[str]:
    growing = [f"{name}_{age}" for age in plan.ages for name in (*METRICS, "late")]
    compared = [f"{name}_{CHECKPOINT_SECONDS}" for name in (*_AT_CHECKPOINT, "observed_at")]
    return [*_TIMES, *_FLAGS, *growing, *compared]


def _numbers(batch: Sequence[Any]) -> dict[str, Numbers]:
    """The columns of a batch that hold numbers, flags and times."""
    found = {}
    for name, values in zip(batch[0]._fields, zip(*batch, strict=True), strict=True):
        if name in _TIMES or name.startswith("observed_at"):
            values = tuple(value.timestamp() if value is not None else None for value in values)
        elif not (name in _FLAGS or name.rpartition("_")[0] in _AT_CHECKPOINT):
            continue
        found[name] = np.array(values, dtype=np.float64)
    return found


class Contents:
    """Counts of a period's posts what no column of numbers holds: hashtags in captions, and why numbers are missing."""

    def __init__(self, begin: datetime | None, end: datetime) -> None:
        self._begin, self._end = begin, end
        self.posts = 0
        self.hashtags: Counter[str] = Counter()
        self.shown: dict[str, str] = {}
        """Hashtags as they were first written."""
        self.missing: dict[str, Counter[str]] = {name: Counter() for name in (*METRICS, "comments")}

    def add(self, row: Any) -> None:
        """Count one post; a hashtag once, without regard to case, and not if it was followed."""
        posted = row.posted_at or row.first_seen_at
        if posted >= self._end or (self._begin is not None and posted < self._begin) or row.first_seen_at > self._end:
            return
        self.posts += 1
        followed = set((row.tags or "").split("\n"))
        for key, written in {hashtag_key(one): one for one in row.hashtags or ()}.items():
            if key not in followed:
                self.hashtags[key] += 1
                self.shown.setdefault(key, written)
        for name, counts in self.missing.items():
            if row.null_reasons and name in row.null_reasons:
                counts[str(row.null_reasons[name])] += 1


def seconds(moment: datetime | None) -> float | None:
    """A moment as the sample has it."""
    return None if moment is None else moment.timestamp()


def moment(at: float) -> datetime | None:
    """The other way round."""
    return None if np.isnan(at) else datetime.fromtimestamp(at, UTC)
