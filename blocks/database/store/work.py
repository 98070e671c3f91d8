"""Work: what is to be bought for a post, for one purpose; claimed by lease, so that nobody buys it twice.

    pending ──claim──▶ claimed ──▶ done | failed | gone      (the ends are written with the data, by `store.posts`)
       ▲                  │
       └─ release, or the holder's lease ends

A post has a row of work for each purpose, and one measurement serves them all: while a living holder buys it for one
purpose, nobody else claims it for another.

`asked_by` is the run that asked for it last: it is bought under that run's cap, by whomever, and while that run is
stopped by a person it is held.

`now` is by itself the time by the database's clock (see `leases.clock`); tests give their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, and_, bindparam, select, update

from blocks.database.grouping import mergeable
from blocks.database.store import leases
from blocks.database.store.statements import (
    Key,
    chunks,
    insert_into,
    insert_missing,
    keyed,
    posts_among,
    table_of,
    write_rows,
)
from blocks.database.tables import Post, RawFetch, Run, Work
from blocks.posts.record import Channel, PostRef
from blocks.processes import Alive, is_alive

_work = table_of(Work)
_posts = table_of(Post)
_fetches = table_of(RawFetch)
_runs = table_of(Run)

SETTLED = ("done", "failed", "gone")

OPEN_WORK: ColumnElement[bool] = _work.c.state.in_(("pending", "claimed"))
"""The condition that a row of work is not settled."""


PAID_COUNTS = timedelta(hours=1)
"""So long an answer that a killed run stored and did not parse serves the next one, however young it wants them."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A post that the caller may buy now.

    `source_url` is the URL in the form in which it first came; `attempts` counts the calls that were made for it
    since it was last asked for anew, `tries` those that failed, by kind; `unparsed` is an answer that is paid for,
    stored and not parsed, of an age that still counts (its hash, channel and time): parse it instead of buying another.
    `asked_by` is the run under whose cap it is bought, `collection` that run's, if it has one.
    """

    ref: PostRef
    source_url: str | None
    attempts: int
    tries: dict[str, int] = field(default_factory=dict)
    unparsed: tuple[str, Channel, datetime] | None = None
    asked_by: str | None = None
    collection: str | None = None


@dataclass(slots=True)
class Claimed:
    """What came of a claim; every post that was asked for is in exactly one list.

    `claimed`: the caller's, until released or settled. `fresh`: measured lately, nothing to do. `busy`: another
    living holder has it, for this purpose or another; asked for again later it is fresh, or free. `ended`: failed or
    gone lately, with that state; not asked for again yet. `held`: a person stopped the run that asked for it, or no run
    asks for it (of a sweep's claim only).
    """

    claimed: list[WorkItem] = field(default_factory=list)
    fresh: list[PostRef] = field(default_factory=list)
    busy: list[PostRef] = field(default_factory=list)
    held: list[PostRef] = field(default_factory=list)
    ended: list[tuple[PostRef, str]] = field(default_factory=list)


def _key(ref: PostRef) -> Key:
    return ref.platform, ref.post_id


def _key_of(row: Any) -> Key:
    return row.platform, row.post_id


def _by_key(refs: Iterable[PostRef]) -> dict[Key, PostRef]:
    """Posts by key, each once, sorted: all transactions lock rows in one order."""
    return dict(sorted({_key(ref): ref for ref in refs}.items()))


def enqueue(
    conn: Connection,
    refs: Iterable[PostRef],
    purpose: str,
    *,
    asked_by: str | None = None,
    now: datetime | None = None,
) -> None:
    """Note that something is to be bought for posts; what is noted, under way or settled already stays as it is."""
    at = leases.clock(conn, now)
    new = {"purpose": purpose, "state": "pending", "asked_by": asked_by, "updated_at": at}
    rows = [{"platform": platform, "post_id": post_id, **new} for platform, post_id in _by_key(refs)]
    insert_missing(conn, _work, rows)


def ask(conn: Connection, keys: Iterable[Key], purpose: str, run_id: str, *, only_of: Any = None) -> None:
    """Make open work on posts the request of a run, which ends a hold; what is settled stays whosever it was.

    `only_of`: a condition on the work that is to be taken over from the run that asked for it before.
    """
    for part in chunks(sorted(set(keys))):
        open_ = and_(posts_among(_work.c.platform, _work.c.post_id, part), _work.c.purpose == purpose, OPEN_WORK)
        theirs = open_ if only_of is None else and_(open_, only_of)
        if conn.dialect.name == "postgresql":
            # All transactions lock rows in one order.
            order = _work.c.platform, _work.c.post_id
            conn.execute(select(_work.c.post_id).where(theirs).order_by(*order).with_for_update())
        conn.execute(update(_work).where(theirs).values(asked_by=run_id))


def claim(
    conn: Connection,
    owner: str,
    refs: Sequence[PostRef],
    purpose: str,
    *,
    fresh_after: datetime | None,
    measured_after: datetime | None = None,
    asker: str | None = None,
    sweeps: bool = False,
    now: datetime | None = None,
    alive: Alive = is_alive,
) -> Claimed:
    """Take what is to be bought for posts, all of them in one step; work that was not noted yet is noted by this.

    What is claimed is the request of the run `asker` from now on. A sweep asks for nothing: it takes what others asked
    for, but for what is held.

    What was settled at or after `fresh_after` stays as it is: a post that was measured since then is `fresh`, one
    that failed or was gone since then has `ended`. What was settled before is asked for anew, whatever came of it.
    None: what is settled stays settled for ever (a checkpoint of the snapshot plan), and a post that was measured
    at or after `measured_after`, for whatever purpose, is `fresh`. Failures are taken up sooner by `requeue` only.
    """
    at = leases.clock(conn, now)
    found = Claimed()
    alive = cache(alive)
    for part in chunks(list(_by_key(refs).items())):
        posts, others = _guard(conn, [key for key, _ in part])
        found.busy += [ref for key, ref in part if key in others]
        wanted = {key: ref for key, ref in part if key not in others}
        noted = _work_on(conn, list(wanted))
        noted_here = {_key_of(row) for row in noted if row.purpose == purpose}
        enqueue(conn, [ref for key, ref in wanted.items() if key not in noted_here], purpose, now=at)
        elsewhere = {
            _key_of(row)
            for row in noted
            if row.purpose != purpose
            and row.state == "claimed"
            and not leases.is_free(row.lease_owner, row.lease_until, now=at, me=owner, alive=alive)
        }
        rows = _lock(conn, list(wanted), purpose, skip=True)
        askers = _askers(conn, {row.asked_by for row in rows.values()}) if sweeps else {}
        stopped = [key for key, row in rows.items() if sweeps and _is_held(row.asked_by, askers)]
        # An answer that is paid for is parsed also where nothing more is to be bought.
        stored = _unparsed(conn, stopped, purpose, None)
        anew: list[Key] = []
        again: list[Key] = []
        surely_done: list[Key] = []
        for key, ref in wanted.items():
            row = rows.get(key)
            if row is None or (
                row.state == "claimed"
                and not leases.is_free(row.lease_owner, row.lease_until, now=at, me=owner, alive=alive)
            ):
                # A row that another transaction has is being settled or renewed at this moment.
                found.busy.append(ref)
            elif row.state in ("failed", "gone") and (fresh_after is None or row.updated_at >= fresh_after):
                found.ended.append((ref, row.state))
            elif _is_fresh(row, posts.get(key), fresh_after, measured_after):
                found.fresh.append(ref)
                if row.state in ("pending", "claimed"):
                    surely_done.append(key)
            elif key in elsewhere:
                found.busy.append(ref)
            elif sweeps and _is_held(row.asked_by, askers) and (key not in stored or row.asked_by not in askers):
                found.held.append(ref)
            else:
                (anew if row.state in SETTLED else again).append(key)
        lease = {"state": "claimed", "lease_owner": owner, "lease_until": leases.ends(at), "updated_at": at}
        if asker is not None:
            lease["asked_by"] = asker
        _update(conn, again, purpose, lease)
        _update(conn, anew, purpose, lease | {"attempts": 0, "tries": None})
        done = {"state": "done", "lease_owner": None, "lease_until": None, "updated_at": at}
        _update(conn, surely_done, purpose, done)
        taken = [*again, *anew]
        stored |= _unparsed(conn, taken, purpose, fresh_after)
        if fresh_after is not None:
            # The answer of a holder that died is the answer to what was asked then, and is asked again now.
            left = [key for key in again if rows[key].state == "claimed" and key not in stored]
            stored |= _unparsed(conn, left, purpose, min(fresh_after, at - PAID_COUNTS))
        zero = set(anew)
        found.claimed += [
            WorkItem(
                wanted[key],
                posts[key].source_url if key in posts else None,
                0 if key in zero else rows[key].attempts,
                {} if key in zero else rows[key].tries or {},
                stored.get(key),
                rows[key].asked_by if asker is None else asker,
                askers[rows[key].asked_by].collection if sweeps else None,
            )
            for key in sorted(taken)
        ]
    return found


def _askers(conn: Connection, run_ids: Iterable[str | None]) -> dict[str, Any]:
    """The runs that asked for something, by their ids: their collections, and when they were stopped."""
    known = sorted(run_id for run_id in run_ids if run_id is not None)
    query = select(_runs.c.run_id, _runs.c.collection, _runs.c.stopped_at).where(_runs.c.run_id.in_(known))
    return {row.run_id: row for row in conn.execute(query)}


def _is_held(run_id: str | None, askers: Mapping[str, Any]) -> bool:
    """Whether a person stopped the run that asked for it, or no run asks for it."""
    return run_id is None or run_id not in askers or askers[run_id].stopped_at is not None


def spared(conn: Connection, refs: Iterable[PostRef], purpose: str, *, fresh_after: datetime) -> set[Key]:
    """Those of the posts that a claim would leave alone: measured, failed or gone at or after `fresh_after`."""
    found: set[Key] = set()
    measured = _posts.c.observed_at >= fresh_after
    ended = and_(_work.c.purpose == purpose, _work.c.state.in_(("failed", "gone")), _work.c.updated_at >= fresh_after)
    for part in chunks(list(_by_key(refs))):
        for table, condition in ((_posts.c, measured), (_work.c, ended)):
            query = select(table.platform, table.post_id).where(condition)
            query = query.where(posts_among(table.platform, table.post_id, part))
            found |= {(row.platform, row.post_id) for row in conn.execute(query)}
    return found


def _guard(conn: Connection, keys: Sequence[Key]) -> tuple[dict[Key, Any], set[Key]]:
    """Lock the rows of posts for this transaction: those rows by key, and the posts that another transaction has.

    A post's row guards all work on it, for whatever purpose: two claims of one post never go on side by side, and
    none waits. A post that was erased meanwhile has no row, and nothing that needs a guard is written of it.
    """
    post = _posts.c
    query = select(post.platform, post.post_id, post.source_url, post.observed_at)
    locked = conn.execute(query.where(keyed(conn, _posts, keys)).with_for_update(skip_locked=True))
    mine = {_key_of(row): row for row in locked}
    left = [key for key in keys if key not in mine]
    if not left or conn.dialect.name == "sqlite":
        return mine, set()  # SQLite has one writer.
    return mine, {_key_of(row) for row in conn.execute(query.where(keyed(conn, _posts, left)))}


def _work_on(conn: Connection, keys: Sequence[Key]) -> Sequence[Any]:
    """The work on posts, for every purpose; unlocked."""
    work = _work.c
    query = select(work.platform, work.post_id, work.purpose, work.state, work.lease_owner, work.lease_until)
    return conn.execute(query.where(keyed(conn, _work, keys))).all()


def _lock(conn: Connection, keys: Sequence[Key], purpose: str, *, skip: bool = False) -> dict[Key, Any]:
    """The rows of work of one purpose, locked, by post.

    `skip`: without those that another transaction is changing, instead of waiting for it.
    """
    # All transactions lock rows in one order.
    query = select(_work).where(keyed(conn, _work, keys, purpose)).order_by(_work.c.platform, _work.c.post_id)
    return {_key_of(row): row for row in conn.execute(query.with_for_update(skip_locked=skip))}


def _update(conn: Connection, keys: Sequence[Key], purpose: str, values: dict[str, Any]) -> int:
    """Change rows of work that this transaction has locked; how many."""
    if not keys:
        return 0
    return conn.execute(update(_work).where(keyed(conn, _work, keys, purpose)).values(**values)).rowcount


def _is_fresh(row: Any, post: Any, fresh_after: datetime | None, measured_after: datetime | None) -> bool:
    if fresh_after is None:
        if row.state == "done":
            return True
        fresh_after = measured_after
    measured = None if post is None else post.observed_at
    return fresh_after is not None and measured is not None and bool(measured >= fresh_after)


def _unparsed(
    conn: Connection, keys: Sequence[Key], purpose: str, fresh_after: datetime | None
) -> dict[Key, tuple[str, Channel, datetime]]:
    """The newest answer of each post that was stored for this purpose and never parsed."""
    if not keys:
        return {}
    fetch = _fetches.c
    query = select(fetch.platform, fetch.post_id, fetch.raw_sha256, fetch.channel, fetch.fetched_at).where(
        fetch.purpose == purpose, fetch.parsed_at.is_(None)
    )
    if fresh_after is not None:
        query = query.where(fetch.fetched_at >= fresh_after)
    found = conn.execute(query.where(keyed(conn, _fetches, keys))).all()
    return {
        (row.platform, row.post_id): (row.raw_sha256, cast(Channel, row.channel), row.fetched_at)
        for row in sorted(found, key=lambda row: row.fetched_at)
    }


def still_mine(
    conn: Connection, owner: str, refs: Iterable[PostRef], purpose: str, *, now: datetime | None = None
) -> set[PostRef]:
    """Renew a holder's leases on posts; those of the posts that it still holds.

    For a holder that may have slept: another may have taken, bought and settled what it claimed, and a renewal by
    `leases.renew_all` tells only how much is left. Rows that another transaction is changing are waited for.
    """
    ends = leases.ends(leases.clock(conn, now))
    wanted = _by_key(refs)
    mine: set[PostRef] = set()
    for part in chunks(list(wanted)):
        rows = _lock(conn, part, purpose)
        held = [key for key, row in rows.items() if row.state == "claimed" and row.lease_owner == owner]
        _update(conn, held, purpose, {"lease_until": ends})
        mine |= {wanted[key] for key in held}
    return mine


def release(conn: Connection, owner: str, refs: Iterable[PostRef], purpose: str, *, now: datetime | None = None) -> int:
    """Give claimed work back, to be taken by anybody; how much. What is settled, or another's by now, stays."""
    at = leases.clock(conn, now)
    values = {"state": "pending", "lease_owner": None, "lease_until": None, "updated_at": at}
    released = 0
    for part in chunks(list(_by_key(refs))):
        rows = _lock(conn, part, purpose)
        mine = [key for key, row in rows.items() if row.state == "claimed" and row.lease_owner == owner]
        released += _update(conn, mine, purpose, values)
    return released


def requeue(conn: Connection, refs: Iterable[PostRef], purpose: str, *, now: datetime | None = None) -> int:
    """Make failed and gone work pending again, as if it were new; how much. Other states stay."""
    at = leases.clock(conn, now)
    values = {
        "state": "pending",
        "attempts": 0,
        "tries": None,
        "lease_owner": None,
        "lease_until": None,
        "updated_at": at,
    }
    taken_up = 0
    for part in chunks(list(_by_key(refs))):
        rows = _lock(conn, part, purpose)
        given_up = [key for key, row in rows.items() if row.state in ("failed", "gone")]
        taken_up += _update(conn, given_up, purpose, values)
    return taken_up


def lost_to_others(conn: Connection, keys: Sequence[Key], owner: str, purpose: str | None = None) -> set[Key]:
    """Posts whose work (of one purpose, or any) `owner` does not hold, and another holds or has done; rows locked."""
    mine: set[Key] = set()
    others: set[Key] = set()
    for part in chunks(keys):
        query = select(_work).where(posts_among(_work.c.platform, _work.c.post_id, part))
        if purpose is not None:
            query = query.where(_work.c.purpose == purpose)
        # In the order in which all transactions lock rows.
        in_order = query.order_by(_work.c.platform, _work.c.post_id, _work.c.purpose).with_for_update()
        for row in conn.execute(in_order):
            if row.state == "claimed" and row.lease_owner == owner:
                mine.add((row.platform, row.post_id))
            elif row.state in ("claimed", "done"):
                others.add((row.platform, row.post_id))
    return others - mine


def _end_work(*names: str) -> Any:
    statement = insert_into(_work)
    set_: dict[str, Any] = {name: statement.excluded[name] for name in names}
    set_ |= {"lease_owner": None, "lease_until": None}
    return statement.on_conflict_do_update(index_elements=["platform", "post_id", "purpose"], set_=set_)


DONE = _end_work("state", "updated_at")
"""Ends work in the state given; the calls counted on it stay."""

FAILED = _end_work("state", "updated_at", "attempts")
"""Ends work in the state given, with the calls that were made."""


@dataclass(frozen=True, slots=True)
class FailedCalls:
    """A post, the purpose of the work on it, and its failed calls by kind."""

    ref: PostRef
    purpose: str
    tries: dict[str, int]


_note = (
    update(_work)
    .where(
        _work.c.platform == bindparam("of_platform"),
        _work.c.post_id == bindparam("of_post"),
        _work.c.purpose == bindparam("of_purpose"),
        _work.c.state == "claimed",
        _work.c.lease_owner == bindparam("of_owner"),
    )
    .values(tries=bindparam("tries", type_=_work.c.tries.type))
)


@mergeable
def note_failed_calls(conn: Connection, tried: Sequence[FailedCalls], owner: str) -> None:
    """Write down what was tried for posts whose work `owner` holds; of other posts it changes nothing."""
    newest = {(one.ref.platform, one.ref.post_id, one.purpose): one.tries for one in tried}
    rows: list[dict[str, Any]] = [
        {"of_platform": key[0], "of_post": key[1], "of_purpose": key[2], "of_owner": owner, "tries": newest[key]}
        for key in sorted(newest)
    ]
    write_rows(conn, _note, rows)
