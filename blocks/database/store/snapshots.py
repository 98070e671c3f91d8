"""Snapshots and their plan: the checkpoint that each answers, what is due now, what comes next, and posts at rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    extract,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy import cast as as_type

from blocks.database.store import filters as conditions
from blocks.database.store import money
from blocks.database.store.filters import Filters
from blocks.database.store.statements import Key, chunks, found_one_by_one, posts_among, same_post, table_of, write_rows
from blocks.database.store.work import SETTLED
from blocks.database.tables import Post, RawFetch, Snapshot, Work
from blocks.posts.record import Platform, PostRef
from blocks.posts.snapshot_plan import (
    COUNTS,
    DAY,
    Checkpoint,
    CheckpointState,
    Measured,
    SnapshotPlan,
    counts_of,
    growth_per_day,
)

_posts = table_of(Post)
_snapshots = table_of(Snapshot)
_work = table_of(Work)
_fetches = table_of(RawFetch)

LATEST = 40
"""Snapshots of a post that are looked at: so many of one day would still say nothing about a rest."""

Moment = tuple[str, str, datetime]
"""Key of a snapshot."""


def set_targets(
    conn: Connection,
    rows: Sequence[dict[str, Any]],
    plans: Sequence[SnapshotPlan | None],
    *,
    without: Collection[Moment] = (),
) -> None:
    """Fill `target_age` and `lateness_seconds` of new rows of `snapshots`, which are in the order of keys and times.

    A checkpoint that an earlier snapshot of the post answered is not answered twice; what those of `without` answer,
    as they stand in the database, does not count.
    """
    wanted = []
    for row, plan in zip(rows, plans, strict=True):
        row["target_age"] = row["lateness_seconds"] = None
        checkpoint = None if plan is None else plan.at_age(row["age_seconds"])
        if checkpoint is not None:
            wanted.append((row, checkpoint.age_seconds))
    answered = _answered_ages(conn, sorted({_key_of(row) for row, _ in wanted}), without)
    for row, age in wanted:
        if (*_key_of(row), age) not in answered:
            answered.add((*_key_of(row), age))
            row["target_age"] = age
            row["lateness_seconds"] = row["age_seconds"] - age


def _key_of(row: dict[str, Any]) -> Key:
    return row["platform"], row["post_id"]


def _answered_ages(conn: Connection, keys: Sequence[Key], without: Collection[Moment]) -> set[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    columns = (_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at, _snapshots.c.target_age)
    for part in chunks(keys):
        among = posts_among(_snapshots.c.platform, _snapshots.c.post_id, part)
        for *moment, age in conn.execute(select(*columns).where(among, _snapshots.c.target_age.is_not(None))):
            if tuple(moment) not in without:
                found.add((moment[0], moment[1], age))
    return found


def update_rests(conn: Connection, plans: Mapping[Key, SnapshotPlan]) -> None:
    """Let posts rest whose latest snapshots stand still, and end the rest of those that move again."""
    for part in chunks(sorted(plans)):
        among = posts_among(_posts.c.platform, _posts.c.post_id, part)
        is_resting = _posts.c.resting_since.is_not(None) & _posts.c.rested_until.is_(None)
        resting = {
            (row.platform, row.post_id)
            for row in conn.execute(select(_posts.c.platform, _posts.c.post_id).where(among, is_resting))
        }
        begun: list[dict[str, Any]] = []
        ended: list[dict[str, Any]] = []
        for key, newest_first in latest_of(conn, part, most=LATEST).items():
            still = plans[key].stands_still(newest_first)
            if still != (key in resting):
                change = {"of_platform": key[0], "of_post": key[1], "at": newest_first[0].observed_at}
                (begun if still else ended).append(change)
        write_rows(conn, _begin_rest, begun)
        write_rows(conn, _end_rest, ended)


_this_post = (_posts.c.platform == bindparam("of_platform")) & (_posts.c.post_id == bindparam("of_post"))
_begin_rest = update(_posts).where(_this_post).values(resting_since=bindparam("at"), rested_until=None)
_end_rest = update(_posts).where(_this_post).values(rested_until=bindparam("at"))


def latest_of(conn: Connection, keys: Sequence[Key], *, most: int) -> dict[Key, list[Measured]]:
    """Up to `most` snapshots of each of these posts, newest first; a post without snapshots is not among them."""
    found: dict[Key, list[Measured]] = {}
    columns = (_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at)
    place = (
        func.row_number()
        .over(
            partition_by=(_snapshots.c.platform, _snapshots.c.post_id),
            order_by=_snapshots.c.observed_at.desc(),
        )
        .label("place")
    )
    for part in chunks(keys):
        among = posts_among(_snapshots.c.platform, _snapshots.c.post_id, part)
        numbered = select(*columns, *(_snapshots.c[name] for name in COUNTS), place).where(among).subquery()
        query = select(numbered).where(numbered.c.place <= most)
        for row in conn.execute(query.order_by(numbered.c.platform, numbered.c.post_id, numbered.c.place)):
            found.setdefault((row.platform, row.post_id), []).append(Measured(row.observed_at, counts_of(row)))
    return found


OUTLOOK_DAYS = 30
"""So many days ahead the plan's cost is shown, and so many days back what was missed."""

RATE_DAYS = 7
"""The posts found in so many days say how many more will be found."""

LEAST_RATE_DAYS = 2
"""A home that is younger says nothing of it: its first import would count as one of many."""

_is_resting = and_(_posts.c.resting_since.is_not(None), _posts.c.rested_until.is_(None))


@dataclass(frozen=True, slots=True)
class DuePost:
    """A post whose checkpoint can be answered now, and not after `ends_at`.

    `growth` is what its counts gained a day between its last two snapshots (see `snapshot_plan.growth_per_day`). With
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
    taken = {one.ref.key for one in paid}
    found = []
    query = _due_query(plan, now, filters)
    rows = [] if query is None else [row for row in conn.execute(query) if (row.platform, row.post_id) not in taken]
    for part in chunks(rows):
        latest = latest_of(conn, [(row.platform, row.post_id) for row in part], most=2)
        for row in part:
            growth = growth_per_day(latest.get((row.platform, row.post_id), []), row.posted_at)
            ends_at = row.posted_at + timedelta(seconds=row.ends_seconds)
            found.append(DuePost(_ref(row), row.source_url, f"refresh:{row.age_seconds}", ends_at, growth))
    found.sort(key=lambda one: (-one.growth, one.ends_at, one.ref.platform, one.ref.post_id))
    return _with_payers(conn, [*paid, *found], filters)


def _with_payers(conn: Connection, found: list[DuePost], filters: Filters) -> list[DuePost]:
    if filters.collection is not None:
        return [replace(one, collection=filters.collection) for one in found]
    known = money.paying_collections(conn, [one.ref.key for one in found])
    return [replace(one, collection=known.get(one.ref.key)) for one in found]


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
    return [_posts.c.status == "enriched", ~_is_resting, ~_answered(checkpoint), ~_tried(checkpoint)]


def _answered(checkpoint: Checkpoint) -> ColumnElement[bool]:
    snapshot = select(_snapshots.c.post_id).where(
        same_post(_snapshots.c, _posts.c), _snapshots.c.target_age == checkpoint.age_seconds
    )
    return found_one_by_one(snapshot.correlate(_posts))


def _tried(checkpoint: Checkpoint) -> ColumnElement[bool]:
    # The purpose is no reason to look into the index on it, which lists a million such: a post has a handful of rows.
    is_of_checkpoint = func.coalesce(_work.c.purpose, "") == checkpoint.purpose
    settled = select(_work.c.post_id).where(same_post(_work.c, _posts.c), is_of_checkpoint, _work.c.state.in_(SETTLED))
    return found_one_by_one(settled.correlate(_posts))


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


def next_snapshots(
    conn: Connection, plan: SnapshotPlan, now: datetime, filters: Filters | None = None
) -> NextSnapshots:
    """The plan in four figures, by counting along indexes only."""
    which = conditions.of_posts(filters or Filters(), _posts)
    due_now = next_day = 0
    firsts = []
    for checkpoint in plan.checkpoints:
        of_plan = (_posts.c.status == "enriched", ~_is_resting, *which)
        due_now += _count(conn, _open_at(checkpoint, now), *_unanswered(checkpoint), *which)
        # Who was posted at this moment has its checkpoint now; who was posted later, later.
        since = now - timedelta(seconds=checkpoint.age_seconds)
        next_day += _count(conn, _posts.c.posted_at > since, _posts.c.posted_at <= since + DAY, *of_plan)
        query = select(_posts.c.posted_at).where(_posts.c.posted_at > since, *of_plan).order_by(_posts.c.posted_at)
        if (first := conn.execute(query.limit(1)).scalar_one_or_none()) is not None:
            firsts.append(first + timedelta(seconds=checkpoint.age_seconds))
    resting_now = _count(
        conn, _posts.c.status == "enriched", _is_resting, _posts.c.posted_at > now - plan.longest, *which
    )
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
    """Look through all posts whose plan may touch the last or the next 30 days; the database counts them."""
    found = Outlook()
    which = conditions.of_posts(filters or Filters(), _posts)
    found.unknown_age = _count(conn, _posts.c.status == "enriched", _posts.c.posted_at.is_(None), *which)
    found.resting_posts = _count(
        conn, _posts.c.status == "enriched", _is_resting, _posts.c.posted_at > now - plan.longest, *which
    )
    for checkpoint in plan.checkpoints:
        for platform, state, day, count in conn.execute(_states(checkpoint, now, which)):
            _add(found, state, platform, day, count)
    first = conn.execute(select(func.min(_posts.c.first_seen_at)).where(*which)).scalar_one()
    found.rate_days = 0.0 if first is None else min(float(RATE_DAYS), (now - first) / DAY)
    if found.rate_days >= LEAST_RATE_DAYS:
        found.expected_new = _expected_new(conn, plan, now, found.rate_days, which)
    return found


def _states(checkpoint: Checkpoint, now: datetime, which: list[ColumnElement[bool]]) -> Select[Any]:
    """How the checkpoint stands for the posts that it touches in the last or next 30 days, as `CheckpointState`
    says it, counted by platform, state and the day on which its age comes (0: the next 24 h; less: it has come).

    `failed` is due, but tried and given up; `spared` at rest while it could be answered; `resting` at rest until then.
    """
    span = timedelta(days=OUTLOOK_DAYS)
    comes_after = now - timedelta(seconds=checkpoint.age_seconds)
    ended_before = now - timedelta(seconds=checkpoint.ends_seconds)
    posted = _epoch(_posts.c.posted_at)
    is_unseen = _epoch(_posts.c.first_seen_at) - posted >= checkpoint.ends_seconds
    rested_at_end = and_(
        _epoch(_posts.c.resting_since) - posted <= checkpoint.ends_seconds,
        or_(_posts.c.rested_until.is_(None), _epoch(_posts.c.rested_until) - posted >= checkpoint.ends_seconds),
    )
    is_open = _posts.c.posted_at > ended_before
    state = case(
        # Nothing answers a checkpoint that is to come.
        (and_(_posts.c.posted_at <= comes_after, _answered(checkpoint)), "taken"),
        (is_unseen, "unseen"),
        (and_(is_open, _rests_at(now)), "spared"),
        (_posts.c.posted_at > comes_after, "upcoming"),
        (and_(is_open, _tried(checkpoint)), "failed"),
        (is_open, "due"),
        (rested_at_end, "resting"),
        else_="missed",
    ).label("state")
    to_come = literal(int(checkpoint.age_seconds - now.timestamp())) + as_type(posted, BigInteger)
    day = case((_posts.c.posted_at > comes_after, to_come // 86_400), else_=-1).label("day")
    each = (
        select(_posts.c.platform, state, day)
        .where(
            _posts.c.status == "enriched",
            _posts.c.posted_at > ended_before - span,
            _posts.c.posted_at < comes_after + span,
            *which,
        )
        .subquery()
        .c
    )
    by = (each.platform, each.state, each.day)
    return select(*by, func.count()).group_by(*by)


def _epoch(moment: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Seconds since 1970; SQLite gives whole ones."""
    return extract("epoch", moment)


def _rests_at(now: datetime) -> ColumnElement[bool]:
    return and_(_posts.c.resting_since <= now, or_(_posts.c.rested_until.is_(None), _posts.c.rested_until >= now))


def _add(found: Outlook, state: str, platform: str, day: int, count: int) -> None:
    if state == "due":
        found.due[platform] += count
    elif state == "failed":
        found.failed += count
    elif state == "spared":
        found.spared += count
    elif state == "upcoming":
        found.upcoming.setdefault(platform, [0] * OUTLOOK_DAYS)[day] += count
    else:
        found.past[cast(CheckpointState, state)] += count


def _expected_new(
    conn: Connection, plan: SnapshotPlan, now: datetime, rate_days: float, which: list[ColumnElement[bool]]
) -> dict[str, float]:
    """Checkpoints that refreshes answer within 30 days of posts that come as often, found as old, as lately.

    A checkpoint that is open when a post is found is answered by its first measurement; the others wait until the
    post has their age, so that only those found so long before the end of the 30 days count.
    """
    expected: dict[str, float] = {}
    for checkpoint in plan.checkpoints:
        wait = checkpoint.age_seconds - _epoch(_posts.c.first_seen_at) + _epoch(_posts.c.posted_at)
        days_left = OUTLOOK_DAYS - wait / 86_400.0
        query = (
            select(_posts.c.platform, func.sum(days_left))
            .where(
                _posts.c.status == "enriched",
                _posts.c.posted_at > now - plan.longest - timedelta(days=OUTLOOK_DAYS),
                _posts.c.first_seen_at > now - timedelta(days=rate_days),
                wait > 0,
                days_left > 0,
                *which,
            )
            .group_by(_posts.c.platform)
        )
        for platform, days in conn.execute(query):
            expected[platform] = expected.get(platform, 0.0) + float(days) / rate_days
    return expected
