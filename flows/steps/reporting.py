"""Reports as a step of a flow: a file for each collection, and an artifact with counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from blocks.database.engine import open_store
from blocks.database.store.known import collections
from blocks.memories.captions import hashtag_key, normalise_hashtag
from blocks.memories.errors import TagtrailError
from blocks.outside_words import for_log, for_markdown
from blocks.settings import get_settings
from flows.reporting.figures import Figures
from flows.reporting.making import default_target, make
from flows.steps.accounts import saved_database_url
from flows.steps.exported import note_export
from flows.steps.showing import artifact_key, best_effort
from flows.steps.summary import SAMPLE, plural

Report = tuple[str, Path, Figures]


async def write_reports(collection: str, hashtag: str, days: int, *, now: datetime | None = None) -> State[Any]:
    """Write the report of a collection, or one of each; Failed with one sentence where that cannot be."""
    now = now or datetime.now(UTC)
    try:
        url = await saved_database_url() or get_settings().database_url
        reports = await asyncio.to_thread(_write, url, collection.strip(), hashtag.strip(), days, now)
    except TagtrailError as error:
        return Failed(message=for_log(str(error)))
    await _show(reports, collection)
    posts: set[str] = set().union(*(figures.posts for *_, figures in reports))
    return Completed(message=f"{plural(len(reports), 'report')}, {plural(len(posts), 'post')}")


def _write(url: str, collection: str, hashtag: str, days: int, now: datetime) -> list[Report]:
    home = get_settings().home
    tag = hashtag_key(normalise_hashtag(hashtag)) if hashtag else None
    since = now - timedelta(days=days) if days else None
    store = open_store(url, create=True)
    try:
        with store.connect() as conn:
            wanted = [collection] if collection else collections(conn)
        made = []
        for name in wanted:
            target = default_target(home, collection=name, hashtag=tag, now=now)
            figures = make(store, target, collection=name, hashtag=tag, since=since, now=now)
            note_export(home, target, "report", len(figures.posts), now)
            made.append((name, target, figures))
        return made
    finally:
        store.close()


async def _show(reports: Sequence[Report], collection: str) -> None:
    """Counts and places as an artifact, without captions or names."""
    if FlowRunContext.get() is None:
        return
    lines = [
        "| collection | posts | new | open failures | gaps | file on the worker |",
        "|---|---:|---:|---:|---:|---|",
        *(
            f"| {for_markdown(name)} | {section.whole.posts} | {section.whole.new} | {section.failures.total()} "
            f"| {len(section.gaps)} | {for_markdown(str(target))} |"
            for name, target, figures in reports
            for section in figures.sections
        ),
        "",
        SAMPLE,
    ]
    with best_effort("the list of reports"):
        await acreate_markdown_artifact("\n".join(lines), key=artifact_key("report", collection or "all"))
