"""Which collection pays for a post where no run of a collection asked for it: the one that found it first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from blocks.database.store import spend
from blocks.database.store.statements import chunks, posts_among, table_of
from blocks.database.tables import Import, ImportItem, Run, RunPost

_imports, _items, _runs, _run_posts = table_of(Import), table_of(ImportItem), table_of(Run), table_of(RunPost)

Key = tuple[str, str]

_listings: Select[Any] = select(
    _items.c.platform, _items.c.post_id, _imports.c.collection, _items.c.first_seen_at.label("found_at")
).join(_imports, _imports.c.import_id == _items.c.import_id)
"""Each post of each import: its key, the import's collection, and when it was listed."""

_givings: Select[Any] = select(
    _run_posts.c.platform, _run_posts.c.post_id, _runs.c.collection, _runs.c.started_at.label("found_at")
).join(_runs, _runs.c.run_id == _run_posts.c.run_id)
"""Each post of each run that was given it: its key, the run's collection (of a run over all: null), and its start."""


def payers(conn: Connection, keys: Sequence[Key]) -> dict[Key, str]:
    """The collection that found each post first; a post that none found is not among them."""
    found: dict[Key, tuple[datetime, str]] = {}
    for part in chunks(keys):
        among = posts_among(_items.c.platform, _items.c.post_id, part)
        _keep_first(found, conn.execute(_first_by_collection(_listings.where(among))))
        among = posts_among(_run_posts.c.platform, _run_posts.c.post_id, part)
        by_url = _givings.where(among, _runs.c.collection.is_not(None), _run_posts.c.purpose == "enrich")
        _keep_first(found, conn.execute(_first_by_collection(by_url)))
    return {key: collection for key, (_, collection) in found.items()}


def _first_by_collection(which: Select[Any]) -> Select[Any]:
    of = which.subquery().c
    by = (of.platform, of.post_id, of.collection)
    return select(*by, func.min(of.found_at).label("found_at")).group_by(*by)


def _keep_first(found: dict[Key, tuple[datetime, str]], rows: Iterable[Any]) -> None:
    for row in rows:
        one, key = (row.found_at, row.collection), (row.platform, row.post_id)
        found[key] = min(found.get(key, one), one)


def left_by_collection(conn: Connection, names: Iterable[str], cap_micros: int | None) -> dict[str, int]:
    """What each of these collections may still spend, in millionths of a US dollar; without a cap: nothing is told."""
    if cap_micros is None:
        return {}
    return {name: max(0, cap_micros - spend.used_micros(conn, f"collection:{name}")) for name in sorted(set(names))}
