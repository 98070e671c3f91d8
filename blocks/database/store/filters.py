"""What `--collection --hashtag --platform --since --status` mean, for each thing that can be exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, exists, func, or_, select, tuple_, union

from blocks.database.store.statements import same_post, table_of
from blocks.database.tables import Creator, Failure, Import, ImportItem, Post, Run, RunImport, RunPost
from blocks.errors import UsageError

_posts, _imports, _items = table_of(Post), table_of(Import), table_of(ImportItem)
_runs, _run_imports, _run_posts = table_of(Run), table_of(RunImport), table_of(RunPost)
_creators, _failures = table_of(Creator), table_of(Failure)

POST_STATUSES = ("pending", "enriched", "failed", "gone")
IMPORT_STATES = (
    "planned", "sending", "submitted", "collecting", "complete", "empty", "failed", "ambiguous", "dropped",
)  # fmt: skip
STATUSES = {"imports": IMPORT_STATES, "failures": ("open", "resolved")}
"""What the status of a thing can be; of all others it is that of their posts."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows are wanted; None everywhere: all.

    `hashtag` is a tag's key (NFC, lower case): posts that an import of that hashtag found. `collection`: posts that
    an import or a run of that collection brought in; both: posts that an import of that hashtag, planned or used by
    that collection, found. `since`: posts and snapshots measured (posts never measured:
    first seen) at that time or later, and likewise creators and comments; imports planned, failures that occurred
    last. `status`: a post's (also of snapshots, comments and creators: that of their posts), an import's state, or
    `open` and `resolved` for failures.
    """

    collection: str | None = None
    hashtag: str | None = None
    platform: str | None = None
    since: datetime | None = None
    status: str | None = None


def check_status(status: str | None, allowed: Sequence[str]) -> None:
    """Refuse a status that the thing cannot have.

    Raises:
        UsageError: with the statuses that there are.
    """
    if status is not None and status not in allowed:
        raise UsageError(f"there is no status {status} here; choose one of {', '.join(allowed)}")


def of_posts(filters: Filters, table: Table) -> list[ColumnElement[bool]]:
    """Conditions on a table whose rows are about posts, or on posts themselves; `since` is left to the caller."""
    conditions: list[ColumnElement[bool]] = []
    if filters.platform is not None:
        conditions.append(table.c.platform == filters.platform)
    if filters.status is not None:
        if table is _posts:
            conditions.append(_posts.c.status == filters.status)
        else:
            conditions.append(exists().where(same_post(_posts.c, table.c), _posts.c.status == filters.status))
    if filters.hashtag is not None:
        # With a collection too, one import is of both: what another's import of the hashtag found is not its own.
        found = (
            select(_items.c.platform, _items.c.post_id)
            .join(_imports, _imports.c.import_id == _items.c.import_id)
            .where(_imports.c.hashtag == filters.hashtag)
        )
        if filters.collection is not None:
            found = found.where(of_collection(filters.collection))
        # From the hashtag to its posts: it found a few of all that are known.
        conditions.append(tuple_(table.c.platform, table.c.post_id).in_(found))
    elif filters.collection is not None:
        conditions.append(_in_collection(filters.collection, table))
    return conditions


def of_creators(filters: Filters) -> list[ColumnElement[bool]]:
    """Conditions on creators: at least one of their posts meets all that is asked of posts."""
    conditions: list[ColumnElement[bool]] = []
    if filters.platform is not None:
        conditions.append(_creators.c.platform == filters.platform)
    if filters.since is not None:
        conditions.append(_creators.c.observed_at >= filters.since)
    of_their_posts = of_posts(Filters(filters.collection, filters.hashtag, None, None, filters.status), _posts)
    if of_their_posts:
        theirs = and_(_posts.c.platform == _creators.c.platform, _posts.c.author_id == _creators.c.author_id)
        conditions.append(exists().where(theirs, *of_their_posts))
    return conditions


def of_imports(filters: Filters) -> list[ColumnElement[bool]]:
    """Conditions on imports; a platform means that at least one post of it was listed."""
    conditions: list[ColumnElement[bool]] = []
    if filters.hashtag is not None:
        conditions.append(_imports.c.hashtag == filters.hashtag)
    if filters.collection is not None:
        conditions.append(of_collection(filters.collection))
    if filters.platform is not None:
        listed = and_(_items.c.import_id == _imports.c.import_id, _items.c.platform == filters.platform)
        conditions.append(exists().where(listed))
    if filters.since is not None:
        conditions.append(_imports.c.planned_at >= filters.since)
    if filters.status is not None:
        conditions.append(_imports.c.state == filters.status)
    return conditions


def of_failures(filters: Filters) -> list[ColumnElement[bool]]:
    """Conditions on failures, of posts and of imports and their items."""
    conditions: list[ColumnElement[bool]] = []
    if filters.platform is not None:
        conditions.append(_failures.c.platform == filters.platform)
    if filters.since is not None:
        conditions.append(_failures.c.last_at >= filters.since)
    if filters.status is not None:
        is_open = _failures.c.resolved_at.is_(None)
        conditions.append(is_open if filters.status == "open" else ~is_open)
    wanted = Filters(collection=filters.collection, hashtag=filters.hashtag)
    if wanted != Filters():
        import_too = exists().where(_imports.c.import_id == _failures.c.import_id, *of_imports(wanted))
        conditions.append(or_(import_too, and_(*of_posts(wanted, _failures))))
    return conditions


def measured_since(since: datetime) -> ColumnElement[bool]:
    """Posts measured at that time or later; one that was never measured counts by when it was first seen."""
    return func.coalesce(_posts.c.observed_at, _posts.c.first_seen_at) >= since


def posts_of_collection(name: str) -> tuple[Select[Any], Select[Any]]:
    """Keys of a collection's posts, listed by its imports and given to its runs; a post may be in there several times.

    From the collection to its posts, for whoever wants all of them. `of_posts` asks each row whether it is of it.
    """
    theirs = select(_imports.c.import_id).where(of_collection(name))
    listed = select(_items.c.platform, _items.c.post_id).where(
        _items.c.import_id.in_(theirs), _items.c.post_id.is_not(None)
    )
    given = (
        select(_run_posts.c.platform, _run_posts.c.post_id)
        .join(_runs, _runs.c.run_id == _run_posts.c.run_id)
        .where(_runs.c.collection == name)
    )
    return listed, given


def _item_of(table: Table) -> Select[Any]:
    """The imports' items about a row's post."""
    return (
        select(_items.c.import_id)
        .join(_imports, _imports.c.import_id == _items.c.import_id)
        .where(same_post(_items.c, table.c))
        .correlate(table)
    )


def of_collection(name: str) -> ColumnElement[bool]:
    """Imports that a run of the collection planned, or used as well."""
    used = (
        select(_run_imports.c.import_id)
        .join(_runs, _runs.c.run_id == _run_imports.c.run_id)
        .where(_run_imports.c.import_id == _imports.c.import_id, _runs.c.collection == name)
        .correlate(_imports)
    )
    return or_(_imports.c.collection == name, used.exists())


def _in_collection(name: str, table: Table) -> ColumnElement[bool]:
    given = (
        select(_run_posts.c.run_id)
        .join(_runs, _runs.c.run_id == _run_posts.c.run_id)
        .where(same_post(_run_posts.c, table.c), _runs.c.collection == name)
        .correlate(table)
    )
    return or_(_item_of(table).where(of_collection(name)).exists(), given.exists())


def collections(conn: Connection) -> list[str]:
    """All collections that an import or a run ever had, in alphabetical order."""
    names = union(select(_imports.c.collection), select(_runs.c.collection).where(_runs.c.collection.is_not(None)))
    return sorted(conn.execute(names).scalars())


def hashtags(conn: Connection) -> list[str]:
    """The keys of all hashtags that an import was ever made of, in alphabetical order."""
    query = select(_imports.c.hashtag).where(_imports.c.hashtag.is_not(None)).distinct()
    return sorted(conn.execute(query).scalars())
