"""Plans imports: writes a wish into the ledger, or finds the import that serves it already."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, and_, exists, func, or_, select, update

from blocks.database.store import leases, stops
from blocks.database.store.import_rows import (
    OPEN,
    RUNNING,
    SENT_AGAIN,
    OpenImport,
    give_up_submissions,
    imports,
    read,
    run_imports,
    with_open_posts,
)
from blocks.database.store.leases import Alive
from blocks.database.store.statements import insert_into, table_of
from blocks.database.tables import Hashtag

How = Literal["submit", "attached", "reused"]
_RECORDED = {"submit": "submitted", "attached": "attached", "reused": "reused"}


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which import serves a wish, and what its run has to do about it.

    - `submit`: the import is planned and the caller holds its lease; send it.
    - `attached`: it is somebody's who lives (planned, sending), or is under way (submitted, collecting): follow it.
      In the state `ambiguous` it waits for a decision and is only to be reported.
    - `reused`: it is finished (complete), or ended `empty` and is worth another look.
    """

    import_id: str
    how: How
    state: str
    planned_at: datetime
    """When the ledger first heard of it."""
    since: datetime
    """When it was submitted; the same as `planned_at` before that."""
    task_id: str | None
    requested: int
    open_only: bool = False
    """An unfinished import that is continued: only posts that are not settled are the run's to buy."""


def plan_import(
    conn: Connection,
    *,
    account: str,
    kind: str,
    hashtag: str | None,
    wanted: dict[str, Any],
    wish: str,
    collection: str,
    namespace: str,
    library: str,
    requested: int,
    run_id: str,
    owner: str,
    reuse_after: datetime | None,
    fresh: bool,
    continues: bool = True,
    now: datetime | None = None,
    alive: Alive = leases.alive,
) -> Ticket:
    """Find the import that serves a wish, or plan one; written down for the run in either case, whose request it is.

    Imports serve a wish of the same `account` and `wish` (a hash of kind, what, namespace and library), for a count
    no larger than theirs. In this order:

    1. one that this very run has already, whatever its age and also with `fresh`: a step that is repeated buys once;
    2. one that was submitted and is not finished, or of whose posts some are not settled, and that no living run asks
       for: whatever its age, it is continued, but not by a schedule's run (not `continues`);
    3. one that somebody alive is about to send or sends, or that was submitted, and is not finished or `complete`,
       the newest first; what was submitted before `reuse_after` is too old (None: everything is);
    4. one that ended `empty`, not too old: nothing was bought yet, and posts may still come;
    5. one in doubt (`ambiguous`), of any age and count, unless a later one was submitted: somebody has to decide
       first, or ask for `fresh`;
    6. one that was planned and never sent, by a holder that is dead: it is taken over, with this wish's count (one
       that is to be sent again by hand keeps its collection, and its count if that is larger); one that a person's
       stop holds is left alone by a schedule's run;
    7. a new one. With `fresh` 2 to 5 are left out.

    `failed` and `dropped` imports serve nobody. A larger wish beside a smaller import under way is an import of its
    own, and the next wish of any count up to its own attaches to it.

    Args:
        owner: the holder (see `leases.holder`) that takes the lease of what is to be submitted.
        reuse_after: imports submitted at or after this moment can be used again.
        now: for tests; by itself the database's clock.
    """
    at = leases.clock(conn, now)
    _one_planner_at_a_time(conn, account, wish)
    if hashtag is not None:
        _follow(conn, hashtag, str(wanted.get("hashtag", hashtag)), at)
    plan = {
        "kind": kind,
        "hashtag": hashtag,
        "wanted": wanted,
        "collection": collection,
        "namespace": namespace,
        "library": library,
        "requested": requested,
        "run_id": run_id,
        "asked_by": run_id,
        "forced": fresh,
        "planned_at": at,
        "lease_owner": owner,
        "lease_until": leases.ends(at),
    }
    rows = _candidates(conn, account, wish, run_id, reuse_after, now=at, alive=alive)
    if not continues:
        rows = [row for row in rows if row.state != "planned" or not stops.is_stopped(conn, row.asked_by)]
    free = [row for row in rows if row.state == "planned" and _is_free(row, owner, at, alive)]
    unfinished = _unfinished(conn, rows, now=at, alive=alive) if continues and not fresh else []
    chosen = _choose(conn, rows, free, unfinished, requested, run_id, reuse_after, fresh=fresh)
    if chosen is not None and chosen not in free:
        how: How = "reused" if chosen.state in ("complete", "empty") else "attached"
        stops.ask_for_import(conn, chosen.import_id, run_id)
    else:
        chosen = _take_over(conn, free, plan) if free else _insert(conn, {"account": account, "wish": wish, **plan})
        how = "submit"
    record = insert_into(conn.dialect.name, run_imports).values(
        run_id=run_id, import_id=chosen.import_id, how=_RECORDED[how]
    )
    # What the run once submitted stays its own, however it finds it again.
    conn.execute(
        record.on_conflict_do_update(
            index_elements=["run_id", "import_id"],
            set_={"how": "submitted"},
            where=record.excluded.how == "submitted",
        )
    )
    return Ticket(
        chosen.import_id,
        how,
        chosen.state,
        chosen.planned_at,
        chosen.since,
        chosen.task_id,
        chosen.requested,
        open_only=chosen in unfinished,
    )


def _follow(conn: Connection, tag: str, typed: str, at: datetime) -> None:
    """Note a hashtag that is followed, once for ever, as it was first typed."""
    noted = insert_into(conn.dialect.name, table_of(Hashtag)).values(tag=tag, shown=typed, first_seen_at=at)
    conn.execute(noted.on_conflict_do_nothing())


def _one_planner_at_a_time(conn: Connection, account: str, wish: str) -> None:
    """SQLite has one writer anyway; on Postgres planners of the same wish wait for each other."""
    if conn.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"{account}/{wish}".encode()).digest()[:8], "big", signed=True)
        conn.execute(select(func.pg_advisory_xact_lock(key)))


def _candidates(
    conn: Connection,
    account: str,
    wish: str,
    run_id: str,
    reuse_after: datetime | None,
    *,
    now: datetime,
    alive: Alive,
) -> list[OpenImport]:
    """Rows of the wish that may serve it, newest first; a submission whose sender died is in doubt from now on."""
    row = imports.c
    ours = exists().where(run_imports.c.import_id == row.import_id, run_imports.c.run_id == run_id)
    wanted = [row.state.in_((*OPEN, "ambiguous")), ours, and_(row.state == "complete", with_open_posts())]
    if reuse_after is not None:
        young = func.coalesce(row.submitted_at, row.planned_at) >= reuse_after
        wanted.append(and_(row.state.in_(("complete", "empty")), young))
    of_wish = and_(row.account == account, row.wish == wish, or_(*wanted))
    found = read(conn, of_wish)
    if give_up_submissions(conn, [one for one in found if one.state == "sending"], now=now, alive=alive):
        found = read(conn, of_wish)
    return sorted(found, key=lambda one: one.since, reverse=True)


def _is_free(row: OpenImport, owner: str, now: datetime, alive: Alive) -> bool:
    return leases.is_free(row.lease_owner, row.lease_until, now=now, me=owner, alive=alive)


def _choose(
    conn: Connection,
    rows: Sequence[OpenImport],
    free: Sequence[OpenImport],
    unfinished: Sequence[OpenImport],
    requested: int,
    run_id: str,
    reuse_after: datetime | None,
    *,
    fresh: bool,
) -> OpenImport | None:
    large = [row for row in rows if row.requested >= requested]
    own = _own(conn, run_id, large)
    if own is not None or fresh:
        return own
    young = [row for row in large if reuse_after is not None and row.since >= reuse_after]
    held = [row for row in large if row.state in ("planned", "sending") and row not in free]
    under_way = [*held, *(row for row in young if row.state in (*RUNNING, "complete"))]
    to_continue = [row for row in unfinished if row in large]
    for group in (to_continue, under_way, [row for row in young if row.state == "empty"]):
        if group:
            return max(group, key=lambda row: row.since)
    in_doubt = [row for row in rows if row.state == "ambiguous"]
    return in_doubt[0] if in_doubt and not _superseded(conn, in_doubt[0]) else None


def _unfinished(conn: Connection, rows: Sequence[OpenImport], *, now: datetime, alive: Alive) -> list[OpenImport]:
    """Those that are to be continued: not at their end, or with open posts, and asked for by a run that is over."""
    of_wish = [row.import_id for row in rows if row.state == "complete"]
    query = select(imports.c.import_id).where(imports.c.import_id.in_(of_wish), with_open_posts())
    with_posts = set(conn.execute(query).scalars())
    found = [row for row in rows if row.state in RUNNING or row.import_id in with_posts]
    over = leases.ended_runs(conn, {row.asked_by for row in found}, now=now, alive=alive)
    return [row for row in found if row.asked_by in over]


def _own(conn: Connection, run_id: str, rows: Sequence[OpenImport]) -> OpenImport | None:
    mine = set(conn.execute(select(run_imports.c.import_id).where(run_imports.c.run_id == run_id)).scalars())
    return next((row for row in rows if row.import_id in mine and row.state not in ("failed", "dropped")), None)


def _superseded(conn: Connection, doubt: OpenImport) -> bool:
    """Whether an import of the same wish was submitted after the one in doubt: then somebody decided already."""
    later = and_(
        imports.c.account == doubt.account,
        imports.c.wish == doubt.wish,
        imports.c.submitted_at.is_not(None),
        imports.c.planned_at > doubt.planned_at,
    )
    return conn.execute(select(imports.c.import_id).where(later).limit(1)).first() is not None


def _take_over(conn: Connection, free: Sequence[OpenImport], plan: dict[str, Any]) -> OpenImport:
    """Make a plan that nobody follows any more this run's; others of the same wish would only be bought too."""
    chosen = max(free, key=lambda row: row.since)
    surplus = [row.import_id for row in free if row is not chosen]
    conn.execute(
        update(imports)
        .where(imports.c.import_id.in_(surplus), imports.c.state == "planned")
        .values(state="dropped", note=f"never sent; {chosen.import_id} took its place")
    )
    # `forced` stays where it is set: it keeps the row out of the index of shared plans.
    values = {**plan, "forced": chosen.forced or plan["forced"]}
    if SENT_AGAIN in (chosen.note or ""):
        # Whoever had it sent again meant this very import.
        values |= {"requested": max(chosen.requested, plan["requested"]), "collection": chosen.collection}
    conn.execute(update(imports).where(imports.c.import_id == chosen.import_id).values(**values))
    return read(conn, imports.c.import_id == chosen.import_id)[0]


def _insert(conn: Connection, plan: dict[str, Any]) -> OpenImport:
    """Write a new plan.

    The index of open wishes admits one shared plan or submission at a time. If one stands there, it was found to be
    no help (too small), and this one goes beside it, as `forced`.
    """
    plan = {**plan, "import_id": str(uuid.uuid4()), "state": "planned"}
    insert = insert_into(conn.dialect.name, imports)
    # By what comes back and not by the row count, which Postgres' driver does not tell here.
    if conn.execute(insert.values(plan).on_conflict_do_nothing().returning(imports.c.import_id)).first() is None:
        conn.execute(insert.values({**plan, "forced": True}))
    return read(conn, imports.c.import_id == plan["import_id"])[0]
