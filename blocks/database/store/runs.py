"""Runs: what each was asked, which posts it has to account for, and the sums at its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Subquery, and_, case, func, literal, select, union, update

from blocks.database.store import leases, work
from blocks.database.store import posts as posts_store
from blocks.database.store.failures import POST_STAGES
from blocks.database.store.import_rows import ENDED
from blocks.database.store.statements import chunks, insert_into, same_post, table_of, write_rows
from blocks.database.tables import Collection, Failure, Import, ImportItem, Post, Run, RunImport, RunPost, Work
from blocks.posts.record import PostRef

_runs, _collections, _work, _posts = table_of(Run), table_of(Collection), table_of(Work), table_of(Post)
_run_posts, _run_imports = table_of(RunPost), table_of(RunImport)
_imports, _items, _failures = table_of(Import), table_of(ImportItem), table_of(Failure)


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
        named = insert_into(conn.dialect.name, _collections).values(name=collection, created_at=now)
        conn.execute(named.on_conflict_do_nothing())
    started = insert_into(conn.dialect.name, _runs).values(
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
    keys = sorted({(ref.platform, ref.post_id) for ref, _ in given})
    rows = [{"platform": platform, "post_id": post_id, "purpose": purpose} for platform, post_id in keys]
    dialect = conn.dialect.name
    write_rows(
        conn,
        insert_into(dialect, _run_posts).on_conflict_do_nothing(),
        [row | {"run_id": run_id} for row in rows],
    )
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
    of_run = _items.join(_run_imports, _run_imports.c.import_id == _items.c.import_id)
    listed = select(_items.c.platform, _items.c.post_id).select_from(of_run).where(_run_imports.c.run_id == run_id)
    given = select(_run_posts.c.platform, _run_posts.c.post_id).where(_run_posts.c.run_id == run_id)
    posts = union(listed.where(_items.c.post_id.is_not(None)), given).subquery()
    nameless = (
        select(func.count()).select_from(of_run).where(_run_imports.c.run_id == run_id, _items.c.post_id.is_(None))
    )
    counted: int = conn.execute(select(func.count()).select_from(posts)).scalar_one()
    without_post: int = conn.execute(nameless).scalar_one()
    return counted + without_post


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
