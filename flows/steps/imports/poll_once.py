"""One poll of an import."""

from __future__ import annotations

from blocks.database.store.import_polls import ItemSeen, keep_unreadable
from blocks.database.store.imports import OpenImport
from blocks.errors import MemoriesError, NotAPostUrl, TagtrailError, Unreadable
from blocks.memories.client import ImportItemSeen
from blocks.posts.identity import parse_post_url
from flows.steps.run.context import RunContext


async def poll_once(run: RunContext, row: OpenImport) -> list[ItemSeen] | None:
    """One poll; None where no answer came. A poll's error is never the import's failure."""
    if not await run.limits.slot("status"):
        return None
    assert row.task_id is not None
    try:
        # A public import has no namespace: polled under one it would look empty for ever.
        namespace = None if row.library == "public" else row.namespace
        items = await run.client.import_status(row.task_id, namespace=namespace)
    except TagtrailError as error:
        if error.halts:
            raise
        if isinstance(error, Unreadable) and error.body:
            await run.store.run(keep_unreadable, row.import_id, error, run_id=run.run_id)
        if isinstance(error, MemoriesError):
            await run.limits.apply_retry_after("status", error)
        run.journal.poll_errors[error.error_class] += 1
        return None
    run.limits.succeeded("status")
    run.journal.on_trial = False
    return [_seen(item) for item in items]


def _seen(item: ImportItemSeen) -> ItemSeen:
    ref = None
    if item.video_url is not None:
        try:
            ref = parse_post_url(item.video_url)
        except NotAPostUrl:
            # Kept and counted as an item without a post; its own URL stands in the row.
            ref = None
    return ItemSeen(video_no=item.video_no, source_url=item.video_url, item_status=item.status, ref=ref, odd=item.odd)
