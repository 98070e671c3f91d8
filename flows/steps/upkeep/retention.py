"""Retention as a step of a flow: what is older than so many days goes, in the database and on the Prefect server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from blocks.database.engine import open_store
from blocks.database.purge import Target, purge
from blocks.errors import TagtrailError
from blocks.outside_words import for_log, for_markdown
from blocks.settings import get_settings
from flows.steps.prefect_side.artifacts import best_effort
from flows.steps.run.accounts import saved_database_url
from flows.steps.upkeep.erasure import erase_on_server


async def erase_what_is_old(older_than_days: int, *, dry_run: bool) -> State[Any]:
    """Carry the purge out, by the setting where no age is given; Completed with the counts in the message."""
    try:
        settings = get_settings()
        days = older_than_days or settings.tagtrail_retention_days
        if days is None:
            return Completed(message="nothing was erased: TAGTRAIL_RETENTION_DAYS is not set, and no age was given")
        cutoff = datetime.now(UTC) - timedelta(days=days)
        url = await saved_database_url() or settings.database_url
        store = await asyncio.to_thread(open_store, url, create=True)
        try:
            done = await purge(store, Target(cutoff=cutoff), dry_run=dry_run)
        finally:
            store.close()
    except TagtrailError as error:
        return Failed(message=for_log(str(error)))
    on_server = await erase_on_server(before=cutoff, dry_run=dry_run)
    counts = {**done.erased, **{f"Prefect {name}": count for name, count in on_server.items()}}
    told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing was that old"
    message = f"{'would be erased' if dry_run else 'erased'} of what is older than {days} days: {told}"
    await _show(message, counts, done.notes)
    return Completed(message=message)


async def _show(message: str, counts: Mapping[str, int], notes: list[str]) -> None:
    if FlowRunContext.get() is None:
        return
    lines = [f"## {for_markdown(message)}", "", "| table | rows |", "|---|---:|"]
    lines += [f"| {for_markdown(name)} | {count} |" for name, count in sorted(counts.items())]
    lines += [
        "",
        *(f"- {for_markdown(note)}" for note in notes),
        "- files that were exported are not touched: `tagtrail purge` lists them",
    ]
    with best_effort("the summary"):
        await acreate_markdown_artifact("\n".join(lines), key="purge", description=for_markdown(message))
