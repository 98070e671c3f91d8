"""What consecutive imports of a hashtag share: plain counts, and a row where they share nothing.

Imports are compared within one hashtag, collection and library, in the order of their submission. An import that a
collection only used again counts as one of its imports too. What lists no post is passed over: the next import that
lists some is compared with the last one that did. Overlap is a count of posts; it says nothing of how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, or_, select

from blocks.database.store import filters
from blocks.database.store.statements import insert_into, same_post, table_of
from blocks.database.tables import Gap, Import, ImportItem

_imports, _items, _gaps = table_of(Import), table_of(ImportItem), table_of(Gap)

ENDED = ("complete", "failed", "dropped")
"""States in which an import's list is whole, as far as it ever will be."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What an import shares with the one before it (of its hashtag, collection and library).

    `shared` posts stand in both lists, `not_seen_again` in the previous one only. Times are when they were submitted.
    """

    import_id: str
    previous_import_id: str
    shared: int
    not_seen_again: int
    from_at: datetime
    until_at: datetime


def overlaps(conn: Connection, import_ids: Sequence[str]) -> dict[str, Overlap]:
    """What each of these imports shares with the one before it.

    Left out are imports that are no hashtag's, that list no post, and the first of their hashtag, collection and
    library: there is nothing to compare with.
    """
    found = {}
    for import_id in import_ids:
        row = conn.execute(select(_imports).where(_imports.c.import_id == import_id)).one_or_none()
        overlap = None if row is None or row.hashtag is None else _overlap(conn, row)
        if overlap is not None:
            found[import_id] = overlap
    return found


def note_gaps(conn: Connection, import_id: str, now: datetime) -> None:
    """Write, or take back, the gap before an import that has ended, and before the one that follows it.

    The one after it is looked at as well: it may have ended first, and was then compared with an older one.
    """
    row = conn.execute(select(_imports).where(_imports.c.import_id == import_id)).one()
    if row.hashtag is None:
        return
    _note(conn, row, now)
    following = conn.execute(
        select(_imports)
        .where(*_alike(row), _moment() > _since(row), _imports.c.state.in_(ENDED), _lists_posts())
        .order_by(_moment(), _imports.c.import_id)
        .limit(1)
    ).one_or_none()
    if following is not None:
        _note(conn, following, now)


def find(
    conn: Connection,
    *,
    hashtag: str | None = None,
    collection: str | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> list[Gap]:
    """Gaps, the latest first; `hashtag` is a tag's key, `since` keeps those that ended at that time or later."""
    query = select(_gaps).order_by(_gaps.c.until_at.desc(), _gaps.c.import_id)
    if hashtag is not None:
        query = query.where(_gaps.c.hashtag == hashtag)
    if collection is not None:
        query = query.where(_gaps.c.collection == collection)
    if since is not None:
        query = query.where(_gaps.c.until_at >= since)
    return [Gap(**row._mapping) for row in conn.execute(query.limit(limit))]


def _note(conn: Connection, row: Row[Any], now: datetime) -> None:
    overlap = _overlap(conn, row)
    if overlap is None or overlap.shared > 0:
        conn.execute(delete(_gaps).where(_gaps.c.import_id == row.import_id))
        return
    insert = insert_into(_gaps).values(
        import_id=row.import_id,
        previous_import_id=overlap.previous_import_id,
        hashtag=row.hashtag,
        collection=row.collection,
        library=row.library,
        from_at=overlap.from_at,
        until_at=overlap.until_at,
        noted_at=now,
    )
    changed = {name: insert.excluded[name] for name in ("previous_import_id", "from_at", "until_at")}
    conn.execute(insert.on_conflict_do_update(index_elements=["import_id"], set_=changed))


def _overlap(conn: Connection, row: Row[Any]) -> Overlap | None:
    """None for the first import that lists anything, and for one that lists nothing."""
    before = conn.execute(
        select(_imports)
        .where(
            *_alike(row),
            or_(_moment() < _since(row), and_(_moment() == _since(row), _imports.c.import_id < row.import_id)),
            _imports.c.state.in_(ENDED),
            _lists_posts(),
        )
        .order_by(_moment().desc(), _imports.c.import_id.desc())
        .limit(1)
    ).one_or_none()
    if before is None:
        return None
    ours = _items.alias("ours")
    again = exists().where(ours.c.import_id == row.import_id, same_post(ours.c, _items.c))
    listed = select(func.count()).select_from(_items).where(_items.c.post_id.is_not(None))
    if not conn.execute(listed.where(_items.c.import_id == row.import_id)).scalar_one():
        return None
    of_previous: int = conn.execute(listed.where(_items.c.import_id == before.import_id)).scalar_one()
    shared: int = conn.execute(listed.where(_items.c.import_id == before.import_id, again)).scalar_one()
    return Overlap(
        row.import_id, before.import_id, shared, of_previous - shared, from_at=_since(before), until_at=_since(row)
    )


def _alike(row: Row[Any]) -> tuple[ColumnElement[bool], ...]:
    """Imports of the same hashtag and library that a run of the same collection bought, or used as well."""
    return (
        _imports.c.kind == "hashtag",
        _imports.c.hashtag == row.hashtag,
        _imports.c.library == row.library,
        filters.of_collection(row.collection),
        _imports.c.import_id != row.import_id,
    )


def _lists_posts() -> ColumnElement[bool]:
    return exists().where(_items.c.import_id == _imports.c.import_id, _items.c.post_id.is_not(None))


def _moment() -> ColumnElement[datetime]:
    return func.coalesce(_imports.c.submitted_at, _imports.c.planned_at)


def _since(row: Row[Any]) -> datetime:
    moment: datetime = row.submitted_at or row.planned_at
    return moment
