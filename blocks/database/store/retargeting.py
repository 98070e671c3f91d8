"""Which checkpoint each stored snapshot answers, decided anew where a re-parse finds the post of another age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from blocks.database.store import resting
from blocks.database.store.difference import Key
from blocks.database.store.resting import Moment
from blocks.posts.snapshot_plan import SnapshotPlan

TARGET_COLUMNS = ("target_age", "lateness_seconds")


def retarget(
    conn: Connection,
    read: Mapping[Moment, dict[str, Any]],
    there: Mapping[Moment, Row[Any]],
    plan: SnapshotPlan | None,
) -> tuple[dict[Moment, dict[str, Any]], set[Key]]:
    """Fill `target_age` and `lateness_seconds` of snapshots as they are `read` now, by the plan of today.

    A snapshot whose age is as it was keeps its target; one of another age, or a new one, is decided as if it were
    stored now. What it answered so far is open to the other snapshots of its post that answer nothing: those of them
    that are not among `read`, and get a target, are given back, with the keys of the posts of another age.
    """
    for moment, row in read.items():
        old = there.get(moment)
        row |= dict.fromkeys(TARGET_COLUMNS) if old is None else {name: old._mapping[name] for name in TARGET_COLUMNS}
    to_decide = {
        moment: row
        for moment, row in read.items()
        if moment not in there or there[moment].age_seconds != row["age_seconds"]
    }
    of_another_age = {moment[:2] for moment in to_decide if moment in there}
    others: dict[Moment, dict[str, Any]] = {}
    for moment, old in there.items():
        if moment[:2] in of_another_age and moment not in to_decide and old.target_age is None:
            if moment not in read:
                others[moment] = dict(old._mapping)
            to_decide[moment] = others[moment] if moment in others else read[moment]
    rows = [to_decide[moment] for moment in sorted(to_decide)]
    resting.set_targets(conn, rows, [plan] * len(rows), without=to_decide.keys())
    return {moment: row for moment, row in others.items() if row["target_age"] is not None}, of_another_age
