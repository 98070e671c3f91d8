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
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, true, update

from blocks.database.grouping import mergeable
from blocks.database.store import leases
from blocks.database.store.leases import Alive
from blocks.database.store.statements import (
    chunks,
    insert_into,
    key_pairs,
    of_posts,
    posts_among,
    same_post,
    table_of,
    write_rows,
)
from blocks.database.tables import Post, RawFetch, Run, Work
from blocks.posts.record import Channel, PostRef

_work = table_of(Work)
_posts = table_of(Post)
_fetches = table_of(RawFetch)
_runs = table_of(Run)

SETTLED = ("done", "failed", "gone")

OPEN_WORK: ColumnElement[bool] = _work.c.state.in_(("pending", "claimed"))
"""The condition that a row of work is not settled."""

Key = tuple[str, str]


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
    never_enriched: bool
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


def _by_key(refs: Iterable[PostRef]) -> dict[Key, PostRef]:
    """Posts by key, each once, sorted: all transactions lock rows in one order."""
    return dict(sorted({_key(ref): ref for ref in refs}.items()))


@lru_cache(maxsize=2)
def _insert_missing(dialect: str) -> Any:
    return insert_into(dialect, _work).on_conflict_do_nothing()


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
    write_rows(conn, _insert_missing(conn.dialect.name), rows)


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
    alive: Alive = leases.alive,
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
    known: dict[str, bool | None] = {}

    def alive_once(name: str) -> bool | None:
        if name not in known:
            known[name] = alive(name)
        return known[name]

    for part in chunks(list(_by_key(refs).items())):
        wanted = dict(part)
        guarded = _guard(conn, list(wanted))
        # Nothing of a post is locked without its guard: whoever has the guard would find it busy, too.
        found.busy += [ref for key, ref in wanted.items() if key not in guarded]
        wanted = {key: ref for key, ref in wanted.items() if key in guarded}
        elsewhere = _busy_elsewhere(conn, owner, list(wanted), purpose, now=at, alive=alive_once)
        rows = _locked(conn, wanted, purpose)
        missing = [ref for key, ref in wanted.items() if key not in rows]
        if missing and (unknown := _unknown(conn, missing, purpose)):
            enqueue(conn, unknown, purpose, now=at)
            rows |= _locked(conn, [_key(ref) for ref in unknown], purpose)
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
                and not leases.is_free(row.lease_owner, row.lease_until, now=at, me=owner, alive=alive_once)
            ):
                # A row that is locked by another transaction is being claimed or settled at this moment.
                found.busy.append(ref)
            elif row.state in ("failed", "gone") and (fresh_after is None or row.updated_at >= fresh_after):
                found.ended.append((ref, row.state))
            elif _is_fresh(row, fresh_after, measured_after):
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
        _update(conn, [rows[key] for key in again], lease)
        _update(conn, [rows[key] for key in anew], lease | {"attempts": 0, "tries": None})
        done = {"state": "done", "lease_owner": None, "lease_until": None, "updated_at": at}
        _update(conn, [rows[key] for key in surely_done], done)
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
                rows[key].source_url,
                0 if key in zero else rows[key].attempts,
                rows[key].enriched_at is None,
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


def _locked(conn: Connection, keys: Iterable[Key], purpose: str, *, skip: bool = True) -> dict[Key, Any]:
    """The work rows, locked, with what is known of their posts.

    `skip`: without those that another transaction is changing, instead of waiting for it.
    """
    post = (_posts.c.source_url, _posts.c.observed_at, _posts.c.enriched_at)
    if conn.dialect.name != "postgresql":
        among = and_(_work.c.purpose == purpose, posts_among(_work.c.platform, _work.c.post_id, keys))
        query = select(_work, *post).outerjoin(_posts, same_post(_work.c, _posts.c)).where(among)
    else:
        # Row by row through the primary key, in a plan made for this table as it is now. A join is planned by
        # statistics, which a young table has not, and a kept plan may stem from when it was nearly empty: each took
        # Postgres 0.5 to 1 s for 500 posts.
        conn.exec_driver_sql("SET LOCAL plan_cache_mode = force_custom_plan")
        wanted = key_pairs(keys)
        one = select(_work, leases.PLACE.label("place")).where(same_post(_work.c, wanted.c), _work.c.purpose == purpose)
        locked = one.with_for_update(skip_locked=skip).lateral("locked")
        query = select(locked, *post).select_from(
            wanted.join(locked, true()).outerjoin(_posts, same_post(_posts.c, locked.c))
        )
    return {(row.platform, row.post_id): row for row in conn.execute(query)}


def _busy_elsewhere(
    conn: Connection, owner: str, keys: Sequence[Key], purpose: str, *, now: datetime, alive: Alive
) -> set[Key]:
    """Posts that a living holder other than `owner` is buying for another purpose."""
    busy: set[Key] = set()
    query = select(_work.c.platform, _work.c.post_id, _work.c.lease_owner, _work.c.lease_until).where(
        _work.c.state == "claimed", _work.c.purpose != purpose, _work.c.lease_owner != owner
    )
    for row in conn.execute(of_posts(conn, query, _work.c, keys)):
        if not leases.is_free(row.lease_owner, row.lease_until, now=now, me=owner, alive=alive):
            busy.add((row.platform, row.post_id))
    return busy


def _guard(conn: Connection, keys: Sequence[Key]) -> set[Key]:
    """Take posts for this transaction, without waiting; which ones.

    Two claims of one post for two purposes lock no common row: so every claim first takes the post's guard, and only
    then looks at what is claimed. A post whose guard another transaction has counts as busy.
    By advisory locks, and not by locking a row: a post that is measured again may have no `enrich` row.
    """
    if conn.dialect.name != "postgresql":
        return set(keys)  # A claim has the database alone.
    pairs = key_pairs(keys)
    name = func.hashtextextended(func.concat("tagtrail/", pairs.c.platform, ":", pairs.c.post_id), 0)
    query = select(pairs.c.platform, pairs.c.post_id, func.pg_try_advisory_xact_lock(name).label("taken"))
    return {(row.platform, row.post_id) for row in conn.execute(query) if row.taken}


def _update(conn: Connection, rows: Sequence[Any], values: dict[str, Any]) -> int:
    """Change rows of one purpose that this transaction has locked; how many."""
    if not rows:
        return 0
    if conn.dialect.name == "postgresql":
        these = leases.at_places(row.place for row in rows)
    else:
        keys = [(row.platform, row.post_id) for row in rows]
        these = and_(_work.c.purpose == rows[0].purpose, posts_among(_work.c.platform, _work.c.post_id, keys))
    return conn.execute(update(_work).where(these).values(**values)).rowcount


def _unknown(conn: Connection, refs: Iterable[PostRef], purpose: str) -> list[PostRef]:
    """Those of the posts that no work is noted for. Noting what is there already could wait for its lock."""
    wanted = _by_key(refs)
    query = select(_work.c.platform, _work.c.post_id).where(_work.c.purpose == purpose)
    known = {(row.platform, row.post_id) for row in conn.execute(of_posts(conn, query, _work.c, wanted))}
    return [ref for key, ref in wanted.items() if key not in known]


def _is_fresh(row: Any, fresh_after: datetime | None, measured_after: datetime | None) -> bool:
    if fresh_after is None:
        if row.state == "done":
            return True
        fresh_after = measured_after
    return fresh_after is not None and row.observed_at is not None and bool(row.observed_at >= fresh_after)


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
    found = conn.execute(of_posts(conn, query, fetch, keys)).all()
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
        rows = _locked(conn, part, purpose, skip=False)
        held = [key for key, row in rows.items() if row.state == "claimed" and row.lease_owner == owner]
        _update(conn, [rows[key] for key in held], {"lease_until": ends})
        mine |= {wanted[key] for key in held}
    return mine


def release(conn: Connection, owner: str, refs: Iterable[PostRef], purpose: str, *, now: datetime | None = None) -> int:
    """Give claimed work back, to be taken by anybody; how much. What is settled, or another's by now, stays."""
    at = leases.clock(conn, now)
    values = {"state": "pending", "lease_owner": None, "lease_until": None, "updated_at": at}
    released = 0
    for part in chunks(list(_by_key(refs))):
        rows = _locked(conn, part, purpose, skip=False).values()
        released += _update(conn, [row for row in rows if row.state == "claimed" and row.lease_owner == owner], values)
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
        rows = _locked(conn, part, purpose, skip=False).values()
        taken_up += _update(conn, [row for row in rows if row.state in ("failed", "gone")], values)
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


@lru_cache(maxsize=2)
def done_statement(dialect: str) -> Any:
    """End work in the state given; the calls counted on it stay."""
    return _end_work(dialect, "state", "updated_at")


@lru_cache(maxsize=2)
def failed_statement(dialect: str) -> Any:
    """End work in the state given, with the calls that were made."""
    return _end_work(dialect, "state", "updated_at", "attempts")


def _end_work(dialect: str, *names: str) -> Any:
    statement = insert_into(dialect, _work)
    set_: dict[str, Any] = {name: statement.excluded[name] for name in names}
    set_ |= {"lease_owner": None, "lease_until": None}
    return statement.on_conflict_do_update(index_elements=["platform", "post_id", "purpose"], set_=set_)


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
