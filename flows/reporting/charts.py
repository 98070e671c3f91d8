"""The numbers behind the plots, as the page's own program takes them; how they look is said in `page.js`."""

from __future__ import annotations

from typing import Any

from flows.reporting.comparisons import ALL
from flows.reporting.figures import Section
from flows.reporting.sentences import aged
from flows.reporting.statistics import Middle


def of_section(section: Section) -> dict[str, Any]:
    """Medians by hashtag with their intervals, growth from checkpoint to checkpoint, posts above their baseline."""
    return {"compared": _compared(section), "growth": _growth(section), "outrun": _outrun(section)}


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
