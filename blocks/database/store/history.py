"""What the snapshot plan asks for: the posts that are due now, what comes next, and how past checkpoints went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Row, Select, Text, and_, exists, func, literal, select, union_all
from sqlalchemy import cast as as_type

from blocks.database.store import filters as conditions
from blocks.database.store import payers, resting
from blocks.database.store.filters import Filters
from blocks.database.store.statements import chunks, same_post, table_of
from blocks.database.store.work import SETTLED
from blocks.database.tables import Post, RawFetch, Snapshot, Work
from blocks.memories.posts.record import Platform, PostRef
from blocks.plan import DAY, Checkpoint, CheckpointState, PlannedPost, SnapshotPlan, growth_per_day

_posts, _snapshots, _work, _fetches = table_of(Post), table_of(Snapshot), table_of(Work), table_of(RawFetch)

OUTLOOK_DAYS = 30
"""So many days ahead the plan's cost is told, and so many days back what was missed."""

RATE_DAYS = 7
"""The posts found in so many days say how many more will be found."""

LEAST_RATE_DAYS = 2
"""A home that is younger says nothing of it: its first import would count as one of many."""

BATCH = 1000

_is_resting = and_(_posts.c.resting_since.is_not(None), _posts.c.rested_until.is_(None))


@dataclass(frozen=True, slots=True)
class DuePost:
    """A post whose checkpoint can be answered now, and not after `ends_at`.

    `growth` is what its counts gained a day between its last two snapshots (see `plan.growth_per_day`). With
    `ends_at` None it is paid for: an answer was bought and stored, and never parsed, because the run was killed.
    `collection` pays for it: that of the filters, else the one that found it first.
    """

    ref: PostRef
    source_url: str | None
    purpose: str
    ends_at: datetime | None
    growth: float = 0.0
    collection: str | None = None


def due(conn: Connection, plan: SnapshotPlan, now: datetime, filters: Filters | None = None) -> list[DuePost]:
    """The posts that are due, most valuable first: what is paid for, then the most growth a day, then the nearest
    end of the window, then by key.

    Posts at rest, gone posts and posts whose time of posting is unknown are never due, nor is a checkpoint that was
    tried and failed: the next one tries again.
    """
    filters = filters or Filters()
    paid = _paid(conn, filters)
    taken = {(one.ref.platform, one.ref.post_id) for one in paid}
    found = []
    query = _due_query(plan, now, filters)
    rows = [] if query is None else [row for row in conn.execute(query) if (row.platform, row.post_id) not in taken]
    for part in chunks(rows):
        latest = resting.latest_of(conn, [(row.platform, row.post_id) for row in part], most=2)
        for row in part:
            growth = growth_per_day(latest.get((row.platform, row.post_id), []), row.posted_at)
            ends_at = row.posted_at + timedelta(seconds=row.ends_seconds)
            found.append(DuePost(_ref(row), row.source_url, f"refresh:{row.age_seconds}", ends_at, growth))
    found.sort(key=lambda one: (-one.growth, one.ends_at, one.ref.platform, one.ref.post_id))
    return _with_payers(conn, [*paid, *found], filters)


def _with_payers(conn: Connection, found: list[DuePost], filters: Filters) -> list[DuePost]:
    if filters.collection is not None:
        return [replace(one, collection=filters.collection) for one in found]
    known = payers.payers(conn, [(one.ref.platform, one.ref.post_id) for one in found])
    return [replace(one, collection=known.get((one.ref.platform, one.ref.post_id))) for one in found]


def _ref(row: Row[Any]) -> PostRef:
    return PostRef(cast(Platform, row.platform), row.post_id, row.url, row.shortcode)


def _open_at(checkpoint: Checkpoint, now: datetime) -> ColumnElement[bool]:
    """The checkpoint's window is open: a range of the index on `posted_at`."""
    return and_(
        _posts.c.posted_at <= now - timedelta(seconds=checkpoint.age_seconds),
        _posts.c.posted_at > now - timedelta(seconds=checkpoint.ends_seconds),
    )


def _unanswered(checkpoint: Checkpoint) -> list[ColumnElement[bool]]:
    """Posts on the plan, and awake, of which no snapshot answers the checkpoint, and no work on it has ended."""
    answered = exists().where(same_post(_snapshots.c, _posts.c), _snapshots.c.target_age == checkpoint.age_seconds)
    tried = exists().where(
        same_post(_work.c, _posts.c), _work.c.purpose == checkpoint.purpose, _work.c.state.in_(SETTLED)
    )
    return [_posts.c.status == "enriched", ~_is_resting, ~answered, ~tried]


def _due_query(plan: SnapshotPlan, now: datetime, filters: Filters) -> Any:
    """One query per checkpoint, for their windows do not overlap; None where there is no plan."""
    columns = (_posts.c.platform, _posts.c.post_id, _posts.c.url, _posts.c.shortcode, _posts.c.source_url)
    queries = [
        select(
            *columns,
            _posts.c.posted_at,
            literal(checkpoint.age_seconds).label("age_seconds"),
            literal(checkpoint.ends_seconds).label("ends_seconds"),
        ).where(_open_at(checkpoint, now), *_unanswered(checkpoint), *conditions.of_posts(filters, _posts))
        for checkpoint in plan.checkpoints
    ]
    return union_all(*queries) if queries else None


def _paid(conn: Connection, filters: Filters) -> list[DuePost]:
    """Answers of refreshes that were stored and never parsed, the oldest of each post, in the order of keys."""
    query = (
        select(_posts.c.platform, _posts.c.post_id, _posts.c.url, _posts.c.shortcode, _posts.c.source_url)
        .add_columns(_fetches.c.purpose)
        .join(_fetches, same_post(_fetches.c, _posts.c))
        .join(_work, and_(same_post(_work.c, _posts.c), _work.c.purpose == _fetches.c.purpose))
        .where(
            _fetches.c.parsed_at.is_(None),
            _fetches.c.purpose.like("refresh:%"),
            _work.c.state.not_in(SETTLED),
            *conditions.of_posts(filters, _posts),
        )
        .order_by(_posts.c.platform, _posts.c.post_id, _fetches.c.fetched_at.desc())
    )
    found = {
        (row.platform, row.post_id): DuePost(_ref(row), row.source_url, row.purpose, None)
        for row in conn.execute(query)
    }
    return list(found.values())


@dataclass(frozen=True, slots=True)
class NextSnapshots:
    """What `status` says of the plan: posts due now, checkpoints of the next 24 h, the first of all that come."""

    due: int
    next_day: int
    next_at: datetime | None
    resting: int


def next_snapshots(conn: Connection, plan: SnapshotPlan, now: datetime) -> NextSnapshots:
    """The plan in four figures, by counting along indexes only."""
    due_now = next_day = 0
    firsts = []
    for checkpoint in plan.checkpoints:
        of_plan = (_posts.c.status == "enriched", ~_is_resting)
        due_now += _count(conn, _open_at(checkpoint, now), *_unanswered(checkpoint))
        # Who was posted at this moment has its checkpoint now; who was posted later, later.
        since = now - timedelta(seconds=checkpoint.age_seconds)
        next_day += _count(conn, _posts.c.posted_at > since, _posts.c.posted_at <= since + DAY, *of_plan)
        query = select(_posts.c.posted_at).where(_posts.c.posted_at > since, *of_plan).order_by(_posts.c.posted_at)
        if (first := conn.execute(query.limit(1)).scalar_one_or_none()) is not None:
            firsts.append(first + timedelta(seconds=checkpoint.age_seconds))
    resting_now = _count(conn, _posts.c.status == "enriched", _is_resting, _posts.c.posted_at > now - plan.longest)
    return NextSnapshots(due_now, next_day, min(firsts, default=None), resting_now)


def _count(conn: Connection, *which: ColumnElement[bool]) -> int:
    return conn.execute(select(func.count()).select_from(_posts).where(*which)).scalar_one()


@dataclass(slots=True)
class Outlook:
    """What the plan asks of the known posts, and how it went; counts are of checkpoints if nothing else is said.

    `due` now and `upcoming` by platform (a list by day, the first being the next 24 h); `failed`: due, but tried
    and given up. `past`: those whose window ended in the last 30 days, and those that are answered already, by
    state. `resting_posts`, of which `spared` checkpoints in the next 30 days are left out; `unknown_age` posts whose
    time of posting is not known. `expected_new`, by platform: checkpoints of posts that are not found yet, if as many
    come, as old, as in the last `rate_days`; nothing where posts came for less than two days.
    """

    due: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    upcoming: dict[str, list[int]] = field(default_factory=dict)
    past: Counter[CheckpointState] = field(default_factory=Counter)
    resting_posts: int = 0
    spared: int = 0
    unknown_age: int = 0
    expected_new: dict[str, float] = field(default_factory=dict)
    rate_days: float = 0.0


def outlook(conn: Connection, plan: SnapshotPlan, now: datetime, filters: Filters | None = None) -> Outlook:
    """Look through all posts whose plan may touch the last or the next 30 days; one pass, in batches."""
    filters = filters or Filters()
    told = Outlook()
    which = conditions.of_posts(filters, _posts)
    told.unknown_age = _count(conn, _posts.c.status == "enriched", _posts.c.posted_at.is_(None), *which)
    first = conn.execute(select(func.min(_posts.c.first_seen_at)).where(*which)).scalar_one()
    rate_days = told.rate_days = 0.0 if first is None else min(float(RATE_DAYS), (now - first) / DAY)
    for row, post in _planned(conn, plan, now, filters):
        if post.resting_since is not None and post.rested_until is None and now < post.posted_at + plan.longest:
            told.resting_posts += 1
        age_seconds = (now - post.posted_at).total_seconds()
        for checkpoint, state in zip(plan.checkpoints, plan.states(post, now), strict=True):
            _add(told, state, checkpoint, row.platform, age_seconds)
        if rate_days >= LEAST_RATE_DAYS and post.first_seen_at > now - timedelta(days=rate_days):
            calls = told.expected_new.get(row.platform, 0.0) + _calls_to_come(plan, post) / rate_days
            told.expected_new[row.platform] = calls
    settled = _settled_unanswered(conn, plan, now, which)
    told.failed = sum(settled.values())
    told.due -= settled
    return told


def _add(told: Outlook, state: CheckpointState, checkpoint: Checkpoint, platform: str, age_seconds: float) -> None:
    day = int((checkpoint.age_seconds - age_seconds) / 86_400)
    if state == "due":
        told.due[platform] += 1
    elif state == "upcoming":
        if day < OUTLOOK_DAYS:
            told.upcoming.setdefault(platform, [0] * OUTLOOK_DAYS)[day] += 1
    elif state == "resting" and age_seconds < checkpoint.ends_seconds:
        told.spared += day < OUTLOOK_DAYS
    elif age_seconds - checkpoint.ends_seconds < OUTLOOK_DAYS * 86_400:
        told.past[state] += 1


def _calls_to_come(plan: SnapshotPlan, post: PlannedPost) -> float:
    """Checkpoints that a refresh answers within 30 days, of posts that come one a day, found as old as this one."""
    age = post.first_seen_at - post.posted_at
    waits = (timedelta(seconds=checkpoint.age_seconds) - age for checkpoint in plan.checkpoints)
    # A checkpoint that is open when the post is found is answered by its first measurement.
    return sum(max(0.0, OUTLOOK_DAYS - wait / DAY) for wait in waits if wait > timedelta(0))


def _planned(
    conn: Connection, plan: SnapshotPlan, now: datetime, filters: Filters
) -> Iterator[tuple[Row[Any], PlannedPost]]:
    answered = (
        select(func.aggregate_strings(as_type(_snapshots.c.target_age, Text), ","))
        .where(same_post(_snapshots.c, _posts.c), _snapshots.c.target_age.is_not(None))
        .correlate(_posts)
        .scalar_subquery()
    )
    query: Select[Any] = select(
        _posts.c.platform,
        _posts.c.posted_at,
        _posts.c.first_seen_at,
        _posts.c.resting_since,
        _posts.c.rested_until,
        answered.label("answered"),
    ).where(
        _posts.c.status == "enriched",
        _posts.c.posted_at > now - plan.longest - timedelta(days=OUTLOOK_DAYS),
        *conditions.of_posts(filters, _posts),
    )
    for row in conn.execute(query.execution_options(yield_per=BATCH)):
        taken = frozenset(int(age) for age in row.answered.split(",")) if row.answered else frozenset()
        yield row, PlannedPost(row.posted_at, row.first_seen_at, taken, row.resting_since, row.rested_until)


def _settled_unanswered(
    conn: Connection, plan: SnapshotPlan, now: datetime, which: list[ColumnElement[bool]]
) -> Counter[str]:
    """Checkpoints with an open window whose work ended without a snapshot that answers them, by platform."""
    found: Counter[str] = Counter()
    for checkpoint in plan.checkpoints:
        answered = exists().where(same_post(_snapshots.c, _posts.c), _snapshots.c.target_age == checkpoint.age_seconds)
        query = (
            select(_posts.c.platform, func.count())
            .join(_work, same_post(_work.c, _posts.c))
            .where(
                _work.c.purpose == checkpoint.purpose,
                _work.c.state.in_(SETTLED),
                _posts.c.status == "enriched",
                ~_is_resting,
                _open_at(checkpoint, now),
                ~answered,
                *which,
            )
            .group_by(_posts.c.platform)
        )
        found.update(dict(conn.execute(query).all()))
    return found
