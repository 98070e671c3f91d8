"""One more look at finished imports: what was listed without a URL may have one now, and more may be listed."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.database.store import imports as ledger
from blocks.database.store import runs
from blocks.database.store.import_polls import record_late_look
from blocks.database.store.imports import FoundPost, OpenImport
from blocks.errors import TagtrailError
from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports.poll_once import poll_once
from flows.steps.run.context import RunContext
from flows.steps.run.summary import plural

MAX_LATE_LOOKS = 60
"""So many short imports one sweep looks at: about a minute of the status calls that the account may make."""


async def recheck_short_imports(run: RunContext, enrichment: Enrichment) -> None:
    """Poll each import that ended with less than was asked for, where that is due; what it lists anew is enriched."""
    try:
        for row in await run.store.run(ledger.take_late_looks, run.client.account, most=MAX_LATE_LOOKS):
            if run.halt.reason is None and (new := await _recheck(run, row)):
                count = plural(len(new), "more post")
                run.journal.note(f"import {row.import_id} had ended short, and lists {count} by now")
                enrichment.add(new)
    except TagtrailError as error:
        run.halt.pull(error)


async def recheck_imports(run: RunContext, import_ids: Sequence[str], enrichment: Enrichment) -> None:
    """Poll each of these imports once, if it is finished; what they list anew is enriched. A poll costs nothing."""
    run.progress.stage = "importing"
    for import_id in import_ids:
        if run.halt.reason is None:
            found = await run.store.read(ledger.find_imports, import_id)
            mine = (import_id, run.client.account, "complete")
            rows = [row for row in found if (row.import_id, row.account, row.state) == mine and row.task_id]
            if rows:
                enrichment.add(await _recheck(run, rows[0]))
            else:
                run.journal.note(
                    f"import {import_id} is not polled again: this key's ledger holds no such finished import"
                )
    run.progress.stage = "enriching"


async def _recheck(run: RunContext, row: OpenImport) -> list[FoundPost]:
    """Poll a finished import; gives the posts that it lists for the first time."""
    listed = await poll_once(run, row)
    if listed is None:
        if run.halt.reason is None:
            run.journal.note(f"import {row.import_id} could not be polled")
        return []
    now = run.clock()
    post_micros = run.settings.tagtrail_prices.import_micros(1)
    result = await run.store.run(
        record_late_look, row.import_id, listed, post_micros=post_micros, run_id=run.run_id, now=now
    )
    if result.new_posts:
        posts = [(post.ref, post.source_url) for post in result.new_posts]
        asks = run.request.asker(run.run_id) is not None
        await run.store.run(runs.take_posts, run.run_id, posts, now=now, asks=asks)
    return list(result.new_posts)
