"""All that a report shows: one section a collection, read from the store and compared by the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any, Final

import numpy as np

from blocks.database.engine import Store
from blocks.database.store import gaps, report
from blocks.database.store.filters import collections
from blocks.database.store.money import SpendLine
from blocks.database.store.report import ChangedSince, ImportLines
from blocks.database.store.statements import chunks
from blocks.database.tables import Gap
from blocks.errors import UsageError
from blocks.network import are_here
from blocks.posts.snapshot_plan import SnapshotPlan
from flows.reporting import comparisons, leading, sentences
from flows.reporting.comparisons import Curve, Hashtag
from flows.reporting.leading import Creators, Search
from flows.reporting.period import Period
from flows.reporting.sample import Contents, Mask, Sample, load, seconds
from flows.reporting.sentences import Finding
from flows.reporting.statistics import CHECKPOINT_SECONDS, Listing, Pace, pace, tells_the_world

MAX_RECEIPTS: Final = 10_000
"""So many posts, the newest, stand in the page with what was measured of them."""

MAX_BASELINE: Final = 12
"""So many posts of a baseline are listed, the latest; all of them count."""

MAX_COOCCURRING: Final = 20
MAX_TAG_CURVES: Final = 12


@dataclass(frozen=True, slots=True)
class Share:
    """Posts of a kind, of all posts of the period; `known` of them tell."""

    name: str
    posts: int
    of: int


@dataclass(slots=True)
class Rate:
    """What a hashtag's imports say of how much is posted: posts by day where they may, else the newest one's pace."""

    hashtag: str
    imports: int
    full: int
    without_overlap: int
    by_day: dict[str, int] | None = None
    pace: Pace | None = None


@dataclass(slots=True)
class Section:
    """One collection's part of a report."""

    collection: str
    sample: Sample
    now: Mask
    before: Mask | None
    is_invented: bool
    hashtags: list[Hashtag] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    nameless_sentences: list[str] = field(default_factory=list)
    """The same without names of people, for places where they do not belong."""
    curves: list[Curve] = field(default_factory=list)
    search: Search = field(default_factory=Search)
    creators: Creators = field(default_factory=Creators)
    contents: Contents | None = None
    shares: dict[str, list[Share]] = field(default_factory=dict)
    rates: list[Rate] = field(default_factory=list)
    shown: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What the page shows of the posts that it names, by key."""
    baselines: list[list[tuple[str, str]]] = field(default_factory=list)
    """The latest posts of each leading post's baseline, in the order of the leading posts."""
    histories: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """All measurements of those posts."""
    receipts: dict[int, Any] = field(default_factory=dict)
    """Where posts are seen and their measurement at 24 h, by their places, the newest first."""
    imports: ImportLines = field(default_factory=ImportLines)
    failures: dict[tuple[str, str], int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    spending: tuple[SpendLine, ...] = ()
    parsers: list[tuple[str, str, str, int]] = field(default_factory=list)
    confirmed: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed_since: ChangedSince = field(default_factory=lambda: ChangedSince(0, 0))
    rows_sha256: str = ""

    @property
    def whole(self) -> Hashtag:
        """The line of all posts."""
        return self.hashtags[-1]

    @property
    def posts(self) -> int:
        return self.whole.posts


@dataclass(slots=True)
class Figures:
    """All that a report shows; `posts`: the keys of all posts of the period, each once."""

    collection: str | None
    hashtag: str | None
    period: Period
    sections: list[Section]
    posts: set[tuple[str, str]] = field(default_factory=set)

    @property
    def is_invented(self) -> bool:
        """Any of it came from a server on this machine, such as the sandbox."""
        return any(section.is_invented for section in self.sections)


def gather(store: Store, *, collection: str | None, hashtag: str | None, period: Period, plan: SnapshotPlan) -> Figures:
    """Read everything for a report on one collection, or on all, each apart; `hashtag` is a tag's key.

    Raises:
        UsageError: there is no such collection, or the plan has no checkpoint at 24 h.
        StoreError: the database cannot be read.
    """
    if CHECKPOINT_SECONDS not in plan.ages:
        raise UsageError("a report compares posts at 24 h: TAGTRAIL_SNAPSHOT_AGES has to name 24h among its ages")
    with store.connect() as conn:
        known = collections(conn)
        if collection is not None and collection not in known:
            there = f"there are {', '.join(known)}" if known else "there is none yet"
            raise UsageError(f"there is no collection {collection} in the database; {there}")
        wanted = known if collection is None else [collection]
        sections = [_section(conn, name, hashtag, period, plan) for name in wanted]
    # The one with most to compare first: nobody opens a report for an empty collection.
    sections.sort(key=lambda one: (-one.whole.compared, -one.posts, one.collection))
    figures = Figures(collection, hashtag, period, sections)
    for one in sections:
        figures.posts.update(one.sample.keys[at] for at in np.flatnonzero(one.now))
    return figures


def _section(conn: Any, name: str, hashtag: str | None, period: Period, plan: SnapshotPlan) -> Section:
    contents = Contents(seconds(period.begin), period.end.timestamp())
    scope = report.Scope(name, hashtag, period.posted_from, period.end, period.as_of)
    read = report.post_rows(conn, scope, plan.ages, CHECKPOINT_SECONDS)
    sample = load(read, plan, period.as_of, contents)
    now = sample.posted_in(seconds(period.begin), period.end.timestamp())
    before = None
    if period.before is not None:
        before = sample.posted_in(seconds(period.before.begin), period.before.end.timestamp())
    made = Section(name, sample, now, before, False, contents=contents)
    made.hashtags = comparisons.hashtags(sample, now, before)
    made.findings = sentences.findings(sample, made.hashtags, now, before)
    choices = {"all known posts": np.ones(len(sample), dtype=bool)}
    if before is not None:
        choices = {f"posts of the last {_days(period)} days": choices["all known posts"]}
        choices |= {"posts of this period": now, "posts of the one before": before}
    largest = [line for line in made.hashtags if line.tag >= 0][:MAX_TAG_CURVES]
    choices |= {line.label: sample.of_tag(line.tag) for line in largest} if len(largest) > 1 else {}
    made.curves = comparisons.curves(sample, choices)
    made.search = leading.search(sample, now)
    made.creators = leading.creators(sample, now, before, _newcomers(conn, made, period))
    made.shares = _shares(made)
    _read_more(conn, made, hashtag, period)
    names = {key: _at(row.author_username) for key, row in made.shown.items()}
    made.sentences, made.nameless_sentences = (
        sentences.three(sample, period, made.whole, made.findings, made.search, named) for named in (names, {})
    )
    made.rows_sha256 = _hash(made)
    return made


def _newcomers(conn: Any, made: Section, period: Period) -> set[int]:
    """The creators of the period, by their places, of whom the database had no post before it."""
    sample, begin = made.sample, period.begin
    if begin is None:
        return set()
    earlier = sample.creator[sample["first_seen_at"] < begin.timestamp()]
    new = set(sample.creator[made.now].tolist()) - set(earlier.tolist())
    # The sample has the posts of some days and of one collection.
    known = report.creators_known_before(conn, sorted(sample.creators[at] for at in new), begin)
    return {at for at in new if sample.creators[at] not in known}


def _days(period: Period) -> int:
    assert period.posted_from is not None
    return round((period.end - period.posted_from).total_seconds() / 86_400)


def _at(name: str | None) -> str:
    return f"@{name}" if name else "an unknown author"


def _read_more(conn: Any, made: Section, hashtag: str | None, period: Period) -> None:
    """What is read beside the posts, and about those that the page names."""
    sample, as_of = made.sample, period.as_of
    either = made.now if made.before is None else made.now | made.before
    places = np.flatnonzero(either)
    newest = places[np.argsort(-np.nan_to_num(sample["posted_at"][places]), kind="stable")]
    by_key = {sample.keys[at]: int(at) for at in newest[:MAX_RECEIPTS]}
    made.receipts = dict.fromkeys(by_key.values())
    for keys in chunks(list(by_key)):
        for row in report.receipts(conn, keys, CHECKPOINT_SECONDS, as_of):
            made.receipts[by_key[row.platform, row.post_id]] = row
    named = set()
    for one in made.search.leading:
        peers = [sample.keys[at] for at in leading.baseline_posts(sample, one)[:MAX_BASELINE]]
        made.baselines.append(peers)
        named |= {sample.keys[one.post], *peers}
    made.shown = report.shown_posts(conn, sorted(named))
    made.histories = {}
    for row in report.measurements(conn, sorted(named), as_of):
        made.histories.setdefault((row.platform, row.post_id), []).append(row)
    made.imports = report.imports_of(conn, made.collection, hashtag, period.begin, as_of)
    made.rates = list(_rates(made, period))
    made.failures = report.open_failures(conn, made.collection, hashtag, period.begin, as_of)
    found = gaps.find(conn, hashtag=hashtag, collection=made.collection, since=period.begin)
    made.gaps = [gap for gap in found if gap.noted_at <= as_of]
    made.spending = report.spending(conn, made.collection, period.begin, as_of)
    made.parsers = report.parsers(conn, made.collection, period.begin, as_of)
    made.confirmed = report.findings(conn, made.collection)
    made.changed_since = report.changed_since(conn, made.collection, as_of)
    hosts = report.services(conn, made.collection)
    made.is_invented = any(are_here(one) for one in hosts)


def _shares(made: Section) -> dict[str, list[Share]]:
    """What the period's posts are made of: platforms, media types, sponsored or not (of those that tell)."""
    sample, now = made.sample, made.now
    count = int(now.sum())
    found = {}
    for name, codes, labels in (
        ("platform", sample.platform, sample.platforms),
        ("media type", sample.medium, sample.media),
    ):
        counts = np.bincount(codes[now], minlength=len(labels))
        pairs = sorted(zip(labels, counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        found[name] = [Share(label, posts, count) for label, posts in pairs if posts]
    paid = sample["is_paid_partnership"][now]
    known = int((~np.isnan(paid)).sum())
    found["sponsored"] = [Share("marked as sponsored", int(np.nansum(paid)), known)] if known else []
    return found


def _rates(made: Section, period: Period) -> Iterator[Rate]:
    # Where there were more imports than are looked into, one that was left out may be full or stand apart.
    are_all = made.imports.states.total() == len(made.imports.lines)
    lines = [line for line in made.imports.lines if line.kind == "hashtag" and line.listed and line.hashtag]
    for tag, group in groupby(sorted(lines, key=lambda line: str(line.hashtag)), key=lambda line: str(line.hashtag)):
        # Oldest first: the first has nothing before it to overlap with.
        of_tag = list(reversed(list(group)))
        listed = [
            Listing(
                line.requested, line.listed + line.withheld, line.shared, line.oldest_at, line.newest_at, line.timed,
                line.state == "complete",
            )
            for line in of_tag
        ]  # fmt: skip
        full, apart = sum(one.is_full for one in listed), sum(one.shared == 0 for one in listed)
        rate = Rate(tag, len(listed), full, apart)
        if are_all and tells_the_world(listed) and tag in made.sample.tags:
            posted = made.sample["posted_at"][made.now & made.sample.of_tag(made.sample.tags.index(tag))]
            days = Counter(datetime.fromtimestamp(at, UTC).date() for at in posted[~np.isnan(posted)])
            begins = [at for at in (period.begin, of_tag[0].oldest_at) if at is not None]
            ends = [at for at in (period.end, of_tag[-1].submitted_at) if at is not None]
            rate.by_day = {day.isoformat(): days[day] for day in _whole_days(max(begins), min(ends))} if begins else {}
        if not rate.by_day:
            rate.by_day, rate.pace = None, pace(listed[-1])
        yield rate


def _whole_days(begin: datetime, end: datetime) -> Iterator[date]:
    """The UTC days of which no part lies outside."""
    day = (begin.astimezone(UTC) + timedelta(days=1) - timedelta.resolution).date()
    while datetime.combine(day + timedelta(days=1), time(), UTC) <= end:
        yield day
        day += timedelta(days=1)


def _hash(made: Section) -> str:
    """The hash of the rows that the section rests on: posts and what was measured of them at the plan's ages."""
    sample = made.sample
    found = sha256()
    for key in sample.keys:
        found.update(f"{key[0]}:{key[1]}\n".encode())
    # Of a post's rests only the last is known, so that a later one would change what was hashed.
    for name in sorted(sample.columns.keys() - {"resting_since", "rested_until"}):
        found.update(name.encode())
        found.update(np.nan_to_num(sample.columns[name], nan=-1.0).astype("<f8").tobytes())
    for codes in (sample.platform, sample.medium, sample.post_of):
        found.update(codes.astype("<i8").tobytes())
    found.update("\n".join(sample.tags).encode(errors="replace"))
    return found.hexdigest()


def missing_numbers(made: Section) -> list[tuple[str, int, dict[str, int]]]:
    """(number, posts of the period that lack it, why) of what every post could have."""
    assert made.contents is not None
    return [
        (name, counts.total(), dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))))
        for name, counts in made.contents.missing.items()
        if counts
    ]


def statuses(made: Section) -> Counter[str]:
    """The period's posts by what came of them."""
    sample, now = made.sample, made.now
    gone = sample["gone_at"] <= sample.as_of
    measured = sample["enriched_at"] <= sample.as_of
    found = {"gone": gone, "measured": measured & ~gone, "never measured": ~measured & ~gone}
    return Counter({name: int((mask & now).sum()) for name, mask in found.items()})


def cooccurring(made: Section) -> list[tuple[str, int]]:
    """The hashtags that stand beside the followed ones most often, as first written, with their counts."""
    assert made.contents is not None
    beside = ((key, count) for key, count in made.contents.hashtags.items() if key not in made.sample.tags)
    order = sorted(beside, key=lambda one: (-one[1], one[0]))[:MAX_COOCCURRING]
    return [(made.contents.shown[key], count) for key, count in order]
