"""A report's three sentences: what moved, which post stands out, and how far all of it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from blocks.posts.snapshot_plan import age_text
from flows.reporting import comparisons
from flows.reporting.comparisons import ALL, Hashtag
from flows.reporting.leading import Search
from flows.reporting.period import Period
from flows.reporting.sample import Mask, Sample
from flows.reporting.statistics import CHECKPOINT_SECONDS, INTERVAL_PERCENT, MIN_CREATORS, MIN_POSTS, Change


def aged(seconds: int) -> str:
    """An age in words: `24 h`, `7 days`."""
    short = age_text(seconds)
    return (
        f"{short[:-1]} days" if short.endswith("d") else f"{short[:-1]} {'min' if short.endswith('m') else short[-1]}"
    )


AT: Final = aged(CHECKPOINT_SECONDS)


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison that was searched: of which hashtag, in what, and how it came out after the correction."""

    label: str
    what: str
    change: Change


def findings(sample: Sample, lines: Sequence[Hashtag], now: Mask, before: Mask | None) -> list[Finding]:
    """All comparisons that could be made, each corrected for their number; those that changed first."""
    lines = [line for line in lines if line.tag != ALL] or list(lines)
    searched = [(line, *one) for line in lines for one in _of(line)]
    found = []
    for line, what, words, plain in searched:
        change = replace(plain, level_percent=INTERVAL_PERCENT)
        if plain.verdict in ("up", "down"):
            mask = sample.of_tag(line.tag) if line.tag != ALL else now | True
            before_too = None if before is None else mask & before
            change = _corrected(sample, what, mask & now, before_too, len(searched))
        found.append(Finding(line.label, f"{words} at {AT}", change))
    return sorted(found, key=lambda one: (one.change.verdict == "no clear change", -_distance(one.change), one.label))


def _of(line: Hashtag) -> list[tuple[str, str, Change]]:
    """The comparisons of a hashtag that have enough posts and creators, by name and in words."""
    all_of_them = [("engagement", "likes + comments", line.engagement)] if line.engagement else []
    all_of_them += [(one.name, f"{one.metric} of {one.platform} {one.medium} posts", one.change) for one in line.strata]
    return [one for one in all_of_them if one[2].verdict != "too few"]


def _corrected(sample: Sample, what: str, now: Mask, before: Mask | None, comparisons_made: int) -> Change:
    if what == "engagement":
        return comparisons.change_of(sample, sample.at("engagement"), now, before, comparisons_made)
    return next(iter(comparisons.strata(sample, now, before, comparisons_made, only=what))).change


def _distance(change: Change) -> float:
    return max(change.ratio, 1 / change.ratio) if change.ratio else 0.0


def three(
    sample: Sample,
    period: Period,
    whole: Hashtag,
    found: Sequence[Finding],
    search: Search,
    names: dict[tuple[str, str], str],
) -> list[str]:
    """The sentences; `names` are the user names of the posts that may be named, none where nobody may be."""
    return [_moved(period, found), _stands_out(sample, search, names), _reach(whole)]


def _moved(period: Period, found: Sequence[Finding]) -> str:
    before = period.before
    if before is None:
        return "This report is of all time, so that there is no earlier period to compare with."
    moved = [one for one in found if one.change.verdict in ("up", "down")]
    if moved:
        return f"{_said(moved[0], period)} {_corrected_for(len(found))}"
    if found:
        what = "The one comparison shows" if len(found) == 1 else f"None of {len(found)} comparisons shows"
        end = "no clear change" if len(found) == 1 else "a clear change"
        return f"{what} {end} against the {period.words} before: each interval includes 1."
    return (
        f"No hashtag's change can be stated: none has {MIN_POSTS} posts of {MIN_CREATORS} creators, measured at {AT} "
        f"in time, in this period and in the {period.words} before, and a median above 0 there."
    )


def _said(one: Finding, period: Period) -> str:
    change = one.change
    assert change.ratio is not None
    verb = "rose to" if change.verdict == "up" else "fell to"
    return (
        f"{one.label}: {one.what} {verb} {times(change.ratio)} times those of the {period.words} before, "
        f"between {times(change.low)} and {times(change.high)} times; the medians are {number(change.now.median)} "
        f"({plural(change.now.posts, 'post')}, {plural(change.now.creators, 'creator')}) and "
        f"{number(change.before.median)} ({plural(change.before.posts, 'post')}, "
        f"{plural(change.before.creators, 'creator')})."
    )


def _corrected_for(count: int) -> str:
    return "" if count < 2 else f"The interval is corrected for {count} comparisons that were searched."


def _stands_out(sample: Sample, search: Search, names: dict[tuple[str, str], str]) -> str:
    if not search.searched:
        return "No post of the period was measured in time, so that none can be called outstanding."
    if not search.leading:
        if search.searched == 1:
            return "The one searched post has less than twice its baseline, or too few peers."
        return f"None of {search.searched:,} searched posts has twice its baseline or more."
    one = search.leading[0]
    who = f"by {name} " if (name := names.get(sample.keys[one.post])) else ""
    against = (
        f"{one.outrun.posts:,} earlier posts of its creator"
        if one.outrun.baseline == "creator"
        else f"{one.outrun.posts:,} other posts of {one.tag}"
    )
    return (
        f"Of {plural(search.searched, 'searched post')} one {who}is furthest above its peers: {number(one.value)} "
        f"{one.metric} at {aged(one.age_seconds)}, {times(one.outrun.times)} times the median of {against}."
    )


def _reach(whole: Hashtag) -> str:
    parts = [
        f"{whole.too_young:,} {'is' if whole.too_young == 1 else 'are'} younger than {AT}" if whole.too_young else "",
        f"{whole.not_measured:,} {'was' if whole.not_measured == 1 else 'were'} not measured at that age"
        if whole.not_measured
        else "",
        f"{whole.late:,} {'was' if whole.late == 1 else 'were'} measured too late" if whole.late else "",
    ]
    left = [part for part in parts if part]
    tail = f"; {' and '.join(left)}" if left else ""
    return (
        f"It rests on {plural(whole.compared, 'post')} measured at {AT}, of {plural(whole.posts, 'post')} by "
        f"{plural(whole.creators, 'creator')} in the sample{tail}."
    )


def plural(count: int, noun: str) -> str:
    """`1 post`, `1,234 posts`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def times(value: float | None) -> str:
    """A ratio with two or three figures; an end of an interval that is not bounded is said."""
    if value is None:
        return "no bound"
    return f"{value:,.{0 if value >= 10 else 1 if value >= 2 else 2}f}" if value >= 0.1 else f"{value:.1g}"


def number(value: float | None) -> str:
    """A count or a median with thousands apart."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value % 1 == 0 or value >= 100 else f"{value:,.1f}"
