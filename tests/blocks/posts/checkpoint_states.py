"""How a checkpoint stands for a post, one post at a time: what the report and the forecast are held against."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from blocks.posts.snapshot_plan import CheckpointState, SnapshotPlan


def checkpoint_states(
    plan: SnapshotPlan,
    now: datetime,
    *,
    posted_at: datetime,
    first_seen_at: datetime,
    taken: Collection[int] = (),
    resting_since: datetime | None = None,
    rested_until: datetime | None = None,
) -> list[CheckpointState]:
    """Youngest age first; `taken` are the target ages of the post's snapshots."""
    states: list[CheckpointState] = []
    for checkpoint in plan.checkpoints:
        ends_seconds = checkpoint.ends_seconds
        last = min((now - posted_at).total_seconds(), ends_seconds)
        if checkpoint.age_seconds in taken:
            states.append("taken")
        elif ends_seconds <= (first_seen_at - posted_at).total_seconds():
            states.append("unseen")
        elif (
            resting_since is not None
            and (resting_since - posted_at).total_seconds() <= last
            and (rested_until is None or last <= (rested_until - posted_at).total_seconds())
        ):
            states.append("resting")
        elif last < checkpoint.age_seconds:
            states.append("upcoming")
        else:
            states.append("due" if last < ends_seconds else "missed")
    return states
