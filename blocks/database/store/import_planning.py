"""Plans imports: writes one into the ledger, or finds the one that serves already; decides ambiguous ones by hand."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, and_, exists, func, or_, select, update

from blocks.database.store import leases, money, runs
from blocks.database.store.import_polls import close_unreadable
from blocks.database.store.imports import (
    OPEN,
    SENT_AGAIN,
    by_task,
    find_imports,
    get,
    give_up_submissions,
    imports,
    insert_plan,
    move,
    read,
    run_imports,
    with_note,
    with_open_posts,
)
from blocks.database.store.statements import insert_into, insert_missing, table_of
from blocks.database.tables import Hashtag, Import
from blocks.database.tables.ledger import RUNNING
from blocks.errors import UsageError
from blocks.processes import Alive, is_alive

Action = Literal["submit", "attached", "reused"]
_RECORDED = {"submit": "submitted", "attached": "attached", "reused": "reused"}


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which import serves a request, and what its run has to do about it.

    - `submit`: the import is planned and the caller holds its lease; send it.
    - `attached`: it is somebody's who lives (planned, sending), or is under way (submitted, collecting): follow it.
      In the state `ambiguous` it waits for a decision and is only to be reported.
    - `reused`: it is finished (complete), or ended `empty` and is worth another look.
    """

    import_id: str
    action: Action
    state: str
    since: datetime
    """When it was submitted, or planned, where it was not sent yet."""
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
    dedup_key: str,
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
    alive: Alive = is_alive,
) -> Ticket:
    """Find the import that serves a request, or plan one; written down for the run in either case, whose request it is.

    Imports serve a request of the same `account` and `dedup_key` (see `blocks.dedup_keys`), for a count
    no larger than theirs. In this order:

    1. one that this very run has already, whatever its age and also with `fresh`: a step that is repeated buys once;
    2. one that was submitted and is not finished, or of whose posts some are not settled, and that no living run asks
       for: whatever its age, it is continued, but not by a schedule's run (not `continues`);
    3. one that somebody alive is about to send or sends, or that was submitted, and is not finished or `complete`,
       the newest first; what was submitted before `reuse_after` is too old (None: everything is);
    4. one that ended `empty`, not too old: nothing was bought yet, and posts may still come;
    5. an `ambiguous` one, of any age and count, unless a later one was submitted: somebody has to decide
       first, or ask for `fresh`;
    6. one that was planned and never sent, by a holder that is dead: it is taken over, with this request's count (one
       that is to be sent again by hand keeps its collection, and its count if that is larger); one that a person's
       stop holds is left alone by a schedule's run;
    7. a new one. With `fresh` 2 to 5 are left out.

    `failed` and `dropped` imports serve nobody. A larger request beside a smaller import under way is an import of its
    own, and the next request of any count up to its own attaches to it.

    Args:
        owner: the holder (see `processes.name_holder`) that takes the lease of what is to be submitted.
        reuse_after: imports submitted at or after this moment can be used again.
        now: for tests; by itself the database's clock.
    """
    at = leases.clock(conn, now)
    _one_planner_at_a_time(conn, account, dedup_key)
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
    rows = _candidates(conn, account, dedup_key, run_id, reuse_after, now=at, alive=alive)
    if not continues:
        rows = [row for row in rows if row.state != "planned" or not runs.is_stopped(conn, row.asked_by)]
    free = [row for row in rows if row.state == "planned" and _is_free(row, owner, at, alive)]
    unfinished = _unfinished(conn, rows, now=at, alive=alive) if continues and not fresh else []
    chosen = _choose(conn, rows, free, unfinished, requested, run_id, reuse_after, fresh=fresh)
    if chosen is not None and chosen not in free:
        action: Action = "reused" if chosen.state in ("complete", "empty") else "attached"
        runs.ask_for_import(conn, chosen.import_id, run_id)
    else:
        whose = {"account": account, "dedup_key": dedup_key}
        chosen = _take_over(conn, free, plan) if free else _insert(conn, whose | plan)
        action = "submit"
    record = insert_into(run_imports).values(run_id=run_id, import_id=chosen.import_id, how=_RECORDED[action])
    # What the run once submitted stays its own, however it finds it again.
    conn.execute(
        record.on_conflict_do_update(
            index_elements=["run_id", "import_id"],
            set_={"how": "submitted"},
            where=record.excluded.how == "submitted",
        )
    )
    return Ticket(
        chosen.import_id, action, chosen.state, chosen.since, chosen.requested, open_only=chosen in unfinished
    )


def _follow(conn: Connection, tag: str, typed: str, at: datetime) -> None:
    """Note a hashtag that is followed, once for ever, as it was first typed."""
    insert_missing(conn, table_of(Hashtag), [{"tag": tag, "shown": typed, "first_seen_at": at}])


def _one_planner_at_a_time(conn: Connection, account: str, dedup_key: str) -> None:
    """SQLite has one writer anyway; on Postgres planners of the same request wait for each other."""
    if conn.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"{account}/{dedup_key}".encode()).digest()[:8], "big", signed=True)
        conn.execute(select(func.pg_advisory_xact_lock(key)))


def _candidates(
    conn: Connection,
    account: str,
    dedup_key: str,
    run_id: str,
    reuse_after: datetime | None,
    *,
    now: datetime,
    alive: Alive,
) -> list[Import]:
    """Rows of the request that may serve it, newest first; a submission whose sender died is ambiguous from now on."""
    row = imports.c
    ours = exists().where(run_imports.c.import_id == row.import_id, run_imports.c.run_id == run_id)
    wanted = [row.state.in_((*OPEN, "ambiguous")), ours, and_(row.state == "complete", with_open_posts())]
    if reuse_after is not None:
        young = func.coalesce(row.submitted_at, row.planned_at) >= reuse_after
        wanted.append(and_(row.state.in_(("complete", "empty")), young))
    alike = and_(row.account == account, row.dedup_key == dedup_key, or_(*wanted))
    found = read(conn, alike)
    if give_up_submissions(conn, [one for one in found if one.state == "sending"], now=now, alive=alive):
        found = read(conn, alike)
    return sorted(found, key=lambda one: one.since, reverse=True)


def _is_free(row: Import, owner: str, now: datetime, alive: Alive) -> bool:
    return leases.is_free(row.lease_owner, row.lease_until, now=now, me=owner, alive=alive)


def _choose(
    conn: Connection,
    rows: Sequence[Import],
    free: Sequence[Import],
    unfinished: Sequence[Import],
    requested: int,
    run_id: str,
    reuse_after: datetime | None,
    *,
    fresh: bool,
) -> Import | None:
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
    ambiguous = [row for row in rows if row.state == "ambiguous"]
    return ambiguous[0] if ambiguous and not _superseded(conn, ambiguous[0]) else None


def _unfinished(conn: Connection, rows: Sequence[Import], *, now: datetime, alive: Alive) -> list[Import]:
    """Those that are to be continued: not at their end, or with open posts, and asked for by a run that is over."""
    complete = [row.import_id for row in rows if row.state == "complete"]
    query = select(imports.c.import_id).where(imports.c.import_id.in_(complete), with_open_posts())
    with_posts = set(conn.execute(query).scalars())
    found = [row for row in rows if row.state in RUNNING or row.import_id in with_posts]
    over = leases.ended_runs(conn, {row.asked_by for row in found}, now=now, alive=alive)
    return [row for row in found if row.asked_by in over]


def _own(conn: Connection, run_id: str, rows: Sequence[Import]) -> Import | None:
    mine = set(conn.execute(select(run_imports.c.import_id).where(run_imports.c.run_id == run_id)).scalars())
    return next((row for row in rows if row.import_id in mine and row.state not in ("failed", "dropped")), None)


def _superseded(conn: Connection, undecided: Import) -> bool:
    """Whether an import of the same request was submitted after the ambiguous one: then somebody decided already."""
    later = and_(
        imports.c.account == undecided.account,
        imports.c.dedup_key == undecided.dedup_key,
        imports.c.submitted_at.is_not(None),
        imports.c.planned_at > undecided.planned_at,
    )
    return conn.execute(select(imports.c.import_id).where(later).limit(1)).first() is not None


def _take_over(conn: Connection, free: Sequence[Import], plan: dict[str, Any]) -> Import:
    """Make a plan that nobody follows any more this run's; others of the same request would only be bought too."""
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
    taken = move(conn, chosen.import_id, **values)
    assert taken is not None, "it was read in this transaction"
    return taken


def _insert(conn: Connection, plan: dict[str, Any]) -> Import:
    """Write a new plan.

    The index of open requests admits one shared plan or submission at a time. If one stands there, it was found to be
    no help (too small), and this one goes beside it, as `forced`.
    """
    plan = {**plan, "import_id": str(uuid.uuid4()), "state": "planned"}
    planned = insert_plan(conn, plan) or insert_plan(conn, {**plan, "forced": True})
    assert planned is not None, "its id is new, and the index leaves out what is forced"
    return planned


def running_twin(conn: Connection, import_id: str) -> Import | None:
    """The newest import under way of the same account and request, other than this one."""
    row = get(conn, import_id)
    same = and_(imports.c.account == row.account, imports.c.dedup_key == row.dedup_key)
    found = read(
        conn, same, imports.c.import_id != import_id, imports.c.state.in_(RUNNING), imports.c.task_id.is_not(None)
    )
    return max(found, key=lambda one: one.since, default=None)


def give_way(conn: Connection, import_id: str, *, run_id: str, owner: str, why: str) -> str | None:
    """sending → dropped, where another import of the same request is under way, which the run follows from now on.

    Returns that import's id; None where there is none, and then nothing was changed.
    """
    twin = running_twin(conn, import_id)
    if twin is None:
        return None
    sending = and_(imports.c.state == "sending", imports.c.lease_owner == owner)
    ended = {"state": "dropped", "finished_at": leases.clock(conn), "lease_owner": None, "lease_until": None}
    note = f"{why}; import {twin.import_id} is under way already"
    if move(conn, import_id, sending, **ended, note=note) is None:
        return None
    insert_missing(conn, run_imports, [{"run_id": run_id, "import_id": twin.import_id, "how": "attached"}])
    runs.ask_for_import(conn, twin.import_id, run_id)
    return twin.import_id


Decision = Literal["resubmit", "attach", "drop"]


def resolve(
    conn: Connection,
    import_id: str,
    decision: Decision,
    *,
    task_id: str | None = None,
    now: datetime | None = None,
    alive: Alive = is_alive,
) -> Import | None:
    """Decide an ambiguous import; the row as it is then, None if it is not ambiguous (any more).

    `resubmit`: planned again, for the next run to send; the note counts how often. `attach`: it was accepted as
    `task_id`, which is polled from now on. `drop`: given up; the request is free for a new import. A planned import
    whose lease is free, which nobody is about to send, can be dropped too, and one under way that nobody follows at
    this moment: its answers may be such that nobody can read. An import that was attached to a task by
    hand is decided anew as long as that task listed nothing and no run follows it: the task may be a wrong one.

    Raises:
        UsageError: `attach` without a task id, or with one that another import has.
        StoreError: the ledger has no such import.
    """
    row = get(conn, import_id)
    at = leases.clock(conn, now)
    undecided = _undecided(conn, import_id, at, alive)
    if decision == "attach":
        task_id = (task_id or "").strip()
        if not task_id:
            raise UsageError("name the task to attach: --attach TASK_ID, as the vendor's console shows it")
        if not task_id.isprintable():
            raise UsageError("that task id holds a control character: copy it again from the vendor's console")
        other = by_task(conn, task_id)
        if other is not None and other.import_id != import_id:
            raise UsageError(
                f"task {task_id} belongs to import {other.import_id} already; name another, or drop this one"
            )
        if row.task_id == task_id and row.state != "ambiguous":
            return None
        note = f"{_ATTACHED} {task_id} by hand"
        taken = {"state": "submitted", "task_id": task_id, "submitted_at": at, "note": note}
        return move(conn, import_id, undecided, **taken, **_NEVER_POLLED)
    if decision == "drop":
        dropped = {"state": "dropped", "finished_at": at, "lease_owner": None, "note": "dropped by hand"}
        dropped["next_look_at"] = None
        close_unreadable(conn, import_id, at)
        idle = and_(imports.c.state.in_(("planned", *RUNNING)), imports.c.import_id == import_id)
        for one in read(conn, idle, lock=True):
            if leases.is_free(one.lease_owner, one.lease_until, now=at, alive=alive):
                return move(conn, import_id, idle, **dropped, lease_until=None)
        return move(conn, import_id, undecided, **dropped)
    times = (row.note or "").count(SENT_AGAIN) + 1
    note = with_note(row.note, f"{SENT_AGAIN} ({times})")
    # Whoever decides this means this very import: it need not be the only one of its request.
    again = {"state": "planned", "forced": True, "planned_at": at, "lease_until": None, "note": note, "task_id": None}
    return move(conn, import_id, undecided, **again, **_NEVER_POLLED)


_ATTACHED = "attached to task"
_NEVER_POLLED: dict[str, Any] = {
    "polls": 0, "quiet_polls": 0, "last_polled_at": None, "finished_at": None, "next_look_at": None, "looks": 0,
}  # fmt: skip


def _undecided(conn: Connection, import_id: str, at: datetime, alive: Alive) -> Any:
    """Ambiguous, or attached by hand to a task of which nothing came, and that nobody follows at this moment."""
    by_hand = and_(
        imports.c.state.in_((*RUNNING, "empty")),
        imports.c.note.startswith(_ATTACHED),
        imports.c.first_item_at.is_(None),
        imports.c.seen + imports.c.withheld == 0,
    )
    for row in read(conn, and_(imports.c.import_id == import_id, by_hand), lock=True):
        if leases.is_free(row.lease_owner, row.lease_until, now=at, alive=alive):
            return by_hand
    return imports.c.state == "ambiguous"


FEWEST_LETTERS = 4
"""An import's id may be shortened to so many letters, if they name one only."""


def decide(conn: Connection, typed: str, decision: Decision, *, task_id: str | None = None) -> Import:
    """Carry out a decision (see `resolve`) on the import whose id begins with `typed`; gives it as it is then.

    Whoever resubmits says that it never arrived: what was reserved for it is free again. What was reserved for one that
    is dropped goes on counting as spent, under all caps, for it may have been billed.

    Raises:
        UsageError: no import or several begin so, there is nothing to decide about it, or the task does not fit.
    """
    start = typed.strip().lower()
    if len(start) < FEWEST_LETTERS:
        raise UsageError(f"name the import by at least the first {FEWEST_LETTERS} letters of its id")
    found = find_imports(conn, start, limit=2)
    if not found:
        raise UsageError(f"there is no import {typed}; `tagtrail status` shows those that are in doubt")
    if len(found) > 1:
        raise UsageError(f"several imports begin with {typed}; type more of the id")
    [row] = found
    decided = resolve(conn, row.import_id, decision, task_id=task_id)
    if decided is None:
        if decision == "drop" and row.state in RUNNING:
            raise UsageError(f"a run follows import {row.import_id} at this moment: drop it when that run has ended")
        raise UsageError(
            f"import {row.import_id} is {row.state}, not ambiguous: there is nothing to decide about it (an attached "
            "task can be taken back as long as it listed nothing and no run follows it)"
        )
    if decision == "resubmit":
        money.release_import(conn, row.import_id, now=leases.clock(conn))
    return decided
