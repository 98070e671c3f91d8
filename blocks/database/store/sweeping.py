"""What nobody works on any more: imports under way and pending posts of an account, taken up by a sweep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, and_, exists, func, or_, select

from blocks.database.store import imports as ledger
from blocks.database.store import inbox, leases, leftovers, payers, runs, spend
from blocks.database.store.import_rows import OpenImport, items, read, run_imports
from blocks.database.store.import_rows import imports as imports_table
from blocks.database.store.imports import FoundPost, Ticket
from blocks.database.store.statements import insert_into, same_post, table_of, write_rows
from blocks.database.store.work import OPEN_WORK
from blocks.database.tables import Post, RawFetch, Run, Work
from blocks.posts.record import PostRef

_posts, _work, _runs, _fetches = table_of(Post), table_of(Work), table_of(Run), table_of(RawFetch)


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What a sweep takes up: imports to be followed, and posts that were listed or given and never bought."""

    tickets: list[Ticket]
    posts: list[FoundPost]
    held: dict[str, datetime] = field(default_factory=dict)
    """Imports that another run seems to follow, with the end of its lease: renewed later, it lives."""
    called_back: frozenset[str] = frozenset()
    """Those of the tickets that had ended, before a callback told of more."""


def take_up(
    conn: Connection,
    *,
    run_id: str,
    account: str,
    now: datetime,
    cheapest_micros: Mapping[str, int] | None = None,
    owner: str | None = None,
    leave: Collection[str] = (),
    most_posts: int = 5000,
) -> LeftOver:
    """Write down for a run every import of the account that is under way, and every pending post of its runs.

    Under way are submitted and collecting imports, `empty` ones that are due to be looked at again, and ended ones
    about which a callback brought news since; polling is free, so that it does not matter whose they are. Those that
    another run than `owner`'s seems to follow are left out, with their posts. What was being sent by a holder that is
    dead becomes `ambiguous` by this, and is left alone. So are planned imports: a sweep submits nothing, and whoever
    planned them (a cap halted that run, or its user gave it up) takes them up by the same command.

    Posts are those that a run asked for which a person did not stop, which does not live, and whose cap leaves room
    for one more call (`cheapest_micros`, by platform), and those whose answer is stored and not parsed; requests of
    the runs in `leave` are left alone. `most_posts` 0 asks for none. Where there are more, each request has its share.
    What runs that are over had reserved for imports that they never sent is given back.
    """
    ledger.recover_sending(conn, account=account)
    called_back = _called_back(conn, account)
    running = [row for row in ledger.open_imports(conn, account, now=now) if row.state not in ("planned", "sending")]
    rows, held = _free(conn, {row.import_id: row for row in (*running, *called_back)}.values(), now=now, owner=owner)
    write_rows(
        conn,
        insert_into(conn.dialect.name, run_imports).on_conflict_do_nothing(),
        [{"run_id": run_id, "import_id": row.import_id, "how": "attached"} for row in rows],
    )
    others = leases.living_runs(conn) | set(leave)
    posts = _pending_posts(conn, account, others, held, cheapest_micros or {}, most_posts) if most_posts else []
    runs.take_posts(conn, run_id, [(post.ref, post.source_url) for post in posts], now=now, asks=False)
    # Last of all: the day's total, which it locks, is shared by all.
    leftovers.release_unsent(conn, account, now)
    tickets = [
        Ticket(
            import_id=row.import_id,
            how="attached",
            state=row.state,
            planned_at=row.planned_at,
            since=row.since,
            task_id=row.task_id,
            requested=row.requested,
        )
        for row in rows
    ]
    return LeftOver(tickets, posts, held, frozenset(row.import_id for row in called_back))


def _free(
    conn: Connection, rows: Iterable[OpenImport], *, now: datetime, owner: str | None
) -> tuple[list[OpenImport], dict[str, datetime]]:
    """The imports that nobody else follows, and the ends of the others' leases."""
    # Leases go by the database's clock; on SQLite that is the caller's.
    at = now if conn.dialect.name == "sqlite" else leases.clock(conn)
    free, held = [], {}
    for row in rows:
        if row.lease_until is None or leases.is_free(row.lease_owner, row.lease_until, now=at, me=owner):
            free.append(row)
        else:
            held[row.import_id] = row.lease_until
    return free, held


def _called_back(conn: Connection, account: str) -> list[OpenImport]:
    """Ended imports with news by callback, open again."""
    news = read(conn, imports_table.c.account == account, inbox.worth_a_look(), lock=True)
    for row in news:
        # What ended `empty` is opened by whoever follows it.
        ledger.reopen(conn, row.import_id)
    return [ledger.get(conn, row.import_id) for row in news]


def _pending_posts(
    conn: Connection,
    account: str,
    others: Collection[str],
    followed: Collection[str],
    cheapest_micros: Mapping[str, int],
    most_posts: int,
) -> list[FoundPost]:
    of_followed = exists().where(same_post(items.c, _work.c), items.c.import_id.in_(followed))
    unbought = and_(_work.c.purpose == "enrich", OPEN_WORK, ~of_followed)
    of_account = and_(_runs.c.account == account, _runs.c.run_id.not_in(others))
    to_buy = and_(_runs.c.stopped_at.is_(None), spend.has_room(_work.c.platform, cheapest_micros))
    # An answer that is paid for is parsed also where nothing more is to be bought.
    to_parse = exists().where(
        same_post(_fetches.c, _work.c), _fetches.c.purpose == _work.c.purpose, _fetches.c.parsed_at.is_(None)
    )
    turn = func.row_number().over(partition_by=_runs.c.run_id, order_by=(_work.c.platform, _work.c.post_id))
    pending = (
        select(_posts.c.platform, _posts.c.post_id, _posts.c.url, _posts.c.shortcode, _posts.c.source_url)
        .add_columns(_runs.c.collection)
        .join(_work, same_post(_work.c, _posts.c))
        .join(_runs, _runs.c.run_id == _work.c.asked_by)
        .where(unbought, of_account, or_(to_buy, to_parse))
        .order_by(turn, _work.c.platform, _work.c.post_id)
        .limit(most_posts)
    )
    rows = sorted(conn.execute(pending), key=lambda row: (row.platform, row.post_id))
    # A run over all collections has none: then whoever found the post first pays.
    payer = payers.payers(conn, [(row.platform, row.post_id) for row in rows if row.collection is None])
    return [
        FoundPost(
            PostRef(row.platform, row.post_id, row.url, row.shortcode),
            row.source_url,
            collection=row.collection or payer.get((row.platform, row.post_id)),
        )
        for row in rows
    ]
