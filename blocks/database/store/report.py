"""What a report rests on: its posts with their measurements, imports, failures, spend, and what was changed since.

Everything is as it was known at `as_of`, as far as the database still knows that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Float,
    Row,
    Select,
    Text,
    and_,
    case,
    exists,
    false,
    func,
    null,
    or_,
    select,
    type_coerce,
    union,
)
from sqlalchemy import cast as as_type

from blocks.database.store import accounts, money
from blocks.database.store import filters as conditions
from blocks.database.store.accounts import SERVICE
from blocks.database.store.filters import Filters
from blocks.database.store.money import SpendLine
from blocks.database.store.statements import chunks, keyed, posts_among, same_post, table_of
from blocks.database.tables import Erased, Failure, Import, ImportItem, Post, RawFetch, Run, RunPost, Snapshot, Spend

_runs = table_of(Run)
_spend = table_of(Spend)
_imports = table_of(Import)
_items = table_of(ImportItem)
_failures = table_of(Failure)
_posts = table_of(Post)
_snapshots = table_of(Snapshot)
_erased = table_of(Erased)
_fetches = table_of(RawFetch)
_run_posts = table_of(RunPost)

MAX_IMPORTS = 200
"""So many imports are looked into and shown, the newest; older ones are counted."""


def spending(conn: Connection, collection: str, since: datetime | None, as_of: datetime) -> tuple[SpendLine, ...]:
    """What a collection spent, on UTC days from that of `since` on."""
    which = [_spend.c.collection == collection, _spend.c.reserved_at <= as_of]
    if since is not None:
        which.append(_spend.c.day >= money.day_of(since))
    return money.spend_lines(conn, *which, as_of=as_of)


def findings(conn: Connection, collection: str) -> dict[str, dict[str, Any]]:
    """What `doctor --live` found on the accounts that a collection used: point → {verdict, said, at}.

    Where accounts differ, what contradicts comes first.
    """
    query = select(_runs.c.account).where(_runs.c.collection == collection, _runs.c.account.is_not(None)).distinct()
    found: dict[str, dict[str, Any]] = {}
    for account in sorted(conn.execute(query).scalars()):
        for point, finding in accounts.findings(conn, account).items():
            if point not in found or finding["verdict"] == "contradicted":
                found[point] = finding
    return found


def services(conn: Connection, collection: str) -> set[str]:
    """The hosts that the collection's runs asked, as far as they are written down."""
    hosts = _runs.c.parameters[SERVICE].as_string()
    query = select(hosts).where(_runs.c.collection == collection, hosts.is_not(None)).distinct()
    return {str(one) for one in conn.execute(query).scalars()}


@dataclass(slots=True)
class ImportLine:
    """One import as it was at `as_of`; `shared` with the one before it of its hashtag and library (None: it is the
    first here), `oldest_at` and `newest_at` are when its posts were posted, as far as that is known (of `timed` posts).
    `withheld` were listed and erased since."""

    import_id: str
    kind: str
    hashtag: str | None
    library: str
    state: str
    task_id: str | None
    requested: int
    submitted_at: datetime | None
    finished_at: datetime | None
    withheld: int = 0
    listed: int = 0
    timed: int = 0
    new: int = 0
    shared: int | None = None
    oldest_at: datetime | None = None
    newest_at: datetime | None = None


@dataclass(slots=True)
class ImportLines:
    """The newest imports of a period, newest first, and how many there were in all, by state."""

    lines: list[ImportLine] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)


def imports_of(
    conn: Connection, collection: str, hashtag: str | None, since: datetime | None, as_of: datetime
) -> ImportLines:
    """The imports of a collection (and hashtag) that were planned in the period."""
    which = [*conditions.of_imports(Filters(collection, hashtag, since=since)), _imports.c.planned_at <= as_of]
    ended = and_(_imports.c.finished_at.is_not(None), _imports.c.finished_at <= as_of)
    state = case((ended, _imports.c.state), else_="under way")
    found = ImportLines()
    found.states.update(dict(conn.execute(select(state, func.count()).where(*which).group_by(state)).all()))
    newest = (
        select(_imports, state.label("state_then"))
        .where(*which)
        .order_by(_imports.c.planned_at.desc(), _imports.c.import_id)
        .limit(MAX_IMPORTS)
    )
    for row in conn.execute(newest):
        sent = row.submitted_at if row.submitted_at is not None and row.submitted_at <= as_of else None
        finished = row.finished_at if row.finished_at is not None and row.finished_at <= as_of else None
        of_row = (row.import_id, row.kind, row.hashtag, row.library, row.state_then)
        task_id = row.task_id if sent else None
        found.lines.append(ImportLine(*of_row, task_id, row.requested, sent, finished, row.withheld))
    _look_into(conn, found.lines, as_of)
    return found


def _look_into(conn: Connection, lines: list[ImportLine], as_of: datetime) -> None:
    posts: dict[str, set[tuple[str, str]]] = defaultdict(set)
    by_id = {line.import_id: line for line in lines}
    query = (
        select(_items.c.import_id, _items.c.platform, _items.c.post_id, _items.c.was_new, _posts.c.posted_at)
        .outerjoin(_posts, same_post(_items.c, _posts.c))
        .where(_items.c.import_id.in_(list(by_id)), _items.c.first_seen_at <= as_of)
    )
    for row in conn.execute(query):
        line = by_id[row.import_id]
        line.listed += 1
        line.new += row.was_new
        if row.post_id is not None:
            posts[row.import_id].add((row.platform, row.post_id))
        if row.posted_at is not None:
            line.timed += 1
            line.oldest_at = min(line.oldest_at or row.posted_at, row.posted_at)
            line.newest_at = max(line.newest_at or row.posted_at, row.posted_at)
    before: dict[tuple[str | None, str], set[tuple[str, str]]] = {}
    for line in reversed(lines):
        if line.kind == "hashtag" and line.listed:
            known = before.get((line.hashtag, line.library))
            line.shared = None if known is None else len(known & posts[line.import_id])
            before[line.hashtag, line.library] = posts[line.import_id]


def open_failures(
    conn: Connection, collection: str, hashtag: str | None, since: datetime | None, as_of: datetime
) -> dict[tuple[str, str], int]:
    """Failures that were open at `as_of`, by stage and class."""
    by = (_failures.c.stage, _failures.c.error_class)
    still_open = or_(_failures.c.resolved_at.is_(None), _failures.c.resolved_at > as_of)
    which = conditions.of_failures(Filters(collection, hashtag, since=since))
    query = select(*by, func.count()).where(*which, _failures.c.first_at <= as_of, still_open).group_by(*by)
    return {(stage, name): count for stage, name, count in sorted(tuple(row) for row in conn.execute(query))}


def parsers(
    conn: Connection, collection: str, since: datetime | None, as_of: datetime
) -> list[tuple[str, str, str, int]]:
    """(platform, channel, parser version, measurements) of a collection's posts in the period."""
    by = (_snapshots.c.platform, _snapshots.c.channel, _snapshots.c.parser_version)
    query = (
        select(*by, func.count())
        .where(_snapshots.c.observed_at <= as_of, *conditions.of_posts(Filters(collection), _snapshots))
        .group_by(*by)
    )
    if since is not None:
        query = query.where(_snapshots.c.observed_at >= since)
    rows = conn.execute(query)
    return sorted((platform, channel or "unknown", version or "unknown", n) for platform, channel, version, n in rows)


@dataclass(frozen=True, slots=True)
class ChangedSince:
    """What a report of an earlier moment can no longer repeat: posts erased on request, and posts read anew."""

    erased: int
    read_anew: int


def changed_since(conn: Connection, collection: str, as_of: datetime) -> ChangedSince:
    """What was erased from the whole database, and of the collection's measurements read by another parser, since."""
    erased = select(func.count()).where(_erased.c.erased_at > as_of, _erased.c.kind != "commenter")
    anew = (
        select(func.count(func.distinct(_fetches.c.platform + ":" + _fetches.c.post_id)))
        .where(_fetches.c.fetched_at <= as_of, _fetches.c.parsed_at > as_of)
        .where(exists().where(same_post(_fetches.c, _posts.c)), *conditions.of_posts(Filters(collection), _fetches))
    )
    return ChangedSince(conn.execute(erased).scalar_one(), conn.execute(anew).scalar_one())


BATCH: Final = 5000
GROWING: Final = ("plays", "views", "likes")
"""Numbers that are read at every checkpoint; `COMPARED` at the one at which posts are compared."""
COMPARED: Final = ("comments", "shares", "saves", "author_followers")
TIMES: Final = ("posted_at", "first_seen_at", "enriched_at", "gone_at", "resting_since", "rested_until")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which posts: of a collection (and of one hashtag's imports), posted in the window, as known at `as_of`."""

    collection: str
    hashtag: str | None
    posted_from: datetime | None
    posted_until: datetime
    as_of: datetime

    @property
    def found_from(self) -> datetime | None:
        """What was listed before then is older than the window: nothing is listed a day before it is posted."""
        return None if self.posted_from is None else self.posted_from - timedelta(days=1)


def post_rows(conn: Connection, scope: Scope, ages: Sequence[int], compared_age: int) -> Iterator[Sequence[Row[Any]]]:
    """The posts in batches, in the order of their keys; times are seconds since the epoch, lists and mappings JSON.

    Columns: those of the post, `tags` (the followed hashtags that found it, one a line, in any order; None: it came by
    URL or creator), and for each age A of the plan `plays_A`, `views_A`, `likes_A` and `late_A` (None: not measured),
    for `compared_age` also the numbers of `COMPARED` and `observed_at`.
    """
    lite = conn.dialect.name == "sqlite"
    members = union(_listed(scope), _given(scope)).cte("members")
    found = (
        select(members.c.platform, members.c.post_id, func.aggregate_strings(members.c.tag, "\n").label("tags"))
        .group_by(members.c.platform, members.c.post_id)
        .cte("found")
    )
    at_age = and_(
        same_post(_snapshots.c, _posts.c), _snapshots.c.target_age.in_(ages), _snapshots.c.observed_at <= scope.as_of
    )
    texts = (_then(scope, as_type(_posts.c[name], Text)).label(name) for name in ("hashtags", "null_reasons"))
    facts = (
        _then(scope, _posts.c[name]).label(name)
        for name in ("author_id", "author_username", "media_type", "likes_hidden", "is_paid_partnership")
    )
    posted = _then(scope, _seconds(_posts.c.posted_at, lite=lite)).label("posted_at")
    times = (_seconds(_posts.c[name], lite=lite).label(name) for name in TIMES if name != "posted_at")
    query = (
        select(
            _posts.c.platform, _posts.c.post_id, *facts, posted, *times, *texts, found.c.tags,
            *_pivot(ages, compared_age, lite=lite),
        )
        .select_from(found.join(_posts, same_post(found.c, _posts.c)).outerjoin(_snapshots, at_age))
        .where(*_in_window(scope))
        .group_by(_posts.c.platform, _posts.c.post_id, found.c.tags)
        .order_by(_posts.c.platform, _posts.c.post_id)
        .execution_options(stream_results=True, yield_per=BATCH)
    )  # fmt: skip
    result: Any
    with conn.execute(query) as result:
        yield from result.partitions(BATCH)


def _then(scope: Scope, column: Any) -> Any:
    """What a measurement tells of a post, null where its first one came after `as_of`."""
    return case((_posts.c.enriched_at <= scope.as_of, column))


def _pivot(ages: Sequence[int], compared_age: int, *, lite: bool) -> list[Any]:
    """One column a number and age; a checkpoint has one snapshot at most, so that the highest is the only one."""
    columns = []
    for age in ages:
        for name in (*GROWING, *(COMPARED if age == compared_age else ()), "lateness_seconds"):
            label = f"{name.replace('lateness_seconds', 'late')}_{age}"
            columns.append(func.max(case((_snapshots.c.target_age == age, _snapshots.c[name]))).label(label))
    observed = func.max(case((_snapshots.c.target_age == compared_age, _snapshots.c.observed_at)))
    return [*columns, _seconds(observed, lite=lite).label(f"observed_at_{compared_age}")]


def _seconds(column: Any, *, lite: bool) -> Any:
    """A time as seconds since the epoch, made by the database: that is quicker than to make datetimes here first."""
    if lite:
        kept = type_coerce(column, Text)
        return func.strftime("%s", kept, type_=Float) + func.substr(kept, 20, type_=Float)
    return as_type(func.extract("epoch", column), Float(53))


def _listed(scope: Scope) -> Select[Any]:
    """What the imports listed, from the collection to its posts."""
    theirs = select(_imports.c.import_id).where(*conditions.of_imports(Filters(scope.collection, scope.hashtag)))
    query = (
        select(_items.c.platform, _items.c.post_id, _imports.c.hashtag.label("tag"))
        .join(_imports, _imports.c.import_id == _items.c.import_id)
        .where(_items.c.import_id.in_(theirs), _items.c.first_seen_at <= scope.as_of, _items.c.post_id.is_not(None))
    )
    return query if scope.found_from is None else query.where(_items.c.first_seen_at >= scope.found_from)


def _given(scope: Scope) -> Select[Any]:
    """Posts that a run of the collection was given by URL; with a hashtag asked for, none."""
    theirs = select(_runs.c.run_id).where(_runs.c.collection == scope.collection, _runs.c.started_at <= scope.as_of)
    return select(_run_posts.c.platform, _run_posts.c.post_id, as_type(null(), Text).label("tag")).where(
        _run_posts.c.run_id.in_(theirs) if scope.hashtag is None else false(), _run_posts.c.purpose == "enrich"
    )


def _in_window(scope: Scope) -> list[Any]:
    """Posts whose time of posting is unknown are in no period, and only in a report of all time."""
    known = [_posts.c.first_seen_at <= scope.as_of]
    if scope.posted_from is not None:
        known.append(_posts.c.enriched_at <= scope.as_of)
        return [*known, _posts.c.posted_at >= scope.posted_from, _posts.c.posted_at < scope.posted_until]
    return [*known, func.coalesce(_then(scope, _posts.c.posted_at), _posts.c.first_seen_at) < scope.posted_until]


def creators_known_before(
    conn: Connection, creators: Sequence[tuple[str, str]], moment: datetime
) -> set[tuple[str, str]]:
    """Those of some creators (platform, author's id) of whom any collection had a post before `moment`."""
    found: set[tuple[str, str]] = set()
    for part in chunks(creators):
        of_them = posts_among(_posts.c.platform, _posts.c.author_id, part)
        query = select(_posts.c.platform, _posts.c.author_id).where(of_them, _posts.c.first_seen_at < moment).distinct()
        found.update((row.platform, row.author_id) for row in conn.execute(query))
    return found


@dataclass(frozen=True, slots=True)
class LeadingPost:
    """A post without anybody's name: where it can be seen, and its numbers."""

    platform: str
    post_id: str
    shortcode: str | None
    plays: int | None
    likes: int | None


def leading(conn: Connection, keys: Sequence[tuple[str, str]], most: int) -> list[LeadingPost]:
    """Those of some posts that lead in plays, or in likes where they have no plays; at most so many."""
    number = func.coalesce(_posts.c.plays, _posts.c.likes)
    columns = (_posts.c.platform, _posts.c.post_id, _posts.c.shortcode, _posts.c.plays, _posts.c.likes)
    found: list[LeadingPost] = []
    for part in chunks(keys):
        query = (
            select(*columns)
            .where(posts_among(_posts.c.platform, _posts.c.post_id, part), number > 0)
            .order_by(number.desc(), _posts.c.platform, _posts.c.post_id)
            .limit(most)
        )
        found += [LeadingPost(*row) for row in conn.execute(query)]

    def numbers(one: LeadingPost) -> tuple[int, str, str]:
        return (-(one.plays if one.plays is not None else one.likes or 0), one.platform, one.post_id)

    return sorted(found, key=numbers)[:most]


SHOWN: Final = ("platform", "post_id", "url", "author_username", "author_name", "caption", "media_type", "posted_at")


def shown_posts(conn: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row[Any]]:
    """What a page shows of posts that it names: link, author, caption, time of posting."""
    query = select(*(_posts.c[name] for name in SHOWN)).where(keyed(conn, _posts, keys))
    return {(row.platform, row.post_id): row for row in conn.execute(query)} if keys else {}


def receipts(conn: Connection, keys: Sequence[tuple[str, str]], age: int, as_of: datetime) -> list[Row[Any]]:
    """Where posts are seen, and what was measured of them at a checkpoint (all of it None: nothing), in any order."""
    columns = ("observed_at", "lateness_seconds", "plays", "views", "likes", "comments", "raw_sha256")
    at_age = and_(same_post(_snapshots.c, _posts.c), _snapshots.c.target_age == age, _snapshots.c.observed_at <= as_of)
    query = (
        select(_posts.c.platform, _posts.c.post_id, _posts.c.url, *(_snapshots.c[name] for name in columns))
        .select_from(_posts.outerjoin(_snapshots, at_age))
        .where(keyed(conn, _posts, keys))
    )
    return list(conn.execute(query).all())


def measurements(conn: Connection, keys: Sequence[tuple[str, str]], as_of: datetime) -> list[Row[Any]]:
    """All snapshots of some posts up to `as_of`, in the order of post and time."""
    if not keys:
        return []
    columns = (
        "platform", "post_id", "observed_at", "age_seconds", "target_age", "lateness_seconds", "plays", "views",
        "likes", "likes_hidden", "comments", "author_followers", "channel", "raw_sha256", "parser_version",
    )  # fmt: skip
    query = select(*(_snapshots.c[name] for name in columns)).where(_snapshots.c.observed_at <= as_of)
    found = conn.execute(query.where(keyed(conn, _snapshots, keys))).all()
    return sorted(found, key=lambda row: (row.platform, row.post_id, row.observed_at))


@dataclass(frozen=True, slots=True)
class MeasuredPost:
    """A post that a run measured for a checkpoint, and a hashtag whose import found it in one of the collections."""

    platform: str
    post_id: str
    shortcode: str | None
    age_seconds: int
    hashtag: str
    collection: str


def measured_by(conn: Connection, run_id: str, started_at: datetime, ages: Sequence[int]) -> list[MeasuredPost]:
    """The posts that a run measured for a checkpoint among `ages`, once for each hashtag and collection."""
    query = (
        select(
            _snapshots.c.platform, _snapshots.c.post_id, _posts.c.shortcode, _snapshots.c.target_age,
            _imports.c.hashtag, _imports.c.collection,
        )
        .join(_posts, same_post(_posts.c, _snapshots.c))
        .join(_items, same_post(_items.c, _snapshots.c))
        .join(_imports, _imports.c.import_id == _items.c.import_id)
        .where(
            _snapshots.c.observed_at >= started_at,
            _snapshots.c.run_id == run_id,
            _snapshots.c.target_age.in_(ages),
            _imports.c.hashtag.is_not(None),
        )
        .distinct()
    )  # fmt: skip
    return sorted((MeasuredPost(*row) for row in conn.execute(query)), key=lambda one: (one.collection, one.hashtag))
