"""Work that nobody does any more: taken up by a sweep, held by a person's stop, or left behind by runs that are over.

What says nothing any more is dropped, and money that nothing was bought for is given back, so that none stays for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, or_, select, update

from blocks.database.store import failures, inbox, leases, money, posts, runs
from blocks.database.store import imports as ledger
from blocks.database.store.failures import GivenUp
from blocks.database.store.import_planning import Ticket
from blocks.database.store.imports import FoundPost, imports, items, read, run_imports
from blocks.database.store.statements import (
    Key,
    chunks,
    insert_missing,
    posts_among,
    same_post,
    table_of,
)
from blocks.database.store.work import OPEN_WORK
from blocks.database.tables import Import, Post, RawFetch, Run, RunPost, Snapshot, Spend, Work
from blocks.posts.identity import item_key
from blocks.posts.record import PostRef
from blocks.posts.snapshot_plan import SnapshotPlan

_posts = table_of(Post)
_snapshots = table_of(Snapshot)
_work = table_of(Work)
_fetches = table_of(RawFetch)
_run_posts = table_of(RunPost)
_spend = table_of(Spend)
_runs = table_of(Run)


def drop_missed(conn: Connection, plan: SnapshotPlan, now: datetime) -> int:
    """Drop work that was begun, and not done before the window of its checkpoint closed; how much.

    Killed and halted refreshes leave it behind. An answer that is paid for, and not parsed yet, keeps its work, and
    so does what a run under way has to account for.
    """
    open_ = (
        exists().where(
            same_post(_posts.c, _work.c),
            _work.c.purpose == checkpoint.purpose,
            _posts.c.posted_at > now - timedelta(seconds=checkpoint.ends_seconds),
        )
        for checkpoint in plan.checkpoints
    )
    paid = exists().where(
        same_post(_fetches.c, _work.c), _fetches.c.purpose == _work.c.purpose, _fetches.c.parsed_at.is_(None)
    )
    of_plan = [purpose for purpose in leases.purposes(conn) if purpose.startswith("refresh:")]
    unsettled = and_(_work.c.purpose.in_(of_plan), _work.c.state.in_(("pending", "claimed")))
    unheld = or_(_work.c.state == "pending", _work.c.lease_until < now)
    which = (unsettled, unheld, ~paid, ~_of_living_run(conn), *(~each for each in open_))
    return conn.execute(delete(_work).where(*which)).rowcount


def drop_unanswered(conn: Connection, keys: Sequence[tuple[str, str]], plan: SnapshotPlan, now: datetime) -> int:
    """Drop work of these posts that is done, though no snapshot answers its checkpoint; how much.

    So it is where a post proves to be of another age: its checkpoint is still to come, or open again.
    """
    dropped = 0
    for checkpoint in plan.checkpoints:
        answered = exists().where(same_post(_snapshots.c, _work.c), _snapshots.c.target_age == checkpoint.age_seconds)
        which = (_work.c.purpose == checkpoint.purpose, _work.c.state == "done", ~answered, ~_of_living_run(conn))
        for part in chunks(keys):
            among = posts_among(_work.c.platform, _work.c.post_id, part)
            dropped += conn.execute(delete(_work).where(among, *which)).rowcount
    return dropped


def release_unsent(conn: Connection, account: str, now: datetime) -> int:
    """Give back what runs that are over had reserved for imports, and never sent one with; how many reservations.

    A run that is killed between the reservation and the ledger's `sending` leaves one behind, whatever became of the
    import before or since. Money that an import was sent with may be of an ambiguous submission, and stays. Taken are
    reservations of one run, collection and day at a time: totals are locked in one order by all transactions.
    """
    over = _spend.c.run_id.not_in(leases.living_runs(conn))
    unsent = (_spend.c.kind == "import", _spend.c.settled_at.is_(None), _spend.c.sent_at.is_(None))
    query = select(_spend).where(_spend.c.account == account, *unsent, over)
    rows = conn.execute(query.order_by(_spend.c.reserved_at, _spend.c.spend_id)).all()
    alike = [row for row in rows if _counted_under(row) == _counted_under(rows[0])]
    return sum(money.release(conn, row.spend_id, now=now) for row in alike)


def _counted_under(row: Any) -> tuple[Any, ...]:
    return row.run_id, row.collection, row.day


def _of_living_run(conn: Connection) -> ColumnElement[bool]:
    """A run that has not ended counts the work's state among its own."""
    return exists().where(
        same_post(_run_posts.c, _work.c),
        _run_posts.c.purpose == _work.c.purpose,
        _run_posts.c.run_id.in_(leases.living_runs(conn)),
    )


@dataclass(frozen=True, slots=True)
class StaleWork:
    """What a sweep takes up: imports to be followed, and posts that were listed or given and never bought."""

    tickets: list[Ticket]
    posts: list[FoundPost]
    held: dict[str, datetime] = field(default_factory=dict)
    """Imports that another run seems to follow, with the end of its lease: renewed later, it lives."""
    called_back: frozenset[str] = frozenset()
    """Those of the tickets that had ended, before a callback announced more."""


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
) -> StaleWork:
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
    _attach(conn, run_id, rows)
    others = leases.living_runs(conn) | set(leave)
    posts = _pending_posts(conn, account, others, held, cheapest_micros or {}, most_posts) if most_posts else []
    runs.take_posts(conn, run_id, [(post.ref, post.source_url) for post in posts], now=now, asks=False)
    # Last of all: the day's total, which it locks, is shared by all.
    release_unsent(conn, account, now)
    return StaleWork([_ticket(row) for row in rows], posts, held, frozenset(row.import_id for row in called_back))


def _free(
    conn: Connection, rows: Iterable[Import], *, now: datetime, owner: str | None
) -> tuple[list[Import], dict[str, datetime]]:
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


def _called_back(conn: Connection, account: str) -> list[Import]:
    """Ended imports with news by callback, open again."""
    news = read(conn, imports.c.account == account, inbox.worth_a_look(), lock=True)
    # What ended `empty` is opened by whoever follows it.
    return [ledger.reopen(conn, row.import_id) or row for row in news]


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
    to_buy = and_(_runs.c.stopped_at.is_(None), money.has_room(_work.c.platform, cheapest_micros))
    # An answer that is paid for is parsed also where nothing more is to be bought.
    to_parse = exists().where(
        same_post(_fetches.c, _work.c), _fetches.c.purpose == _work.c.purpose, _fetches.c.parsed_at.is_(None)
    )
    place = func.row_number().over(partition_by=_runs.c.run_id, order_by=(_work.c.platform, _work.c.post_id))
    pending = (
        _asked_for.where(unbought, of_account, or_(to_buy, to_parse))
        .order_by(place, _work.c.platform, _work.c.post_id)
        .limit(most_posts)
    )
    return _with_payers(conn, sorted(conn.execute(pending), key=lambda row: (row.platform, row.post_id)))


_asked_for = (
    select(_posts.c.platform, _posts.c.post_id, _posts.c.url, _posts.c.shortcode, _posts.c.source_url)
    .add_columns(_runs.c.collection)
    .join(_work, same_post(_work.c, _posts.c))
    .join(_runs, _runs.c.run_id == _work.c.asked_by)
)
"""Posts with the work on them and the run that asked for it, whose collection pays."""


def _with_payers(conn: Connection, rows: Sequence[Row[Any]]) -> list[FoundPost]:
    """The posts of rows of `_asked_for`; of a run over all collections, whoever found the post first pays."""
    without = [(row.platform, row.post_id) for row in rows if row.collection is None]
    payers = money.paying_collections(conn, without)
    return [
        FoundPost(
            PostRef(row.platform, row.post_id, row.url, row.shortcode),
            row.source_url,
            collection=row.collection or payers.get((row.platform, row.post_id)),
        )
        for row in rows
    ]


def _attach(conn: Connection, run_id: str, rows: Sequence[Import]) -> None:
    """Write down that a run follows these imports."""
    insert_missing(
        conn, run_imports, [{"run_id": run_id, "import_id": row.import_id, "how": "attached"} for row in rows]
    )


def _ticket(row: Import, *, open_only: bool = False) -> Ticket:
    return Ticket(row.import_id, "attached", row.state, row.since, row.requested, open_only)


GIVEN_UP = "GivenUp"
"""The error class of held posts that somebody gave up by hand."""


@dataclass(frozen=True, slots=True)
class Held:
    """Held posts, each with the collection that pays for it, and imports that are not at their end."""

    posts: Sequence[FoundPost]
    imports: Sequence[str]


def find_held(conn: Connection, *, account: str | None = None, collection: str | None = None) -> Held:
    """What is held, of an account and a collection, or all of it."""
    stopped = _stopped(account)
    of_collection = [] if collection is None else [imports.c.collection == collection]
    unfinished = imports.c.state.in_(("planned", *runs.UNDER_WAY))
    rows = read(conn, imports.c.asked_by.in_(stopped), unfinished, *of_collection)
    found = [one for one in _posts_held(conn, stopped) if collection in (None, one.collection)]
    return Held(found, [row.import_id for row in rows])


def count_unsent(conn: Connection, found: Held) -> int:
    """How many of the held imports were never sent."""
    return len(read(conn, imports.c.import_id.in_(found.imports), imports.c.state == "planned"))


def _stopped(account: str | None) -> Any:
    """Runs whose requests are held, and those that took up held ones before and left some: the same command goes on."""
    left = and_(_runs.c.flow == "collect-imports", ~_runs.c.sweeps, _runs.c.finished_at.is_not(None))
    of_account = [] if account is None else [_runs.c.account == account]
    return select(_runs.c.run_id).where(or_(_runs.c.stopped_at.is_not(None), left), *of_account)


def _posts_held(conn: Connection, stopped: Any) -> list[FoundPost]:
    open_work = (_work.c.purpose == "enrich", OPEN_WORK, _work.c.asked_by.in_(stopped))
    held = _asked_for.where(*open_work).order_by(_posts.c.platform, _posts.c.post_id)
    return _with_payers(conn, conn.execute(held).all())


def take_up_held(
    conn: Connection, *, run_id: str, account: str, collection: str | None, now: datetime
) -> tuple[list[Ticket], list[FoundPost]]:
    """Make what is held the request of a run: its imports, of which the planned ones are to be sent, and its posts."""
    found = find_held(conn, account=account, collection=collection)
    stopped = _stopped(account)
    of_collection = [] if collection is None else [imports.c.collection == collection]
    # Also those at their end: what they list later is to be bought, too.
    theirs = and_(imports.c.asked_by.in_(stopped), *of_collection)
    rows = [row for row in read(conn, theirs, lock=True) if row.import_id in set(found.imports)]
    conn.execute(update(imports).where(theirs).values(asked_by=run_id))
    _attach(conn, run_id, rows)
    runs.take_posts(conn, run_id, [(post.ref, post.source_url) for post in found.posts], now=now)
    return [_ticket(row, open_only=True) for row in rows], list(found.posts)


def give_up_held(conn: Connection, *, collection: str | None, now: datetime) -> tuple[int, int]:
    """Give up what is held: how many posts, and how many imports that were never sent.

    A post that was never measured is failed, by a failure that is closed; one that was is what it was before. Whoever
    names or lists them again has them bought. Imports that were sent stay: they are paid for.
    """
    found = find_held(conn, collection=collection)
    unsent = and_(imports.c.import_id.in_(found.imports), imports.c.state == "planned")
    dropped = {"state": "dropped", "finished_at": now, "note": "never sent: held, and given up by hand"}
    count = conn.execute(update(imports).where(unsent, _is_unfollowed(now)).values(dropped)).rowcount
    refs = [post.ref for post in found.posts]
    measured: set[Key] = set()
    for part in chunks([ref.key for ref in refs]):
        known = posts_among(_posts.c.platform, _posts.c.post_id, part)
        query = select(_posts.c.platform, _posts.c.post_id).where(known, _posts.c.observed_at.is_not(None))
        measured |= {(row.platform, row.post_id) for row in conn.execute(query)}
        of_part = and_(posts_among(_work.c.platform, _work.c.post_id, part), _work.c.purpose == "enrich")
        done = and_(of_part, posts_among(_work.c.platform, _work.c.post_id, sorted(measured & set(part))))
        conn.execute(update(_work).where(done).values(state="done", lease_owner=None, lease_until=None))
    never = [ref for ref in refs if ref.key not in measured]
    failed = [
        GivenUp(
            item_key=item_key(ref),
            stage="metadata",
            error_class=GIVEN_UP,
            message="held by a person's stop, and given up by hand",
            attempts=0,
            ref=ref,
            url=ref.url,
        )
        for ref in never
    ]
    posts.mark_failed(conn, failed, now)
    failures.resolve(conn, [item_key(ref) for ref in never], now, stages=("metadata",))
    for part in chunks([ref.key for ref in never]):
        # Without it the post is asked for anew by whoever comes next, however soon.
        of_part = and_(posts_among(_work.c.platform, _work.c.post_id, part), _work.c.purpose == "enrich")
        conn.execute(delete(_work).where(of_part))
    return len(refs), count


def _is_unfollowed(now: datetime) -> ColumnElement[bool]:
    return or_(imports.c.lease_until.is_(None), imports.c.lease_until <= now)
