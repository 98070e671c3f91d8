"""Re-parse: batch after batch of posts, each in a transaction of its own, so that a kill loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from blocks.database.engine import Store
from blocks.database.store import meta
from blocks.database.store.filters import Filters
from blocks.database.store.reparse import reparse_posts
from blocks.database.store.replay import Difference, Policy, next_posts
from blocks.posts.snapshot_plan import SnapshotPlan
from blocks.settings import CommentPolicy

BATCH_POSTS = 100

FIRST = ("", "")
"""Before every key."""


async def reparse(
    store: Store,
    *,
    open_answer: Callable[[bytes], Any],
    filters: Filters,
    comments: CommentPolicy,
    plan: SnapshotPlan | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Difference:
    """Parse the stored answers of all posts (or those of the filters) anew; the difference that it makes.

    Memory does not grow with the number of posts. What was written stays written if the process ends; the same call
    does the rest, and one more differs in nothing. `open_answer` gives the payload of an answer as it came, or raises
    what the answer says (`MemoriesError`). `progress` is told how many posts are done.

    Raises:
        StoreError: the database cannot be used.
    """
    key = await store.read(meta.known, meta.COMMENT_KEY) if dry_run else await store.run(meta.comment_key)
    policy = Policy(comments=comments, comment_key=bytes.fromhex(key or ""), open_answer=open_answer, plan=plan)
    total, after, done = Difference(), FIRST, 0
    while keys := await store.read(next_posts, filters, after, limit=BATCH_POSTS):
        carry_out = store.read if dry_run else store.run
        part = await carry_out(reparse_posts, keys, policy, since=filters.since, now=datetime.now(UTC), dry_run=dry_run)
        total.add(part)
        after, done = keys[-1], done + len(keys)
        progress(done)
    return total
