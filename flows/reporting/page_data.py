"""The numbers behind the page, as its own program takes them, and the receipts that every figure opens to.

A receipt is a post that a figure rests on: its age, its times, the hash of its payload. `page.js` says how all looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from flows.reporting.comparisons import ALL
from flows.reporting.figures import Section
from flows.reporting.leading import Outrunner
from flows.reporting.sentences import aged
from flows.reporting.statistics import Middle

HASH_LETTERS: Final = 12
"""So much of a payload's hash stands in the table of all posts; the whole of it where one post is looked at."""

COLUMNS: Final = (
    "platform", "medium", "when", "creator", "tags", "posted", "url",
    "observed", "late", "plays", "views", "likes", "comments", "hash",
)  # fmt: skip


def of_section(section: Section) -> dict[str, Any]:
    """The posts of both periods; medians by hashtag, growth between checkpoints, posts above their baseline."""
    return _posts(section) | {"compared": _compared(section), "growth": _growth(section), "outrun": _outrun(section)}


def _compared(section: Section) -> list[dict[str, Any]]:
    """One entry for each number that hashtags can be compared in: likes + comments, and the strata by their own."""
    found: dict[str, list[dict[str, Any]]] = {}
    lines = [line for line in section.hashtags if line.tag != ALL] or section.hashtags
    for line in lines:
        if line.engagement is not None:
            _add(found, "likes + comments, all platforms", line.label, line.engagement.now, line.engagement.before)
        for stratum in line.strata:
            name = f"{stratum.metric}, {stratum.platform} {stratum.medium}"
            _add(found, name, line.label, stratum.change.now, stratum.change.before)
    return [{"name": name, "lines": rows} for name, rows in found.items()]


def _add(found: dict[str, list[dict[str, Any]]], name: str, label: str, now: Middle, before: Middle) -> None:
    if now.posts or before.posts:
        found.setdefault(name, []).append({"label": label, "now": _middle(now), "before": _middle(before)})


def _middle(one: Middle) -> list[Any]:
    return [one.median, one.low, one.high, one.posts, one.creators]


def _growth(section: Section) -> list[dict[str, Any]]:
    return [
        {
            "posts": curve.posts,
            "platform": curve.platform,
            "metric": curve.metric,
            "steps": [
                {
                    "name": step.name,
                    "at": aged(step.to_seconds),
                    "growth": None
                    if step.growth is None
                    else [
                        step.growth.median,
                        step.growth.low,
                        step.growth.high,
                        step.growth.pairs,
                        step.growth.selected,
                    ],
                    "due": step.due,
                    "states": step.states,
                }
                for step in curve.steps
            ],
        }
        for curve in section.curves
    ]


def _outrun(section: Section) -> list[dict[str, Any]]:
    names = [section.shown[section.sample.keys[one.post]].author_username for one in section.search.leading]
    return [
        {
            "who": name or "unknown author",
            "platform": section.sample.keys[one.post][0],
            "times": one.outrun.times,
            "what": f"{one.metric} at {aged(one.age_seconds)}",
            "value": one.value,
            "base": one.outrun.base,
            "posts": one.outrun.posts,
            "baseline": "earlier posts of the creator" if one.tag is None else f"other posts of {one.tag}",
        }
        for name, one in zip(names, section.search.leading, strict=True)
    ]


def _posts(section: Section) -> dict[str, Any]:
    """The posts of both periods column by column, for the page's own program; the newest first."""
    sample = section.sample
    tags: dict[int, list[int]] = {}
    for post, tag in zip(sample.post_of.tolist(), sample.tag_of.tolist(), strict=True):
        tags.setdefault(post, []).append(tag)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    creators: dict[int, int] = {}
    for at, row in section.receipts.items():
        creator = creators.setdefault(int(sample.creator[at]), len(creators))
        values = (
            int(sample.platform[at]), int(sample.medium[at]), int(section.now[at]), creator, tags.get(at, []),
            _seconds(sample["posted_at"][at]), safe_link(row.url), *_measured(row),
        )  # fmt: skip
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)
    return {
        "platforms": sample.platforms,
        "media": sample.media,
        "tags": sample.tags,
        "creators": [sample.creator_names[at] or "unknown author" for at in creators],
        "posts": columns,
        "of": int((section.now if section.before is None else section.now | section.before).sum()),
    }


def _measured(row: Any) -> tuple[Any, ...]:
    if row.observed_at is None:
        return (None,) * 7
    numbers = (row.plays, row.views, row.likes, row.comments)
    return round(row.observed_at.timestamp()), row.lateness_seconds, *numbers, (row.raw_sha256 or "")[:HASH_LETTERS]


def safe_link(url: str | None) -> str | None:
    """An address that a page may link to."""
    return url if url is not None and url.startswith("https://") else None


def _seconds(at: float) -> int | None:
    return None if np.isnan(at) else round(at)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One post of a baseline, as it was measured at the age at which it was compared."""

    url: str | None
    posted_at: datetime | None
    observed_at: datetime
    late_seconds: int | None
    value: int | None
    raw_sha256: str | None


@dataclass(frozen=True, slots=True)
class Leading:
    """A post that outruns its peers, with everything that says so."""

    one: Outrunner
    who: str
    platform: str
    medium: str
    caption: str | None
    url: str | None
    posted_at: datetime | None
    followers: int | None
    own: Receipt | None
    peers: list[Receipt]

    @classmethod
    def of(cls, section: Section, one: Outrunner, peers: list[tuple[str, str]]) -> Leading:
        """Put the post's row and its measurements together."""
        key = section.sample.keys[one.post]
        row = section.shown[key]
        own = _receipt(section, key, one)
        history = section.histories.get(key, [])
        followers = next((row.author_followers for row in history if row.target_age == one.age_seconds), None)
        return cls(
            one, row.author_username or "unknown author", row.platform, row.media_type or "unknown", row.caption,
            safe_link(row.url), row.posted_at, followers, own,
            [receipt for peer in peers if (receipt := _receipt(section, peer, one)) is not None],
        )  # fmt: skip


def _receipt(section: Section, key: tuple[str, str], one: Outrunner) -> Receipt | None:
    shown = section.shown.get(key)
    for row in section.histories.get(key, []):
        if row.target_age == one.age_seconds and shown is not None:
            return Receipt(
                safe_link(shown.url), shown.posted_at, row.observed_at, row.lateness_seconds, getattr(row, one.metric),
                row.raw_sha256,
            )  # fmt: skip
    return None
