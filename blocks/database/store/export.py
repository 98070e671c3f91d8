"""Rows for export, as the public column lists name them; streamed, so that a million need no more memory than one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, Text, and_, func, null, or_, select, type_coerce

from blocks.database import What
from blocks.database.engine import Store
from blocks.database.store import filters as conditions
from blocks.database.store.filters import Filters
from blocks.database.store.statements import Key, chunks, posts_among, table_of
from blocks.database.tables import (
    Comment,
    Creator,
    Failure,
    Import,
    ImportItem,
    Post,
    Run,
    RunImport,
    RunPost,
    Snapshot,
    UtcDateTime,
)
from blocks.posts.platforms.registry import PLATFORMS


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


COLUMNS: dict[What, tuple[str, ...]] = {
    "posts": _columns(
        "platform post_id shortcode url author_id author_username author_name author_verified author_followers caption "
        "hashtags mentions posted_at media_type product_type duration_seconds width height audio_id audio_title "
        "audio_artist audio_is_original has_audio location_name is_paid_partnership coauthors tagged_users plays views "
        "likes likes_hidden comments shares saves engagement_rate_by_followers engagement_rate_by_plays null_reasons "
        "extra source_hashtags collections channel status first_seen_at enriched_at observed_at import_ids run_id "
        "parser_version raw_sha256"
    ),
    "snapshots": _columns(
        "platform post_id observed_at age_seconds target_age lateness_seconds plays views likes likes_hidden comments "
        "shares saves author_followers null_reasons channel run_id parser_version raw_sha256"
    ),
    "creators": _columns(
        "platform author_id author_username author_name verified followers observed_at first_seen_at posts_known"
    ),
    "comments": _columns("platform post_id comment_id author text likes created_at observed_at"),
    "imports": _columns(
        "import_id task_id kind hashtag collection namespace library requested state seen new known submitted_at "
        "finished_at cost_usd run_id note"
    ),
    "failures": _columns(
        "platform post_id url stage error_class code message attempts channel raw_sha256 first_at last_at resolved_at"
    ),
}

# Rows that are fetched, and completed by one more query, at a time.
BATCH = 1000

_posts, _snapshots, _creators = table_of(Post), table_of(Snapshot), table_of(Creator)
_comments, _imports, _failures = table_of(Comment), table_of(Import), table_of(Failure)
_items, _runs = table_of(ImportItem), table_of(Run)
_run_imports, _run_posts = table_of(RunImport), table_of(RunPost)


def rows(
    store: Store, what: What, filters: Filters | None = None, *, moments: bool = False, batch_rows: int = BATCH
) -> Iterator[dict[str, Any]]:
    """The rows of one table for export, each a dict with exactly the columns of `COLUMNS[what]`, in that order.

    Times are ISO 8601 text in UTC with `Z`, or aware datetimes with `moments`; lists are Python lists,
    `null_reasons` and `extra` dicts, unknown is None. With a collection among the filters, posts name no other
    collection, nor its hashtags and imports. All rows are of one moment. A read transaction is open until the
    iterator is at its end or closed.

    Raises:
        UsageError: the filters name a status that these rows cannot have (before the first row).
        StoreError: the database cannot be read.
    """
    query, complete = _query(what, filters or Filters())
    return _stream(store, query, complete, moments, batch_rows)


def count(store: Store, what: What, filters: Filters | None = None) -> int:
    """How many rows `rows` gives."""
    query, _ = _query(what, filters or Filters())
    with store.connect() as conn:
        return conn.execute(select(func.count()).select_from(query.order_by(None).subquery())).scalar_one()


def _query(what: What, filters: Filters) -> tuple[Select[Any], _Complete]:
    """The rows without what is worked out later, and what adds that to a batch of them."""
    conditions.check_status(filters.status, conditions.STATUSES.get(what, conditions.POST_STATUSES))
    return _QUERIES[what](filters)


_Complete = Callable[[Connection, list[dict[str, Any]]], None]


def _stream(
    store: Store, query: Select[Any], complete: _Complete, moments: bool, batch_rows: int
) -> Iterator[dict[str, Any]]:
    query = query if moments else _with_times_as_text(query, lite=store.is_sqlite)
    query = query.execution_options(stream_results=True, yield_per=batch_rows)
    with store.connect() as conn, conn.execute(query) as result:
        names = tuple(result.keys())
        for partition in result.partitions(batch_rows):
            batch = [dict(zip(names, row, strict=True)) for row in partition]
            complete(conn, batch)
            yield from batch


def _with_times_as_text(query: Select[Any], *, lite: bool) -> Select[Any]:
    """The query with its times as text, made by the database: that is quicker than to make datetimes here first."""
    columns = query.selected_columns
    texts = [_iso_text(one, lite=lite).label(one.key) if isinstance(one.type, UtcDateTime) else one for one in columns]
    return query.with_only_columns(*texts)


def _iso_text(column: ColumnElement[Any], *, lite: bool) -> ColumnElement[Any]:
    """A time as `iso` writes it; SQLite keeps nearly that."""
    if lite:
        kept = type_coerce(column, Text)
        text = func.substr(kept, 1, 10, type_=Text) + "T" + func.substr(kept, 12, type_=Text) + "Z"
    else:
        text = func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    return func.replace(text, ".000000Z", "Z")


def _select(table: Table, what: What, *further: str) -> Select[Any]:
    """The public columns in their order, null where a value is worked out later, and `further` ones for that."""
    public = (table.c[name] if name in table.c else null().label(name) for name in COLUMNS[what])
    return select(*public, *(table.c[name] for name in further))


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with `Z`; a fraction only where there is one."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _as_they_are(conn: Connection, batch: list[dict[str, Any]]) -> None:
    """Nothing is missing."""


def _query_posts(filters: Filters) -> tuple[Select[Any], _Complete]:
    query = _select(_posts, "posts", "resting_since", "rested_until").where(*conditions.of_posts(filters, _posts))
    if filters.since is not None:
        query = query.where(conditions.measured_since(filters.since))
    complete = partial(_complete_posts, collection=filters.collection)
    return query.order_by(_posts.c.platform, _posts.c.post_id), complete


def _complete_posts(conn: Connection, batch: list[dict[str, Any]], *, collection: str | None) -> None:
    found = provenance(conn, [(row["platform"], row["post_id"]) for row in batch], collection)
    for row in batch:
        of_post = found[row["platform"], row["post_id"]]
        row["source_hashtags"] = of_post.hashtags
        row["collections"] = of_post.collections
        row["import_ids"] = of_post.import_ids
        row["extra"] = row["extra"] or {}
        since, until = row.pop("resting_since"), row.pop("rested_until")
        if since is not None and until is None:
            # Inside JSON it is text, also where the columns are moments.
            row["extra"]["resting_since"] = since if isinstance(since, str) else iso(since)
        rates, reasons = engagement_rates(row)
        row |= rates
        row["null_reasons"] = (row["null_reasons"] or {}) | reasons


def _query_snapshots(filters: Filters) -> tuple[Select[Any], _Complete]:
    query = _select(_snapshots, "snapshots").where(*conditions.of_posts(filters, _snapshots))
    if filters.since is not None:
        query = query.where(_snapshots.c.observed_at >= filters.since)
    return query.order_by(_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at), _complete_snapshots


def _complete_snapshots(conn: Connection, batch: list[dict[str, Any]]) -> None:
    for row in batch:
        row["null_reasons"] = row["null_reasons"] or {}


def _query_creators(filters: Filters) -> tuple[Select[Any], _Complete]:
    query = _select(_creators, "creators").where(*conditions.of_creators(filters))
    return query.order_by(_creators.c.platform, _creators.c.author_id), _complete_creators


def _complete_creators(conn: Connection, batch: list[dict[str, Any]]) -> None:
    counts = posts_by_creator(conn, [(row["platform"], row["author_id"]) for row in batch])
    for row in batch:
        row["posts_known"] = counts.get((row["platform"], row["author_id"]), 0)


def _query_comments(filters: Filters) -> tuple[Select[Any], _Complete]:
    query = _select(_comments, "comments").where(*conditions.of_posts(filters, _comments))
    if filters.since is not None:
        query = query.where(_comments.c.observed_at >= filters.since)
    return query.order_by(_comments.c.platform, _comments.c.post_id, _comments.c.comment_id), _as_they_are


def _query_imports(filters: Filters) -> tuple[Select[Any], _Complete]:
    query = _select(_imports, "imports", "cost_micros").where(*conditions.of_imports(filters))
    return query.order_by(_imports.c.planned_at, _imports.c.import_id), _complete_imports


def _complete_imports(conn: Connection, batch: list[dict[str, Any]]) -> None:
    for row in batch:
        row["cost_usd"] = row.pop("cost_micros") / 1_000_000


def _query_failures(filters: Filters) -> tuple[Select[Any], _Complete]:
    query = _select(_failures, "failures").where(*conditions.of_failures(filters))
    return query.order_by(_failures.c.first_at, _failures.c.failure_id), _as_they_are


_QUERIES: dict[What, Callable[[Filters], tuple[Select[Any], _Complete]]] = {
    "posts": _query_posts,
    "snapshots": _query_snapshots,
    "creators": _query_creators,
    "comments": _query_comments,
    "imports": _query_imports,
    "failures": _query_failures,
}


def engagement_rates(post: Mapping[str, Any]) -> tuple[dict[str, float | None], dict[str, str]]:
    """`engagement_rate_by_followers` and `engagement_rate_by_plays` of a post, and the reasons of those that are None.

    By followers: (likes + comments) / author_followers. By plays: (likes + comments + shares + saves, those that
    the platform has) / plays. None if any part is, for the reason of the first such part; None with the reason
    `not_in_payload` if the divisor is 0, for then there is nothing to divide by. A post whose nulls have no
    reasons yet (pending) has none here either.
    """
    known = post["null_reasons"] or {}
    rates: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, parts, divisor in (
        ("engagement_rate_by_followers", ("likes", "comments"), "author_followers"),
        ("engagement_rate_by_plays", PLATFORMS[post["platform"]].engagement, "plays"),
    ):
        missing = [part for part in (*parts, divisor) if post[part] is None]
        if missing or post[divisor] == 0:
            rates[name] = None
            reason = next((known[part] for part in missing if part in known), None if missing else "not_in_payload")
            if reason is not None:
                reasons[name] = reason
        else:
            rates[name] = sum(post[part] for part in parts) / post[divisor]
    return rates, reasons


@dataclass(slots=True)
class Provenance:
    """What brought a post in; hashtags (as keys) and collections in alphabetical order, imports oldest first.

    A collection is an import's own, or that of a run that used the import again or was given the post by URL.
    """

    hashtags: list[str] = field(default_factory=list)
    collections: list[str] = field(default_factory=list)
    import_ids: list[str] = field(default_factory=list)


def provenance(conn: Connection, posts: Sequence[Key], collection: str | None = None) -> dict[Key, Provenance]:
    """The provenance of posts, given as (platform, post_id), with a fixed number of queries for all of them.

    With a `collection`, what belongs to others is left out: one client's data does not name another's.
    """
    listed_by: dict[Key, list[str]] = defaultdict(list)
    given_by: dict[Key, set[str]] = defaultdict(set)
    hashtags: dict[str, str | None] = {}
    collections: dict[str, set[str]] = defaultdict(set)
    for part in chunks(posts, BATCH):
        listed = (
            select(_items.c.platform, _items.c.post_id, _imports.c.import_id, _imports.c.hashtag, _imports.c.collection)
            .join(_imports, _imports.c.import_id == _items.c.import_id)
            .where(posts_among(_items.c.platform, _items.c.post_id, part))
            .order_by(_imports.c.planned_at, _imports.c.import_id)
        )
        for platform, post_id, import_id, hashtag, owner in conn.execute(listed):
            listed_by[platform, post_id].append(import_id)
            hashtags[import_id] = hashtag
            collections[import_id].add(owner)
        given = (
            select(_run_posts.c.platform, _run_posts.c.post_id, _runs.c.collection)
            .join(_runs, _runs.c.run_id == _run_posts.c.run_id)
            .where(posts_among(_run_posts.c.platform, _run_posts.c.post_id, part), _runs.c.collection.is_not(None))
        )
        for platform, post_id, name in conn.execute(given):
            given_by[platform, post_id].add(name)
    for some in chunks(sorted(hashtags)):
        used = (
            select(_run_imports.c.import_id, _runs.c.collection)
            .join(_runs, _runs.c.run_id == _run_imports.c.run_id)
            .where(_run_imports.c.import_id.in_(some), _runs.c.collection.is_not(None))
        )
        for import_id, name in conn.execute(used):
            collections[import_id].add(name)
    if collection is not None:
        for names in (*collections.values(), *given_by.values()):
            names &= {collection}
    found: dict[Key, Provenance] = {}
    for key in posts:
        import_ids = [one for one in listed_by[key] if collections[one]]
        tags = {tag for one in import_ids if (tag := hashtags[one]) is not None}
        names = given_by[key].union(*(collections[one] for one in import_ids))
        found[key] = Provenance(sorted(tags), sorted(names), import_ids)
    return found


def posts_by_creator(conn: Connection, creators: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How many posts of each creator, given as (platform, author_id), are known."""
    by_platform: dict[str, list[str]] = defaultdict(list)
    for platform, author_id in creators:
        by_platform[platform].append(author_id)
    theirs = [and_(_posts.c.platform == name, _posts.c.author_id.in_(ids)) for name, ids in by_platform.items()]
    if not theirs:
        return {}
    query = (
        select(_posts.c.platform, _posts.c.author_id, func.count())
        .where(or_(*theirs))
        .group_by(_posts.c.platform, _posts.c.author_id)
    )
    return {(platform, author_id): count for platform, author_id, count in conn.execute(query)}
