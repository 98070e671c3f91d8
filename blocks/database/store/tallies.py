"""What a UTC day and a run called, what that cost, and what it brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, FromClause, and_, case, exists, func, select, union

from blocks.database.store import filters as conditions
from blocks.database.store import spend
from blocks.database.store.filters import Filters
from blocks.database.store.spend import RunSpend
from blocks.database.store.statements import same_post, table_of
from blocks.database.tables import ImportItem, Post, Run, RunImport, RunPost

_items, _posts = table_of(ImportItem), table_of(Post)
_runs, _run_imports, _run_posts = table_of(Run), table_of(RunImport), table_of(RunPost)


@dataclass(frozen=True, slots=True)
class Tally:
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


def of_day(conn: Connection, now: datetime, collection: str | None = None) -> Tally:
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
    again = union(listed, given).subquery()
    known = _count_rows(conn, again.join(_posts, same_post(_posts.c, again.c)), _posts.c.first_seen_at < start, *theirs)
    new = _count_rows(conn, _posts, _posts.c.first_seen_at >= start, *theirs)
    enriched = _count_rows(conn, _posts, _posts.c.enriched_at >= start, *theirs)
    return _tally(spend.totals_of_day(conn, spend.day_of(now), collection), new, known, enriched)


def of_run(conn: Connection, run_id: str, started_at: datetime) -> Tally:
    """One run; it may be under way."""
    of_imports = select(_run_imports.c.import_id).where(_run_imports.c.run_id == run_id)
    brought = and_(_items.c.import_id.in_(of_imports), _items.c.was_new, _items.c.first_seen_at >= started_at)
    listed = select(_items.c.platform, _items.c.post_id).where(
        _items.c.import_id.in_(of_imports), _items.c.post_id.is_not(None), ~brought
    )
    given = select(_run_posts.c.platform, _run_posts.c.post_id).where(_run_posts.c.run_id == run_id)
    again = union(listed, given).subquery()
    is_new = _posts.c.first_seen_at >= started_at
    counted_already = exists().where(same_post(_items.c, _posts.c), brought)
    others = select(func.count(case((~is_new, 1))), func.count(case((and_(is_new, ~counted_already), 1))))
    known, more = conn.execute(others.select_from(again.join(_posts, same_post(_posts.c, again.c)))).one()
    new = more + _count_rows(conn, _items, brought, _items.c.post_id.is_not(None))
    enriched = _count_rows(conn, _posts, _posts.c.enriched_at >= started_at, _posts.c.run_id == run_id)
    return _tally(spend.totals(conn, run_id), new, known, enriched)


def _count_rows(conn: Connection, rows: FromClause, *which: ColumnElement[bool]) -> int:
    return conn.execute(select(func.count()).select_from(rows).where(*which)).scalar_one()


def _tally(money: RunSpend, new: int, known: int, new_enriched: int) -> Tally:
    return Tally(
        calls=money.named_calls,
        spent_micros=money.counted_micros,
        new_posts=new,
        known_posts=known,
        new_enriched=new_enriched,
        usd_per_1000_new=spend.cost_per_1000_new(money.counted_micros, new_enriched),
    )
