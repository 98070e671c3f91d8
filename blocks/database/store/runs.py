"""Runs: what each was asked, which posts it has to account for, the sums at its end, the stop by a person.

What a run asked for and nobody has settled is its request; it waits for a reason: held, out of room, for a sweep.

A stop holds what the run asked for: open work, and an import, whose `asked_by` is a stopped run. It is one row, and
what an import lists later arrives held by itself. It ends where another run, that a person or a schedule started, asks
for the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Subquery, and_, case, exists, func, literal, or_, select, union, update

from blocks.database.store import leases, money, work
from blocks.database.store import posts as posts_store
from blocks.database.store.failures import POST_STAGES
from blocks.database.store.imports import ENDED, imports
from blocks.database.store.statements import (
    Key,
    chunks,
    insert_into,
    insert_missing,
    posts_among,
    same_post,
    table_of,
)
from blocks.database.store.work import OPEN_WORK
from blocks.database.tables import Collection, Failure, Import, ImportItem, Post, Run, RunImport, RunPost, Work
from blocks.posts.record import PostRef
from blocks.processes import Alive, is_alive

_runs = table_of(Run)
_collections = table_of(Collection)
_work = table_of(Work)
_posts = table_of(Post)
_run_posts = table_of(RunPost)
_run_imports = table_of(RunImport)
_imports = table_of(Import)
_items = table_of(ImportItem)
_failures = table_of(Failure)


@dataclass(frozen=True, slots=True)
class Sums:
    """What a run was asked for (distinct posts) and how they ended.

    `no_url` counts the listed items that name no post (among the failed, or among the pending while their import
    goes on). `failures` counts the failed by error class; one that failed twice in two ways counts in both.
    """

    requested: int
    enriched: int
    failed: int
    gone: int
    pending: int
    no_url: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def agree(self) -> bool:
        """Whether every requested post is in exactly one of the four."""
        return self.requested == self.enriched + self.failed + self.gone + self.pending


def start_run(
    conn: Connection,
    *,
    run_id: str,
    flow: str,
    account: str | None = None,
    collection: str | None = None,
    parameters: dict[str, Any] | None = None,
    cap_micros: int | None = None,
    sweeps: bool = False,
    owner: str | None = None,
    now: datetime,
) -> None:
    """Write a run down, and its collection if that is new; a run that is retried keeps its first start.

    `cap_micros` is what may be spent on what it asks for, by whomever (millionths of a US dollar; None: no cap).
    `owner` holds its lease. Whoever retries a run that was stopped ends that stop.
    """
    if collection is not None:
        insert_missing(conn, _collections, [{"name": collection, "created_at": now}])
    started = insert_into(_runs).values(
        run_id=run_id, flow=flow, account=account, collection=collection, parameters=parameters, started_at=now,
        cap_micros=cap_micros, sweeps=sweeps, **_lease(conn, owner),
    )  # fmt: skip
    ended = dict.fromkeys(("finished_at", "outcome", "message", "summary", "stopped_at", "stopped_by", "stopped_why"))
    again = {**ended, "cap_micros": cap_micros, **_lease(conn, owner)}
    conn.execute(started.on_conflict_do_update(index_elements=["run_id"], set_=again))


def _lease(conn: Connection, owner: str | None) -> dict[str, Any]:
    return {"lease_owner": owner, "lease_until": None if owner is None else leases.ends(leases.clock(conn))}


def finish_run(
    conn: Connection, run_id: str, *, outcome: str, message: str, summary: dict[str, Any] | None, now: datetime
) -> None:
    """Write a run's end: `outcome` is done, attention, failed, halted or cancelled, `message` one sentence."""
    ended = {"outcome": outcome, "message": message, "summary": summary, "finished_at": now, **_lease(conn, None)}
    conn.execute(update(_runs).where(_runs.c.run_id == run_id).values(ended))


def get(conn: Connection, run_id: str) -> Run | None:
    """A run by its id."""
    row = conn.execute(select(_runs).where(_runs.c.run_id == run_id)).one_or_none()
    return None if row is None else Run(**row._mapping)


def collections_of(conn: Connection, run_ids: Iterable[str]) -> dict[str, str]:
    """The collections of runs; a run over all collections, or one that is not known, is not among them."""
    found: dict[str, str] = {}
    for part in chunks(sorted(run_ids)):
        query = select(_runs.c.run_id, _runs.c.collection).where(
            _runs.c.run_id.in_(part), _runs.c.collection.is_not(None)
        )
        found |= dict(conn.execute(query).all())
    return found


def take_posts(
    conn: Connection,
    run_id: str,
    posts: Iterable[tuple[PostRef, str | None]],
    *,
    now: datetime,
    purpose: str = "enrich",
    asks: bool = True,
) -> set[str]:
    """Write down posts that a run was given by URL (each with the URL as typed), with work on them.

    Returns the item keys of those that the database did not know. Work that has an outcome keeps it: claiming
    decides whether it is done anew. What is open is the run's request from now on, unless it only takes up what others
    asked for (not `asks`).
    """
    given = list(posts)
    new = posts_store.ensure_posts(conn, given, now, run_id)
    keys = sorted({ref.key for ref, _ in given})
    rows = [{"platform": platform, "post_id": post_id, "purpose": purpose} for platform, post_id in keys]
    insert_missing(conn, _run_posts, [row | {"run_id": run_id} for row in rows])
    work.enqueue(conn, [ref for ref, _ in given], purpose, asked_by=run_id if asks else None, now=now)
    if asks:
        work.ask(conn, keys, purpose, run_id)
    return new


def reconcile(conn: Connection, run_id: str) -> Sums:
    """Count what a run has to account for by outcome: its given posts, and all that its imports listed.

    The outcome is the work's state, so that a post with metadata of last week whose latest attempt failed counts
    as failed; a post that was measured since the run began, and that another run has taken up anew, is enriched.
    What was requested is counted by itself: a post without work, or with work of an unknown state, is in none of the
    four, and then the sums do not agree.
    """
    outcomes = _outcomes(run_id)
    by_outcome = select(outcomes.c.outcome, func.count()).group_by(outcomes.c.outcome)
    counted: dict[str | None, int] = dict(conn.execute(by_outcome).all())
    closed = case((_imports.c.state.in_(ENDED), "failed"), else_="pending").label("outcome")
    nameless: dict[str, int] = dict(
        conn.execute(
            select(closed, func.count())
            .select_from(_run_imports)
            .join(_imports, _imports.c.import_id == _run_imports.c.import_id)
            .join(_items, _items.c.import_id == _run_imports.c.import_id)
            .where(_run_imports.c.run_id == run_id, _items.c.post_id.is_(None))
            .group_by(closed)
        ).all()
    )
    no_url = sum(nameless.values())
    return Sums(
        requested=_requested(conn, run_id),
        enriched=counted.get("enriched", 0),
        failed=counted.get("failed", 0) + nameless.get("failed", 0),
        gone=counted.get("gone", 0),
        pending=counted.get("pending", 0) + nameless.get("pending", 0),
        no_url=no_url,
        failures=_failure_classes(conn, run_id, outcomes),
    )


def _requested(conn: Connection, run_id: str) -> int:
    """Distinct posts that a run was given or that its imports listed, and the listed items that name no post."""
    nameless = (
        select(func.count())
        .select_from(_items.join(_run_imports, _run_imports.c.import_id == _items.c.import_id))
        .where(_run_imports.c.run_id == run_id, _items.c.post_id.is_(None))
    )
    counted: int = conn.execute(select(func.count()).select_from(posts_of(run_id))).scalar_one()
    without_post: int = conn.execute(nameless).scalar_one()
    return counted + without_post


def posts_of(run_id: str) -> Subquery:
    """(platform, post_id) of each distinct post that a run was given, or that its imports listed."""
    listed = (
        select(_items.c.platform, _items.c.post_id)
        .join(_run_imports, _run_imports.c.import_id == _items.c.import_id)
        .where(_run_imports.c.run_id == run_id, _items.c.post_id.is_not(None))
    )
    given = select(_run_posts.c.platform, _run_posts.c.post_id).where(_run_posts.c.run_id == run_id)
    return union(listed, given).subquery()


def _outcomes(run_id: str) -> Subquery:
    """(platform, post_id, outcome) of each distinct post of a run; no outcome where there is no work on it."""
    listed = (
        select(_items.c.platform, _items.c.post_id, literal("enrich").label("purpose"))
        .join(_run_imports, _run_imports.c.import_id == _items.c.import_id)
        .where(_run_imports.c.run_id == run_id, _items.c.post_id.is_not(None))
    )
    given = select(_run_posts.c.platform, _run_posts.c.post_id, _run_posts.c.purpose).where(
        _run_posts.c.run_id == run_id
    )
    both = union(listed, given).subquery()
    asked = (
        select(both.c.platform, both.c.post_id, func.max(both.c.purpose).label("purpose"))
        .group_by(both.c.platform, both.c.post_id)
        .subquery()
    )
    began = select(_runs.c.started_at).where(_runs.c.run_id == run_id).scalar_subquery()
    open_ = _work.c.state.in_(("pending", "claimed"))
    outcome = case(
        (and_(open_, asked.c.purpose == "enrich", _posts.c.observed_at >= began), "enriched"),
        (open_, "pending"),
        (_work.c.state == "done", "enriched"),
        else_=_work.c.state,
    )
    return (
        select(asked.c.platform, asked.c.post_id, outcome.label("outcome"))
        .outerjoin(_work, and_(same_post(_work.c, asked.c), _work.c.purpose == asked.c.purpose))
        .outerjoin(_posts, same_post(_posts.c, asked.c))
        .subquery()
    )


def _failure_classes(conn: Connection, run_id: str, outcomes: Subquery) -> dict[str, int]:
    of_posts = (
        select(_failures.c.error_class, _failures.c.item_key)
        .join(outcomes, same_post(outcomes.c, _failures.c))
        .where(outcomes.c.outcome == "failed", _failures.c.stage.in_(POST_STAGES), _failures.c.resolved_at.is_(None))
    )
    of_items = (
        select(_failures.c.error_class, _failures.c.item_key)
        .join(_run_imports, _run_imports.c.import_id == _failures.c.import_id)
        .where(
            _run_imports.c.run_id == run_id,
            _failures.c.post_id.is_(None),
            _failures.c.stage == "identify",
            _failures.c.resolved_at.is_(None),
        )
    )
    found = union(of_posts, of_items).subquery()
    query = select(found.c.error_class, func.count()).group_by(found.c.error_class).order_by(found.c.error_class)
    return dict(conn.execute(query).all())


UNDER_WAY = ("sending", "submitted", "collecting")
"""States of an import of which more may come."""


def stop(conn: Connection, run_id: str, *, by: str, why: str, at: datetime, alive: Alive = is_alive) -> bool:
    """Write down that a person stopped a run; False if that is known already, or there is no such run.

    What another living run asks for too is left to that run. A sweep asks for nothing: what it took up and did not
    finish becomes its own by this, and so is held as well.
    """
    stopped = {"stopped_by": by, "stopped_why": why, "stopped_at": at}
    this = and_(_runs.c.run_id == run_id, _runs.c.stopped_at.is_(None))
    row = conn.execute(update(_runs).where(this).values(stopped).returning(_runs.c.sweeps)).one_or_none()
    if row is None:
        return False
    living = leases.living_runs(conn, alive=alive) - {run_id}
    if row.sweeps:
        _hold_what_was_taken_up(conn, run_id, living)
        return True
    askers = (
        select(_runs.c.run_id)
        .where(_runs.c.run_id.in_(living), ~_runs.c.sweeps)
        .order_by(_runs.c.started_at, _runs.c.run_id)
    )
    for other in conn.execute(askers).scalars().all():
        _leave_to(conn, run_id, other)
    return True


def is_stopped(conn: Connection, run_id: str | None) -> bool:
    """Whether a person stopped the run."""
    query = select(_runs.c.run_id).where(_runs.c.run_id == run_id, _runs.c.stopped_at.is_not(None))
    return conn.execute(query).first() is not None


def ask_for_import(conn: Connection, import_id: str, run_id: str) -> None:
    """Make an import the request of a run, with all of its posts that are not settled; this ends a hold."""
    conn.execute(update(_imports).where(_imports.c.import_id == import_id).values(asked_by=run_id))
    listed = exists().where(same_post(_items.c, _work.c), _items.c.import_id == import_id)
    work.ask(conn, _open_posts(conn, listed), "enrich", run_id)


def ask_for_listed(conn: Connection, refs: Iterable[PostRef], run_id: str | None) -> None:
    """Posts that an import lists for the first time are the request of the run that asked for it, whoever polls.

    What a living run asks for stays that run's, and a stopped run asks for nothing.
    """
    keys = [ref.key for ref in refs]
    if run_id is None or not keys or is_stopped(conn, run_id):
        return
    theirs = or_(_work.c.asked_by.is_(None), _work.c.asked_by.not_in(leases.living_runs(conn)))
    work.ask(conn, keys, "enrich", run_id, only_of=theirs)


def _leave_to(conn: Connection, run_id: str, other: str) -> None:
    """What a run asked for and `other` asks for too is the request of `other` from now on."""
    of_other = select(_run_imports.c.import_id).where(_run_imports.c.run_id == other)
    shared = and_(_imports.c.asked_by == run_id, _imports.c.import_id.in_(of_other))
    conn.execute(update(_imports).where(shared).values(asked_by=other))
    mine = _work.c.asked_by == run_id
    work.ask(conn, _open_posts(conn, mine, _taken_in_by(other)), "enrich", other, only_of=mine)


def _hold_what_was_taken_up(conn: Connection, run_id: str, living: set[str]) -> None:
    """A sweep's open posts and imports become its own, but for those that a living run asks for."""
    taken = select(_run_imports.c.import_id).where(_run_imports.c.run_id == run_id)
    others = or_(_imports.c.asked_by.is_(None), _imports.c.asked_by.not_in(living))
    open_ = and_(_imports.c.import_id.in_(taken), _imports.c.state.in_(UNDER_WAY), others)
    conn.execute(update(_imports).where(open_).values(asked_by=run_id))
    theirs = or_(_work.c.asked_by.is_(None), _work.c.asked_by.not_in(living))
    work.ask(conn, _open_posts(conn, theirs, _taken_in_by(run_id)), "enrich", run_id, only_of=theirs)


def _taken_in_by(run_id: str) -> Any:
    """The condition that a run was given the post of a row of work, or that one of its imports listed it."""
    given = exists().where(
        same_post(_run_posts.c, _work.c), _run_posts.c.run_id == run_id, _run_posts.c.purpose == "enrich"
    )
    listed = exists().where(
        same_post(_items.c, _work.c),
        _items.c.import_id == _run_imports.c.import_id,
        _run_imports.c.run_id == run_id,
    )
    return or_(given, listed)


def _open_posts(conn: Connection, *conditions: Any) -> list[Key]:
    query = select(_work.c.platform, _work.c.post_id).where(_work.c.purpose == "enrich", OPEN_WORK, *conditions)
    return [(row.platform, row.post_id) for row in conn.execute(query)]


def without_end(conn: Connection, account: str) -> list[str]:
    """Runs that never wrote an end and do not live: their processes are gone. Prefect knows whether by a person."""
    dead = and_(_runs.c.finished_at.is_(None), _runs.c.stopped_at.is_(None), _runs.c.account == account)
    found = conn.execute(select(_runs.c.run_id).where(dead).order_by(_runs.c.started_at)).scalars().all()
    living = leases.living_runs(conn) if found else set()
    return [run_id for run_id in found if run_id not in living]


def crashed(conn: Connection, run_id: str, *, now: datetime) -> None:
    """Write the end of a run that nobody stopped and whose process is gone; what it asked for goes on."""
    still = and_(_runs.c.run_id == run_id, _runs.c.finished_at.is_(None), _runs.c.stopped_at.is_(None))
    ended = {"outcome": "failed", "message": CRASHED, "finished_at": now}
    conn.execute(update(_runs).where(still).values(ended))


CRASHED = "its process ended without a word; the sweep takes up what it left"


Reason = Literal["held", "out_of_room", "waiting", "under_way"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What a run asked for and is not settled: `posts`, and `imports` that were never sent.

    `held`: a person stopped the run. `out_of_room`: its cap does not pay another call. `under_way`: it lives.
    `waiting`: a sweep goes on with it. Amounts are millionths of a US dollar, `cap_micros` None is no cap.
    """

    reason: Reason
    posts: int
    imports: int
    run_id: str | None
    flow: str | None
    collection: str | None
    started_at: datetime | None
    parameters: dict[str, Any] | None
    cap_micros: int | None
    stopped_at: datetime | None
    stopped_by: str | None
    stopped_why: str | None


def pending(conn: Connection, cheapest_micros: Mapping[str, int]) -> list[Pending]:
    """Everything that is not settled, by run and reason, the newest first; work that nobody asks for comes last.

    `cheapest_micros`: what the cheapest metadata call costs, by platform.
    """
    posts = _open_work(conn, cheapest_micros)
    unsent = (
        select(imports.c.asked_by, func.count().label("imports"))
        .where(imports.c.state == "planned")
        .group_by(imports.c.asked_by)
    )
    planned: dict[str | None, int] = dict(conn.execute(unsent).all())
    known = _known(conn, {run_id for run_id, _ in posts} | planned.keys())
    living = leases.living_runs(conn)
    counted: Counter[tuple[str | None, Reason]] = Counter()
    for (run_id, with_room), count in posts.items():
        counted[run_id, _reason(known.get(run_id), run_id in living, with_room=with_room)] += count
    # Planned imports of others are shown as what they are: open.
    held = {run_id for run_id in planned if run_id in known and known[run_id].stopped_at is not None}
    counted.update({(run_id, "held"): 0 for run_id in held})
    found = [
        _pending(known.get(run_id), reason, count, planned.get(run_id, 0) if reason == "held" else 0)
        for (run_id, reason), count in counted.items()
    ]
    return sorted(found, key=lambda one: (one.started_at is not None, one.started_at), reverse=True)


def reasons(
    conn: Connection, keys: Iterable[Key], cheapest_micros: Mapping[str, int], *, ending: str | None = None
) -> Counter[Reason]:
    """Why these posts are pending, counted; those that are settled are left out. The run `ending` lives no longer."""
    counted: Counter[Reason] = Counter()
    living = leases.living_runs(conn) - {ending}
    for part in chunks(sorted(set(keys))):
        of_part = posts_among(_work.c.platform, _work.c.post_id, part)
        posts = _open_work(conn, cheapest_micros, of_part)
        known = _known(conn, {run_id for run_id, _ in posts})
        for (run_id, with_room), count in posts.items():
            counted[_reason(known.get(run_id), run_id in living, with_room=with_room)] += count
    return counted


def _open_work(
    conn: Connection, cheapest_micros: Mapping[str, int], *conditions: Any
) -> dict[tuple[str | None, bool], int]:
    """How much work is not settled, by the run that asked for it and whether its cap pays another call."""
    room = case((money.has_room(_work.c.platform, cheapest_micros), 1), else_=0)
    each = (
        select(_work.c.asked_by, room.label("room"))
        .select_from(_work.outerjoin(_runs, _runs.c.run_id == _work.c.asked_by))
        .where(_work.c.purpose == "enrich", OPEN_WORK, *conditions)
        .subquery()
    )
    query = select(each.c.asked_by, each.c.room, func.count()).group_by(each.c.asked_by, each.c.room)
    return {(run_id, bool(with_room)): count for run_id, with_room, count in conn.execute(query)}


def _known(conn: Connection, run_ids: Iterable[str | None]) -> dict[str | None, Any]:
    known = sorted(run_id for run_id in run_ids if run_id is not None)
    found: dict[str | None, Any] = {}
    for part in chunks(known):
        found |= {row.run_id: row for row in conn.execute(select(_runs).where(_runs.c.run_id.in_(part)))}
    return found


def _reason(row: Any, lives: bool, *, with_room: bool) -> Reason:
    if row is None:
        return "out_of_room"  # No run asks for it any more, and so no cap pays for it.
    if row.stopped_at is not None:
        return "held"
    if lives:
        return "under_way"
    return "waiting" if with_room else "out_of_room"


def _pending(row: Any, reason: Reason, posts: int, imports: int) -> Pending:
    names = (
        "run_id", "flow", "collection", "started_at", "parameters", "cap_micros",
        "stopped_at", "stopped_by", "stopped_why",
    )  # fmt: skip
    facts = {name: None if row is None else getattr(row, name) for name in names}
    return Pending(reason=reason, posts=posts, imports=imports, **facts)
