"""Where posts came from (hashtags, collections, imports), and what a run wrote, table by table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from sqlalchemy import ColumnElement, Connection, Subquery, and_, exists, func, or_, select, union

from blocks.database.store.statements import chunks, posts_among, same_post, table_of
from blocks.database.tables import Comment, Import, ImportItem, Post, Run, RunImport, RunPost, Snapshot

_posts = table_of(Post)
_imports = table_of(Import)
_items = table_of(ImportItem)
_runs = table_of(Run)
_run_imports = table_of(RunImport)
_run_posts = table_of(RunPost)
_snapshots = table_of(Snapshot)
_comments = table_of(Comment)


@dataclass(slots=True)
class Provenance:
    """What brought a post in; hashtags, collections and runs in alphabetical order, imports oldest first.

    Hashtags are keys (NFC, lower case). A collection is an import's own, or that of a run that used the import
    again or was given the post by URL. `found_by` holds (collection, hashtag) as they belong together,
    `run_ids` the runs that used an import which lists the post, or were given it. When it was first and last seen
    stands in the post's row.
    """

    hashtags: list[str] = field(default_factory=list)
    collections: list[str] = field(default_factory=list)
    import_ids: list[str] = field(default_factory=list)
    found_by: list[tuple[str, str]] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)


def provenance(
    conn: Connection, posts: Sequence[tuple[str, str]], collection: str | None = None
) -> dict[tuple[str, str], Provenance]:
    """The provenance of posts, given as (platform, post_id), with a fixed number of queries for all of them.

    With a `collection`, what belongs to others is left out: one client's data does not name another's.
    """
    listings: dict[tuple[str, str], list[str]] = defaultdict(list)
    listed_by: dict[str, tuple[str | None, str]] = {}
    given_by: dict[tuple[str, str], set[_Use]] = defaultdict(set)
    for part in chunks(posts, 1000):
        listed = (
            select(_items.c.platform, _items.c.post_id, _imports.c.import_id, _imports.c.hashtag, _imports.c.collection)
            .join(_imports, _imports.c.import_id == _items.c.import_id)
            .where(posts_among(_items.c.platform, _items.c.post_id, part))
            .order_by(_imports.c.planned_at, _imports.c.import_id)
        )
        for platform, post_id, import_id, hashtag, owner in conn.execute(listed).all():
            listings[platform, post_id].append(import_id)
            listed_by[import_id] = hashtag, owner
        given = (
            select(_run_posts.c.platform, _run_posts.c.post_id, _runs.c.collection, _run_posts.c.run_id)
            .join(_runs, _runs.c.run_id == _run_posts.c.run_id)
            .where(posts_among(_run_posts.c.platform, _run_posts.c.post_id, part), _runs.c.collection.is_not(None))
        )
        for platform, post_id, name, run_id in conn.execute(given).all():
            given_by[platform, post_id].add((run_id, name))
    used_by = _runs_of_imports(conn, listed_by)
    imports = {
        import_id: _of_import(import_id, hashtag, owner, used_by.get(import_id, set()), collection)
        for import_id, (hashtag, owner) in listed_by.items()
    }
    found: dict[tuple[str, str], Provenance] = {}
    alike: dict[Any, Provenance] = {}
    for key in posts:
        # Posts that the same imports list are many, and say the same.
        of_post = tuple(listings[key]), frozenset(given_by[key])
        if of_post not in alike:
            alike[of_post] = _of_one([imports[import_id] for import_id in of_post[0]], of_post[1], collection)
        found[key] = alike[of_post]
    return found


_Use = tuple[str, str | None]
"""A run, and its collection."""


@dataclass(frozen=True, slots=True)
class _Import:
    """What an import says of each post that it lists; without `collections` it is another's."""

    import_id: str
    collections: frozenset[str]
    run_ids: frozenset[str]
    found_by: frozenset[tuple[str, str]]


def _of_import(import_id: str, hashtag: str | None, owner: str, uses: set[_Use], collection: str | None) -> _Import:
    names = frozenset(name for name in (owner, *(used for _, used in uses)) if _is_wanted(name, collection))
    runs = frozenset(run_id for run_id, name in uses if collection is None or name == collection)
    return _Import(import_id, names, runs, frozenset((name, hashtag) for name in names if hashtag is not None))


def _is_wanted(name: str | None, collection: str | None) -> TypeGuard[str]:
    return name is not None and (collection is None or name == collection)


def _of_one(imports: Sequence[_Import], given_by: Iterable[_Use], collection: str | None) -> Provenance:
    theirs = [one for one in imports if one.collections]
    given = [(run_id, name) for run_id, name in given_by if _is_wanted(name, collection)]
    found_by = {each for one in theirs for each in one.found_by}
    return Provenance(
        hashtags=sorted({hashtag for _, hashtag in found_by}),
        collections=sorted({name for one in theirs for name in one.collections} | {name for _, name in given}),
        import_ids=[one.import_id for one in theirs],
        found_by=sorted(found_by),
        run_ids=sorted({run_id for one in theirs for run_id in one.run_ids} | {run_id for run_id, _ in given}),
    )


def _runs_of_imports(conn: Connection, import_ids: Iterable[str]) -> dict[str, set[tuple[str, str | None]]]:
    """The runs that worked on each import, each with its collection."""
    found: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for part in chunks(sorted(import_ids)):
        query = (
            select(_run_imports.c.import_id, _run_imports.c.run_id, _runs.c.collection)
            .outerjoin(_runs, _runs.c.run_id == _run_imports.c.run_id)
            .where(_run_imports.c.import_id.in_(part))
        )
        for import_id, run_id, collection in conn.execute(query):
            found[import_id].add((run_id, collection))
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
        posts=_count(conn, posts),
        snapshots=_count(conn, mine),
        creators=_count(conn, author.distinct().subquery()),
        comments=_count(conn, select(_comments.c.comment_id).join(mine, comment).subquery()),
        first_measured=_count(conn, first.subquery()),
    )


def _measured(run_id: str) -> Subquery:
    """The snapshots of a run, found by its posts: the table is too long to be looked through."""
    listed = (
        select(_items.c.platform, _items.c.post_id)
        .join(_run_imports, _run_imports.c.import_id == _items.c.import_id)
        .where(_run_imports.c.run_id == run_id, _items.c.post_id.is_not(None))
    )
    given = select(_run_posts.c.platform, _run_posts.c.post_id).where(_run_posts.c.run_id == run_id)
    asked = union(listed, given).subquery()
    by_this_run: ColumnElement[bool] = _snapshots.c.run_id == run_id
    return (
        select(_snapshots.c.platform, _snapshots.c.post_id, _snapshots.c.observed_at)
        .join(asked, and_(same_post(_snapshots.c, asked.c), by_this_run))
        .subquery()
    )


def _count(conn: Connection, rows: Subquery) -> int:
    return conn.execute(select(func.count()).select_from(rows)).scalar_one()
