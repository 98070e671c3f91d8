"""Erases posts, and everything that is stored about them: rows, raw answers, comments, and creators without posts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    tuple_,
    update,
)
from sqlmodel import SQLModel

from blocks.database import tables
from blocks.database.store import erased, leases
from blocks.database.store.statements import chunks, posts_among, same_post, table_of
from blocks.database.tables import (
    Creator,
    Failure,
    Import,
    ImportItem,
    Post,
    RawFetch,
    RawPayload,
    RunImport,
    RunPost,
    Work,
)

Key = tuple[str, str]

_ = tables  # Imported for its effect: the tables register themselves in the metadata.

_posts, _creators, _items, _work = table_of(Post), table_of(Creator), table_of(ImportItem), table_of(Work)
_imports, _fetches, _payloads = table_of(Import), table_of(RawFetch), table_of(RawPayload)
_failures, _run_imports, _run_posts = table_of(Failure), table_of(RunImport), table_of(RunPost)


_SILENT = timedelta(hours=1)
"""So long after its end a lease may still be taken up again; clocks of machines that differ are well within it."""


def tables_of_posts() -> list[Table]:
    """Every table whose rows are about one post each, tables of later versions among them."""
    return [table for table in SQLModel.metadata.sorted_tables if {"platform", "post_id"} <= set(table.c.keys())]


def erase_posts(
    conn: Connection, keys: Sequence[Key], *, now: datetime, on_request: bool, dry_run: bool = False
) -> Counter[str]:
    """Erase all rows about posts, given as (platform, post_id); how many, by table.

    Raw answers go unless another post's answer has the very same bytes; creators go with their last post. With
    `on_request` the posts stay out from now on, and imports count them as withheld. Money stays in the books.
    Otherwise posts that a run has in hand are left out: a later purge finds them, unless they are measured meanwhile.
    `dry_run`: count only.
    """
    gone: Counter[str] = Counter()
    for part in chunks(sorted(set(keys))):
        part = part if on_request else _idle(conn, part, now, dry_run=dry_run)
        gone += _erase(conn, part, now=now, on_request=on_request, dry_run=dry_run)
    return gone


def _erase(conn: Connection, keys: Sequence[Key], *, now: datetime, on_request: bool, dry_run: bool) -> Counter[str]:
    gone: Counter[str] = Counter()
    theirs = posts_among(_posts.c.platform, _posts.c.post_id, keys)
    authors = conn.execute(
        select(_posts.c.platform, _posts.c.author_id).where(theirs, _posts.c.author_id.is_not(None)).distinct()
    ).all()
    answers = posts_among(_fetches.c.platform, _fetches.c.post_id, keys)
    hashes = list(conn.execute(select(_fetches.c.raw_sha256).where(answers).distinct()).scalars())
    # Before the rows are gone: whatever refers to them only through another post stays.
    for part in chunks(hashes):
        other = _fetches.alias("other")
        of_others = exists().where(
            other.c.raw_sha256 == _payloads.c.sha256,
            not_(posts_among(cast(Any, other.c.platform), cast(Any, other.c.post_id), keys)),
        )
        gone["raw_payloads"] += _remove_payloads(conn, and_(_payloads.c.sha256.in_(part), ~of_others), dry_run=dry_run)
    if on_request and not dry_run:
        _withhold(conn, keys)
        erased.remember(conn, "post", keys, now)
    for table in tables_of_posts():
        if table is not _posts:
            gone[table.name] += remove(
                conn, table, posts_among(table.c.platform, table.c.post_id, keys), dry_run=dry_run
            )
    for platform, author_id in authors:
        left = exists().where(
            _posts.c.platform == platform,
            _posts.c.author_id == author_id,
            not_(posts_among(_posts.c.platform, _posts.c.post_id, keys)),
        )
        them = and_(_creators.c.platform == platform, _creators.c.author_id == author_id)
        gone["creators"] += remove(conn, _creators, them, ~left, dry_run=dry_run)
    gone["posts"] += remove(conn, _posts, theirs, dry_run=dry_run)
    return +gone


def _idle(conn: Connection, keys: Sequence[Key], now: datetime, *, dry_run: bool) -> list[Key]:
    """Those of the posts that no run has in hand, locked so that none claims them meanwhile: posts first, as all do."""
    theirs = posts_among(_posts.c.platform, _posts.c.post_id, keys)
    if not dry_run:
        in_order = select(_posts.c.post_id).where(theirs).order_by(_posts.c.platform, _posts.c.post_id)
        conn.execute(in_order.with_for_update())
        of_theirs = select(_work.c.post_id).where(posts_among(_work.c.platform, _work.c.post_id, keys))
        conn.execute(of_theirs.order_by(_work.c.platform, _work.c.post_id, _work.c.purpose).with_for_update())
    query = select(_posts.c.platform, _posts.c.post_id).where(theirs, not_(_in_use(conn, now)))
    return [(row.platform, row.post_id) for row in conn.execute(query)]


def _in_use(conn: Connection, now: datetime) -> ColumnElement[bool]:
    """The condition that a row of `posts` is of a post that a run buys, or was given, or has listed, and still counts.

    A holder that renews its lease lives; one that was killed keeps no post for ever.
    """
    claimed = exists().where(
        same_post(_work.c, _posts.c), _work.c.state == "claimed", _work.c.lease_until > now - _SILENT
    )
    living = leases.living_runs(conn)
    given = exists().where(same_post(_run_posts.c, _posts.c), _run_posts.c.run_id.in_(living))
    listed = exists().where(
        same_post(_items.c, _posts.c),
        _run_imports.c.import_id == _items.c.import_id,
        _run_imports.c.run_id.in_(living),
    )
    return or_(claimed, given, listed)


def _withhold(conn: Connection, keys: Sequence[Key]) -> None:
    """What an import listed (and billed) and is not kept is counted on it, so that its cost stays true."""
    those = posts_among(_items.c.platform, _items.c.post_id, keys)
    new = func.count(case((_items.c.was_new, 1)))
    query = select(_items.c.import_id, func.count(), new).where(those).group_by(_items.c.import_id)
    for import_id, count, of_them_new in conn.execute(query.order_by(_items.c.import_id)).all():
        values = {
            "withheld": _imports.c.withheld + count,
            "seen": _imports.c.seen - count,
            "new": _imports.c.new - of_them_new,
            "known": _imports.c.known - (count - of_them_new),
        }
        conn.execute(update(_imports).where(_imports.c.import_id == import_id).values(values))


def remove(conn: Connection, table: Table, *where: ColumnElement[bool], dry_run: bool) -> int:
    """Delete rows, or only count them; how many."""
    if dry_run:
        found: int = conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one()
        return found
    return conn.execute(delete(table).where(*where)).rowcount


def erase_answers_before(conn: Connection, cutoff: datetime, *, limit: int, dry_run: bool = False) -> Counter[str]:
    """Erase up to `limit` rows a table of what was measured before `cutoff`: snapshots, raw answers, comments.

    Rows of the posts themselves are not touched. `dry_run`: count all of them.
    """
    gone: Counter[str] = Counter()
    for name, column in (("snapshots", "observed_at"), ("raw_fetches", "fetched_at"), ("comments", "observed_at")):
        table = SQLModel.metadata.tables[name]
        # A post that goes as a whole has been counted with all of its rows.
        kept = exists().where(same_post(_posts.c, table.c), measured_or_seen() >= cutoff)
        old = and_(table.c[column] < cutoff, kept)
        gone[name] += remove(conn, table, old if dry_run else _first(table, old, limit), dry_run=dry_run)
    if dry_run:
        fetch = _fetches.alias("fetch")
        kept = exists().where(same_post(_posts.c, fetch.c), measured_or_seen() >= cutoff)
        of_payload = fetch.c.raw_sha256 == _payloads.c.sha256
        goes = and_(fetch.c.fetched_at < cutoff, kept)
        unused = and_(exists().where(of_payload, goes), ~exists().where(of_payload, not_(goes)))
    else:
        # What an import answered and nobody could read belongs to its failure, and goes after it.
        of_failure = and_(_failures.c.raw_sha256 == _payloads.c.sha256, _failures.c.post_id.is_(None))
        unused = ~or_(exists().where(_fetches.c.raw_sha256 == _payloads.c.sha256), exists().where(of_failure))
    gone["raw_payloads"] += _remove_payloads(conn, unused, limit=limit, dry_run=dry_run)
    return +gone


def _remove_payloads(conn: Connection, unused: ColumnElement[bool], *, limit: int | None = None, dry_run: bool) -> int:
    """Delete payloads (`limit` at most) that nothing refers to any more, or only count them; how many.

    `save_raw` locks those that it finds stored. A deletion that waited for it would still not see its answer: so they
    are locked first, and what is unused is looked up anew by the statement that deletes.
    """
    if dry_run:
        return remove(conn, _payloads, unused, dry_run=True)
    of_interest = select(_payloads.c.sha256).where(unused).order_by(_payloads.c.sha256).limit(limit).with_for_update()
    locked = list(conn.execute(of_interest).scalars())
    return sum(remove(conn, _payloads, _payloads.c.sha256.in_(part), unused, dry_run=False) for part in chunks(locked))


def _first(table: Table, condition: ColumnElement[bool], limit: int) -> ColumnElement[bool]:
    """The condition for so many of the rows, so that no transaction grows too large."""
    key = list(table.primary_key.columns)
    wanted: Any = select(*key).where(condition).limit(limit)
    return tuple_(*key).in_(wanted)


def measured_or_seen() -> ColumnElement[datetime]:
    """When a post was last measured; one that never was: last listed."""
    return func.coalesce(_posts.c.observed_at, _posts.c.last_seen_at)


def old_posts(conn: Connection, cutoff: datetime, after: Key, limit: int) -> list[Key]:
    """Keys of posts that were last measured (never measured: last listed) before `cutoff`, behind the key `after`.

    A post that a run has in hand is among them; `erase_posts` leaves it out.
    """
    return _page(conn, measured_or_seen() < cutoff, after, limit)


def posts_of_creator(
    conn: Connection,
    platform: str | None,
    names: Sequence[str],
    written: Sequence[str],
    author_ids: Sequence[Key],
    after: Key,
    limit: int,
) -> list[Key]:
    """Keys of a creator's posts behind the key `after`: by id, user name as `written`, or handle in a TikTok URL."""
    by_name: list[ColumnElement[bool]] = [_posts.c.author_username.in_(list(written))]
    for name in names:
        handle = f"https://www.tiktok.com/@{name}/"
        by_name += [
            func.lower(column).startswith(handle, autoescape=True) for column in (_posts.c.url, _posts.c.source_url)
        ]
    where: ColumnElement[bool] = (
        or_(*by_name) if platform is None else and_(_posts.c.platform == platform, or_(*by_name))
    )
    by_id = posts_among(_posts.c.platform, _posts.c.author_id, author_ids)
    return _page(conn, or_(where, by_id), after, limit)


def _page(conn: Connection, where: ColumnElement[bool], after: Key, limit: int) -> list[Key]:
    behind = or_(_posts.c.platform > after[0], and_(_posts.c.platform == after[0], _posts.c.post_id > after[1]))
    query = select(_posts.c.platform, _posts.c.post_id).where(where, behind)
    return [(row[0], row[1]) for row in conn.execute(query.order_by(_posts.c.platform, _posts.c.post_id).limit(limit))]
