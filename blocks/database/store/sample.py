"""The posts that a report rests on: one row a post, with what was measured of it at each checkpoint of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, Text, and_, case, func, literal, null, select, union
from sqlalchemy import cast as as_type

from blocks.database.store import filters as conditions
from blocks.database.store.filters import Filters
from blocks.database.store.statements import chunks, of_posts, posts_among, same_post, table_of
from blocks.database.tables import Import, ImportItem, Post, Run, RunPost, Snapshot

_posts, _snapshots, _imports = table_of(Post), table_of(Snapshot), table_of(Import)
_items, _runs, _run_posts = table_of(ImportItem), table_of(Run), table_of(RunPost)

BATCH: Final = 5000
GROWING: Final = ("plays", "views", "likes")
"""Numbers that are read at every checkpoint; `COMPARED` at the one at which posts are compared."""
COMPARED: Final = ("comments", "shares", "saves", "author_followers")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which posts: of a collection (and of one hashtag's imports), posted in the window, as known at `as_of`."""

    collection: str
    hashtag: str | None
    posted_from: datetime | None
    posted_until: datetime
    as_of: datetime


def post_rows(conn: Connection, scope: Scope, ages: Sequence[int], compared_age: int) -> Iterator[Sequence[Row[Any]]]:
    """The posts in batches, in the order of their keys.

    Columns: those of the post, `tags` (the followed hashtags that found it, one a line, in any order; None: it came by
    URL or creator), and for each age A of the plan `plays_A`, `views_A`, `likes_A` and `late_A` (None: not measured),
    for `compared_age` also the numbers of `COMPARED` and `observed_at`.
    """
    members = union(_listed(scope), _given(scope)).cte("members")
    found = (
        select(members.c.platform, members.c.post_id, func.aggregate_strings(members.c.tag, "\n").label("tags"))
        .group_by(members.c.platform, members.c.post_id)
        .cte("found")
    )
    at_age = and_(
        same_post(_snapshots.c, _posts.c), _snapshots.c.target_age.in_(ages), _snapshots.c.observed_at <= scope.as_of
    )
    query = (
        select(
            _posts.c.platform, _posts.c.post_id, _posts.c.author_id, _posts.c.author_username, _posts.c.media_type,
            _posts.c.posted_at, _posts.c.first_seen_at, _posts.c.enriched_at, _posts.c.gone_at,
            _posts.c.resting_since, _posts.c.rested_until, _posts.c.likes_hidden, _posts.c.is_paid_partnership,
            _posts.c.hashtags, _posts.c.null_reasons, found.c.tags, *_pivot(ages, compared_age),
        )
        .select_from(found.join(_posts, same_post(found.c, _posts.c)).outerjoin(_snapshots, at_age))
        .group_by(_posts.c.platform, _posts.c.post_id, found.c.tags)
        .order_by(_posts.c.platform, _posts.c.post_id)
        .execution_options(stream_results=True, yield_per=BATCH)
    )  # fmt: skip
    result: Any
    with conn.execute(query) as result:
        yield from result.partitions(BATCH)


def _pivot(ages: Sequence[int], compared_age: int) -> list[Any]:
    """One column a number and age; a checkpoint has one snapshot at most, so that the highest is the only one."""
    columns = []
    for age in ages:
        more = (*COMPARED, "observed_at") if age == compared_age else ()
        for name in (*GROWING, *more):
            columns.append(func.max(case((_snapshots.c.target_age == age, _snapshots.c[name]))).label(f"{name}_{age}"))
        late = case((_snapshots.c.target_age == age, _snapshots.c.lateness_seconds))
        columns.append(func.max(late).label(f"late_{age}"))
    return columns


def _listed(scope: Scope) -> Select[Any]:
    of_imports = conditions.of_imports(Filters(scope.collection, scope.hashtag))
    return (
        select(_items.c.platform, _items.c.post_id, _imports.c.hashtag.label("tag"))
        .select_from(
            _items.join(_imports, _imports.c.import_id == _items.c.import_id).join(
                _posts, same_post(_items.c, _posts.c)
            )
        )
        .where(*of_imports, _items.c.first_seen_at <= scope.as_of, *_in_window(scope))
    )


def _given(scope: Scope) -> Select[Any]:
    """Posts that a run of the collection was given by URL; with a hashtag asked for, none."""
    query = (
        select(_run_posts.c.platform, _run_posts.c.post_id, as_type(null(), Text).label("tag"))
        .select_from(
            _run_posts.join(_runs, _runs.c.run_id == _run_posts.c.run_id).join(
                _posts, same_post(_run_posts.c, _posts.c)
            )
        )
        .where(
            _runs.c.collection == scope.collection,
            _runs.c.started_at <= scope.as_of,
            _run_posts.c.purpose == "enrich",
            *_in_window(scope),
        )
    )
    return query if scope.hashtag is None else query.where(literal(1) == 0)


def _in_window(scope: Scope) -> list[Any]:
    """Posts whose time of posting is unknown are in no period, and only in a report of all time."""
    known = [_posts.c.first_seen_at <= scope.as_of]
    if scope.posted_from is not None:
        return [*known, _posts.c.posted_at >= scope.posted_from, _posts.c.posted_at < scope.posted_until]
    return [*known, func.coalesce(_posts.c.posted_at, _posts.c.first_seen_at) < scope.posted_until]


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
    query = of_posts(conn, select(*(_posts.c[name] for name in SHOWN)), _posts.c, keys)
    return {(row.platform, row.post_id): row for row in conn.execute(query)} if keys else {}


def links(conn: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The addresses of posts."""
    query = select(_posts.c.platform, _posts.c.post_id, _posts.c.url)
    return {(row.platform, row.post_id): row.url for row in conn.execute(of_posts(conn, query, _posts.c, keys))}


def measurements(conn: Connection, keys: Sequence[tuple[str, str]], as_of: datetime) -> list[Row[Any]]:
    """All snapshots of some posts up to `as_of`, in the order of post and time."""
    if not keys:
        return []
    columns = (
        "platform", "post_id", "observed_at", "age_seconds", "target_age", "lateness_seconds", "plays", "views",
        "likes", "likes_hidden", "comments", "author_followers", "channel", "raw_sha256", "parser_version",
    )  # fmt: skip
    query = select(*(_snapshots.c[name] for name in columns)).where(_snapshots.c.observed_at <= as_of)
    found = conn.execute(of_posts(conn, query, _snapshots.c, keys)).all()
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
