"""One more look at finished imports: what was listed without a URL may have one now, and more may be listed."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.database.store import imports as ledger
from blocks.database.store import runs
from blocks.database.store.ending import record_late_look
from blocks.database.store.imports import OpenImport
from blocks.errors import TagtrailError
from flows.steps.imports.poll_once import ask
from flows.steps.run.lifecycle import Run
from flows.steps.run.summary import plural

MOST_LATE_LOOKS = 60
"""So many short imports one sweep looks at: about a minute of the status calls that the account may make."""


async def look_at_short_imports(run: Run) -> None:
    """Poll each import that ended with less than was asked for, where that is due; what it lists anew is enriched."""
    try:
        due = await run.store.run(ledger.take_late_looks, run.client.account, most=MOST_LATE_LOOKS)
        for row in due:
            if run.halted is None and (more := await _look_at(run, row)):
                run.note(f"import {row.import_id} had ended short, and lists {plural(more, 'more post')} by now")
    except TagtrailError as error:
        run.halt(error)


async def look_once_more(run: Run, import_ids: Sequence[str]) -> None:
    """Poll each of these imports once, if it is finished; what it lists anew is enriched. A poll costs nothing."""
    run.progress.stage = "importing"
    for import_id in import_ids:
        if run.halted is None:
            await _look(run, import_id)
    run.progress.stage = "enriching"


async def _look(run: Run, import_id: str) -> None:
    rows = [
        row
        for row in await run.store.read(ledger.find_imports, import_id)
        if (row.import_id, row.account, row.state) == (import_id, run.client.account, "complete") and row.task_id
    ]
    if not rows:
        run.note(f"import {import_id} is not polled again: this key's ledger holds no such finished import")
        return
    await _look_at(run, rows[0])


async def _look_at(run: Run, row: OpenImport) -> int:
    """Poll a finished import; how many posts it lists for the first time."""
    listed = await ask(run, row)
    if listed is None:
        if run.halted is None:
            run.note(f"import {row.import_id} could not be polled")
        return 0
    now = run.clock()
    post_micros = run.settings.tagtrail_prices.import_micros(1)
    result = await run.store.run(
        record_late_look, row.import_id, listed, post_micros=post_micros, run_id=run.run_id, now=now
    )
    if result.new_posts:
        posts = [(post.ref, post.source_url) for post in result.new_posts]
        await run.store.run(runs.take_posts, run.run_id, posts, now=now, asks=run.asker is not None)
        run.found(result.new_posts)
    return len(result.new_posts)
