"""Figures for a look at the whole: what is open, what failed, what was spent and what it brought, which posts lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Subquery,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    union_all,
)

from blocks.database.store import filters as conditions
from blocks.database.store import money, runs
from blocks.database.store.filters import Filters
from blocks.database.store.imports import ENDED, read
from blocks.database.store.money import RunSpend
from blocks.database.store.rate_limits import LEARNED_SECONDS, PAUSE_SUFFIX
from blocks.database.store.runs import Pending
from blocks.database.store.statements import chunks, posts_among, same_post, table_of
from blocks.database.tables import (
    Comment,
    Failure,
    Import,
    ImportItem,
    Post,
    RateLimit,
    Run,
    RunImport,
    RunPost,
    Snapshot,
    Spend,
    Work,
)
from blocks.dedup_keys import import_shown
from blocks.errors import UsageError

_items = table_of(ImportItem)
_posts = table_of(Post)
_runs = table_of(Run)
_run_imports = table_of(RunImport)
_run_posts = table_of(RunPost)
_imports = table_of(Import)
_work = table_of(Work)
_failures = table_of(Failure)
_spend = table_of(Spend)
_snapshots = table_of(Snapshot)
_limits = table_of(RateLimit)
_comments = table_of(Comment)


@dataclass(frozen=True, slots=True)
class Totals:
    """Calls that were made, their cost (reserved money counts), and the distinct posts that were listed or given.

    `calls` are named as in a run's summary; of imports, the posts that they listed. `new_posts` were seen for the
    first time, `known_posts` before; `new_enriched` were measured for the first time, whenever they were found.
    `usd_per_1000_new` is None where none was.
    """

    calls: dict[str, int] = field(default_factory=dict)
    spent_micros: int = 0
    new_posts: int = 0
    known_posts: int = 0
    new_enriched: int = 0
    usd_per_1000_new: float | None = None


def totals_of_day(conn: Connection, now: datetime, collection: str | None = None) -> Totals:
    """The UTC day of `now` up to now, over all runs, and over all collections or one."""
    theirs = conditions.of_posts(Filters(collection=collection), _posts)
    start = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    # A post that was new when it was listed was first seen at that very moment: only the others are looked up.
    listed = select(_items.c.platform, _items.c.post_id).where(
        _items.c.first_seen_at >= start, ~_items.c.was_new, _items.c.post_id.is_not(None)
    )
    given = (
        select(_run_posts.c.platform, _run_posts.c.post_id)
        .join(_runs, _runs.c.run_id == _run_posts.c.run_id)
        .where(_runs.c.started_at >= start)
    )
    again = _each_once(listed, given)
    known = _count_rows(conn, again.join(_posts, same_post(_posts.c, again.c)), _posts.c.first_seen_at < start, *theirs)
    new = _count_rows(conn, _posts, _posts.c.first_seen_at >= start, *theirs)
    enriched = _count_rows(conn, _posts, _posts.c.enriched_at >= start, *theirs)
    return _tally(money.totals_of_day(conn, money.day_of(now), collection), new, known, enriched)


def totals_of_run(conn: Connection, run_id: str, started_at: datetime) -> Totals:
    """One run; it may be under way."""
    of_imports = select(_run_imports.c.import_id).where(_run_imports.c.run_id == run_id)
    brought = and_(_items.c.import_id.in_(of_imports), _items.c.was_new, _items.c.first_seen_at >= started_at)
    listed = select(_items.c.platform, _items.c.post_id).where(
        _items.c.import_id.in_(of_imports), _items.c.post_id.is_not(None), ~brought
    )
    given = select(_run_posts.c.platform, _run_posts.c.post_id).where(_run_posts.c.run_id == run_id)
    again = _each_once(listed, given)
    is_new = _posts.c.first_seen_at >= started_at
    counted_already = exists().where(same_post(_items.c, _posts.c), brought)
    others = select(func.count(case((~is_new, 1))), func.count(case((and_(is_new, ~counted_already), 1))))
    known, more = conn.execute(others.select_from(again.join(_posts, same_post(_posts.c, again.c)))).one()
    new = more + _count_rows(conn, _items, brought, _items.c.post_id.is_not(None))
    enriched = _count_rows(conn, _posts, _posts.c.enriched_at >= started_at, _posts.c.run_id == run_id)
    return _tally(money.totals(conn, run_id), new, known, enriched)


def _each_once(*posts: Select[Any]) -> Subquery:
    """Posts of several queries, each once. UNION alone would have SQLite from 3.53 on read a table in its order."""
    return select(union_all(*posts).subquery()).distinct().subquery()


def _count_rows(conn: Connection, rows: FromClause, *which: ColumnElement[bool]) -> int:
    return conn.execute(select(func.count()).select_from(rows).where(*which)).scalar_one()


def _tally(spend: RunSpend, new: int, known: int, new_enriched: int) -> Totals:
    return Totals(
        calls=spend.named_calls,
        spent_micros=spend.counted_micros,
        new_posts=new,
        known_posts=known,
        new_enriched=new_enriched,
        usd_per_1000_new=money.cost_per_1000_new(spend.counted_micros, new_enriched),
    )


METRICS = ("plays", "views", "likes", "comments", "shares", "saves", "author_followers")


@dataclass(frozen=True, slots=True)
class OpenImport:
    """An import that is not at its end; ages are seconds since it was planned and since its last answered poll."""

    import_id: str
    kind: str
    hashtag: str | None
    collection: str
    state: str
    task_id: str | None
    requested: int
    seen: int
    age_seconds: float
    polled_seconds_ago: float | None
    note: str | None
    name: str | None = None
    """What it is called on a terminal: `#tag`, `creator @name`, `12 URLs (…)`."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The run that started last; `outcome` is None while it runs, or where it was killed."""

    run_id: str
    flow: str
    collection: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    message: str | None
    spent_micros: int
    cap_micros: int | None = None
    """Its cap; None where there was none."""
    used_micros: int = 0
    """What counts under its cap, whoever bought it."""
    stopped_at: datetime | None = None
    stopped_by: str | None = None
    stopped_why: str | None = None
    tally: Totals = field(default_factory=Totals)


@dataclass(frozen=True, slots=True)
class LimitInUse:
    """A rate limit that makes the next call wait, or whose rate the service lowered."""

    account: str
    name: str
    wait_seconds: float
    lowered_to_per_second: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The database at one moment.

    `posts` counts by platform, then status; `pending_work` by purpose; `failures` open ones by error class.
    `spent_micros` is by UTC day today, and `reserved_micros` the part of it that is reserved and not settled.
    """

    posts: dict[str, dict[str, int]]
    snapshots: int
    open_imports: list[OpenImport]
    ambiguous: list[OpenImport]
    pending_work: dict[str, int]
    failures: dict[str, int]
    spent_micros: int
    reserved_micros: int
    last_run: LastRun | None
    today: Totals = field(default_factory=Totals)
    requests: list[Pending] = field(default_factory=list)
    """What runs asked for and is not settled, and why."""
    limits: list[LimitInUse] = field(default_factory=list)
    """Those of all collections, which share them."""


def overview(
    conn: Connection,
    now: datetime,
    cheapest_micros: Mapping[str, int] | None = None,
    *,
    collection: str | None = None,
) -> Overview:
    """All figures that `tagtrail status` shows; `ambiguous` imports are apart from the open ones.

    `cheapest_micros`: what the cheapest metadata call costs, by platform. `collection`: only what that one brought in,
    asked for and spent.
    """
    wanted = Filters(collection=collection)
    open_imports = _open_imports(conn, now, wanted)
    today = _spend.c.day == now.astimezone(UTC).date().isoformat()
    spent, reserved = _spent(conn, today if collection is None else and_(today, _spend.c.collection == collection))
    posts, snapshots = _posts_and_snapshots(conn, collection)
    return Overview(
        posts=posts,
        snapshots=snapshots,
        open_imports=[one for one in open_imports if one.state != "ambiguous"],
        ambiguous=[one for one in open_imports if one.state == "ambiguous"],
        pending_work=_counted(
            conn,
            select(_work.c.purpose, func.count())
            # A checkpoint of the snapshot plan is no debt: it is due, or missed (see `store.snapshots`).
            .where(_work.c.state.in_(("pending", "claimed")), _work.c.purpose == "enrich")
            .where(*conditions.of_posts(wanted, _work))
            .group_by(_work.c.purpose)
            .order_by(_work.c.purpose),
        ),
        failures=_counted(
            conn,
            select(_failures.c.error_class, func.count())
            .where(_failures.c.resolved_at.is_(None), *conditions.of_failures(wanted))
            .group_by(_failures.c.error_class)
            .order_by(_failures.c.error_class),
        ),
        spent_micros=spent,
        reserved_micros=reserved,
        last_run=_last_run(conn, collection),
        today=totals_of_day(conn, now, collection),
        requests=[one for one in runs.pending(conn, cheapest_micros or {}) if collection in (None, one.collection)],
        limits=_limits_in_use(conn, now.timestamp()),
    )


def top(
    conn: Connection,
    *,
    metric: str = "plays",
    hashtag: str | None = None,
    collection: str | None = None,
    platform: str | None = None,
    limit: int = 10,
) -> list[Post]:
    """The posts that lead in one number of their latest measurement; a post without that number is not among them.

    `hashtag` is a tag's key (NFC, lower case). Equals are in the order of their keys.

    Raises:
        UsageError: there is no such number, or the limit is below 1.
    """
    if metric not in METRICS:
        raise UsageError(f"posts cannot be ranked by {metric}; choose one of {', '.join(METRICS)}")
    if limit < 1:
        raise UsageError("ask for at least one post")
    number = _posts.c[metric]
    order = (number.desc(), _posts.c.platform, _posts.c.post_id)
    # Their keys first, from an index that holds all numbers: the rows are wide, and all but a few are not wanted.
    leaders = (
        select(_posts.c.platform, _posts.c.post_id)
        .where(number.is_not(None), *conditions.of_posts(Filters(collection, hashtag, platform), _posts))
        .order_by(*order)
        .limit(limit)
    )
    found: list[Row[Any]] = []
    for part in chunks(conn.execute(leaders).all()):
        among = posts_among(_posts.c.platform, _posts.c.post_id, part)
        found += conn.execute(select(_posts).where(among).order_by(*order))
    return [Post(**row._mapping) for row in found]


def _open_imports(conn: Connection, now: datetime, wanted: Filters) -> Sequence[OpenImport]:
    open_states = [state for state in conditions.IMPORT_STATES if state not in ENDED]
    return [as_open(row, now) for row in read(conn, _imports.c.state.in_(open_states), *conditions.of_imports(wanted))]


def as_open(row: Import, now: datetime) -> OpenImport:
    """A row of the ledger as `status` shows it."""
    return OpenImport(
        import_id=row.import_id,
        kind=row.kind,
        hashtag=row.hashtag,
        collection=row.collection,
        state=row.state,
        task_id=row.task_id,
        requested=row.requested,
        seen=row.seen,
        age_seconds=(now - row.planned_at).total_seconds(),
        polled_seconds_ago=None if row.last_polled_at is None else (now - row.last_polled_at).total_seconds(),
        note=row.note,
        name=import_shown(row.kind, row.hashtag, row.wanted, row.import_id),
    )


def _posts_and_snapshots(conn: Connection, collection: str | None) -> tuple[dict[str, dict[str, int]], int]:
    """How many posts there are by platform, then status, and how many snapshots of all of them."""
    snapshots = select(func.count()).select_from(_snapshots)
    # By status first, as their index is; the rest is sorted here, which is a dozen of lines.
    query: Select[Any] = select(_posts.c.platform, _posts.c.status, func.count())
    query = query.group_by(_posts.c.status, _posts.c.platform)
    if collection is not None:
        theirs = _each_once(*conditions.posts_of_collection(collection))
        of_post = snapshots.where(same_post(_snapshots.c, _posts.c)).scalar_subquery()
        query = query.add_columns(func.sum(of_post)).join(theirs, same_post(_posts.c, theirs.c))
    found = sorted(conn.execute(query))
    posts: dict[str, dict[str, int]] = {}
    for platform, status, count, *_ in found:
        posts.setdefault(platform, {})[status] = count
    if collection is None:
        return posts, conn.execute(snapshots).scalar_one()
    return posts, int(sum(row[3] for row in found))


def _counted(conn: Connection, query: Select[Any]) -> dict[str, int]:
    return dict(conn.execute(query).all())


def _spent(conn: Connection, which: Any) -> tuple[int, int]:
    """Millionths of a US dollar: spent or reserved, and the reserved part."""
    used = func.sum(func.coalesce(_spend.c.spent_micros, _spend.c.reserved_micros))
    reserved = func.sum(_spend.c.reserved_micros).filter(_spend.c.spent_micros.is_(None))
    row = conn.execute(select(used, reserved).where(which)).one()
    return int(row[0] or 0), int(row[1] or 0)


def _limits_in_use(conn: Connection, now: float) -> list[LimitInUse]:
    is_lowered = and_(_limits.c.learned_interval > 0, _limits.c.learned_at > now - LEARNED_SECONDS)
    query = (
        select(_limits, is_lowered.label("is_lowered"))
        .where(or_(_limits.c.next_at > now, is_lowered), ~_limits.c.name.endswith(PAUSE_SUFFIX, autoescape=True))
        .order_by(_limits.c.account, _limits.c.name)
    )
    return [
        LimitInUse(
            account=row.account,
            name=row.name,
            wait_seconds=max(0.0, row.next_at - now),
            lowered_to_per_second=1 / row.learned_interval if row.is_lowered else None,
        )
        for row in conn.execute(query)
    ]


def _last_run(conn: Connection, collection: str | None) -> LastRun | None:
    query = select(_runs).order_by(_runs.c.started_at.desc(), _runs.c.run_id).limit(1)
    if collection is not None:
        query = query.where(_runs.c.collection == collection)
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    tally = totals_of_run(conn, row.run_id, row.started_at)
    return LastRun(
        run_id=row.run_id,
        flow=row.flow,
        collection=row.collection,
        started_at=row.started_at,
        finished_at=row.finished_at,
        # A stop is written before the run's end, which may never come.
        outcome=row.outcome if row.stopped_at is None else "cancelled",
        message=row.message,
        spent_micros=tally.spent_micros,
        cap_micros=row.cap_micros,
        used_micros=money.used_micros(conn, f"run:{row.run_id}"),
        stopped_at=row.stopped_at,
        stopped_by=row.stopped_by,
        stopped_why=row.stopped_why,
        tally=tally,
    )


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """Rows that a run wrote or wrote anew, and the name of the database (`default` for a SQLite file).

    `first_measured` are the posts that it was the first to measure, in whichever try of its flow run.
    """

    database: str
    posts: int
    snapshots: int
    creators: int
    comments: int
    first_measured: int = 0

    def by_table(self) -> dict[str, int]:
        """The numbers by the tables' names."""
        return {
            "posts": self.posts,
            "snapshots": self.snapshots,
            "creators": self.creators,
            "comments": self.comments,
        }


def run_outputs(conn: Connection, run_id: str) -> RunOutputs:
    """Count what a run measured, among the posts that it was given and those that its imports listed."""
    mine = _measured(run_id)
    of_post = same_post(_posts.c, mine.c)
    author = select(_posts.c.platform, _posts.c.author_id).join(mine, of_post).where(_posts.c.author_id.is_not(None))
    comment = and_(same_post(_comments.c, mine.c), _comments.c.observed_at == mine.c.observed_at)
    posts = select(mine.c.platform, mine.c.post_id).distinct().subquery()
    earlier = _snapshots.alias()
    # Earlier snapshots may have been erased by age; a run that is tried again keeps its first start.
    began = select(_runs.c.started_at).where(_runs.c.run_id == run_id).scalar_subquery()
    first = (
        select(mine.c.platform, mine.c.post_id)
        .join(_posts, and_(of_post, _posts.c.enriched_at >= began))
        .where(~exists().where(same_post(earlier.c, mine.c), earlier.c.observed_at < mine.c.observed_at))
    )
    return RunOutputs(
        database="default" if conn.dialect.name == "sqlite" else conn.engine.url.database or "default",
        posts=_count_rows(conn, posts),
        snapshots=_count_rows(conn, mine),
        creators=_count_rows(conn, author.distinct().subquery()),
        comments=_count_rows(conn, select(_comments.c.comment_id).join(mine, comment).subquery()),
        first_measured=_count_rows(conn, first.subquery()),
    )


def _measured(run_id: str) -> Subquery:
    """The snapshots of a run, found by its posts: the table is too long to be looked through."""
    asked = runs.posts_of(run_id)
    by_this_run: ColumnElement[bool] = _snapshots.c.run_id == run_id
    return (
        select(_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at)
        .join(asked, and_(same_post(_snapshots.c, asked.c), by_this_run))
        .subquery()
    )
