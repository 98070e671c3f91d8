"""Where posts came from: the hashtags, collections and imports that brought each of them in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, func, or_, select

from blocks.database.store.statements import chunks, posts_among, table_of
from blocks.database.tables import Import, ImportItem, Post, Run, RunImport, RunPost

_posts, _imports, _items = table_of(Post), table_of(Import), table_of(ImportItem)
_runs, _run_imports, _run_posts = table_of(Run), table_of(RunImport), table_of(RunPost)


@dataclass(slots=True)
class Provenance:
    """What brought a post in; hashtags and collections in alphabetical order, imports oldest first.

    Hashtags are keys (NFC, case-folded). A collection is an import's own, or that of a run that used the import
    again or was given the post by URL.
    """

    hashtags: list[str] = field(default_factory=list)
    collections: list[str] = field(default_factory=list)
    import_ids: list[str] = field(default_factory=list)


def provenance(conn: Connection, posts: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Provenance]:
    """The provenance of posts, given as (platform, post_id), with a fixed number of queries for all of them."""
    imports: dict[tuple[str, str], list[str]] = defaultdict(list)
    hashtags: dict[tuple[str, str], set[str]] = defaultdict(set)
    collections: dict[tuple[str, str], set[str]] = defaultdict(set)
    for part in chunks(posts, 1000):
        listed = (
            select(_items.c.platform, _items.c.post_id, _imports.c.import_id, _imports.c.hashtag, _imports.c.collection)
            .join(_imports, _imports.c.import_id == _items.c.import_id)
            .where(posts_among(_items.c.platform, _items.c.post_id, part))
            .order_by(_imports.c.planned_at, _imports.c.import_id)
        )
        for platform, post_id, import_id, hashtag, collection in conn.execute(listed):
            imports[platform, post_id].append(import_id)
            collections[platform, post_id].add(collection)
            if hashtag is not None:
                hashtags[platform, post_id].add(hashtag)
        given = (
            select(_run_posts.c.platform, _run_posts.c.post_id, _runs.c.collection)
            .join(_runs, _runs.c.run_id == _run_posts.c.run_id)
            .where(posts_among(_run_posts.c.platform, _run_posts.c.post_id, part), _runs.c.collection.is_not(None))
        )
        for platform, post_id, collection in conn.execute(given):
            collections[platform, post_id].add(collection)
    used_by = _collections_of_imports(conn, {import_id for ids in imports.values() for import_id in ids})
    for key, import_ids in imports.items():
        for import_id in import_ids:
            collections[key] |= used_by[import_id]
    return {
        key: Provenance(sorted(hashtags[key]), sorted(collections[key]), imports[key])
        for key in ((platform, post_id) for platform, post_id in posts)
    }


def _collections_of_imports(conn: Connection, import_ids: Iterable[str]) -> dict[str, set[str]]:
    """The collections of the runs that worked on each import."""
    found: dict[str, set[str]] = defaultdict(set)
    for part in chunks(sorted(import_ids)):
        query = (
            select(_run_imports.c.import_id, _runs.c.collection)
            .join(_runs, _runs.c.run_id == _run_imports.c.run_id)
            .where(_run_imports.c.import_id.in_(part), _runs.c.collection.is_not(None))
            .distinct()
        )
        for import_id, collection in conn.execute(query):
            found[import_id].add(collection)
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
