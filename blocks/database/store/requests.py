"""Requests: what each run asked for and nobody has settled, and why it waits: held, out of room, or for a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, case, func, select

from blocks.database.store import leases, spend
from blocks.database.store.import_rows import imports
from blocks.database.store.statements import chunks, posts_among, table_of
from blocks.database.store.work import OPEN_WORK, Key
from blocks.database.tables import Budget, Run, Work

_runs, _work, _budgets = table_of(Run), table_of(Work), table_of(Budget)

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
    room = case((spend.has_room(_work.c.platform, cheapest_micros), 1), else_=0)
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
