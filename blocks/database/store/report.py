"""What a report asks beside its posts: imports and what they listed, failures, spend, findings, what was changed since.

Everything is told as it was known at `as_of`, as far as the database still knows that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, case, exists, func, or_, select

from blocks.database.store import contract
from blocks.database.store import filters as conditions
from blocks.database.store.filters import Filters
from blocks.database.store.known import SERVICE
from blocks.database.store.statements import same_post, table_of
from blocks.database.tables import Erased, Failure, Import, ImportItem, Post, RawFetch, Run, Snapshot, Spend

_runs, _spend, _imports, _items = table_of(Run), table_of(Spend), table_of(Import), table_of(ImportItem)
_failures, _posts, _snapshots = table_of(Failure), table_of(Post), table_of(Snapshot)
_erased, _fetches = table_of(Erased), table_of(RawFetch)

MAX_IMPORTS = 200
"""So many imports are looked into and shown, the newest; older ones are counted."""


@dataclass(frozen=True, slots=True)
class SpendTotal:
    """What one kind of call cost; `calls` made (metadata) or posts listed (import), amounts in millionths of a USD.

    `reserved_micros` are reserved and not settled: under way, or left behind by a run that was killed.
    """

    kind: str
    platform: str | None
    channel: str | None
    calls: int
    spent_micros: int
    reserved_micros: int


def spending(conn: Connection, collection: str, since: datetime | None, as_of: datetime) -> list[SpendTotal]:
    """What a collection spent, on UTC days from that of `since` on."""
    by = (_spend.c.kind, _spend.c.platform, _spend.c.channel)
    settled = and_(_spend.c.spent_micros.is_not(None), _spend.c.settled_at <= as_of)
    spent = func.coalesce(func.sum(case((settled, _spend.c.spent_micros))), 0)
    reserved = func.coalesce(func.sum(case((settled, None), else_=_spend.c.reserved_micros)), 0)
    calls = func.coalesce(func.sum(case((settled, _spend.c.calls))), 0)
    query = (
        select(*by, calls, spent, reserved)
        .where(_spend.c.collection == collection, _spend.c.reserved_at <= as_of)
        .group_by(*by)
        .order_by(*by)
    )
    if since is not None:
        query = query.where(_spend.c.day >= since.astimezone(UTC).date().isoformat())
    return [SpendTotal(*line[:3], *(int(number) for number in line[3:])) for line in conn.execute(query)]


def findings(conn: Connection, collection: str) -> dict[str, dict[str, Any]]:
    """What `doctor --live` found on the accounts that a collection used: point → {verdict, said, at}.

    Where accounts differ, what contradicts comes first.
    """
    query = select(_runs.c.account).where(_runs.c.collection == collection, _runs.c.account.is_not(None)).distinct()
    found: dict[str, dict[str, Any]] = {}
    for account in sorted(conn.execute(query).scalars()):
        for point, finding in contract.findings(conn, account).items():
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
    first here), `oldest_at` and `newest_at` are when its posts were posted."""

    import_id: str
    kind: str
    hashtag: str | None
    library: str
    state: str
    task_id: str | None
    requested: int
    submitted_at: datetime | None
    finished_at: datetime | None
    listed: int = 0
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
        found.lines.append(ImportLine(*of_row, row.task_id if sent else None, row.requested, sent, finished))
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
