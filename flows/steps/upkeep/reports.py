"""Reports as a step of a flow: a file for each collection, and an artifact with what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from blocks.database.engine import Store
from blocks.database.store.filters import collections
from blocks.errors import TagtrailError
from blocks.exported_files import note_export
from blocks.outside_words import for_log, for_markdown
from blocks.posts.captions import hashtag_key, normalise_hashtag
from blocks.settings import get_settings
from flows.reporting import picture
from flows.reporting.comparisons import Hashtag
from flows.reporting.figures import Figures, Section
from flows.reporting.making import address, default_target, make
from flows.reporting.period import period_of
from flows.reporting.sentences import AT, number, times
from flows.steps.prefect_side.artifacts import artifact_key, best_effort
from flows.steps.run.accounts import open_database
from flows.steps.run.summary import SAMPLE, plural

Report = tuple[str, Path, Figures]

MAX_HASHTAGS = 30
"""So many hashtags of a collection are listed in the artifact; the file has all."""


async def write_reports(collection: str, hashtag: str, days: int, *, now: datetime | None = None) -> State[Any]:
    """Write the report of a collection, or one of each; Failed with one sentence where that cannot be."""
    now = now or datetime.now(UTC)
    try:
        async with open_database() as store:
            reports = await asyncio.to_thread(_write, store, collection.strip(), hashtag.strip(), days, now)
    except TagtrailError as error:
        return Failed(message=for_log(str(error)))
    await _show(reports, collection)
    posts = {key for *_, figures in reports for key in figures.posts}
    return Completed(message=f"{plural(len(reports), 'report')}, {plural(len(posts), 'post')}")


def _write(store: Store, collection: str, hashtag: str, days: int, now: datetime) -> list[Report]:
    settings = get_settings()
    tag = hashtag_key(normalise_hashtag(hashtag)) if hashtag else None
    period = period_of(days=days, now=now)
    with store.connect() as conn:
        wanted = [collection] if collection else collections(conn)
    made = []
    for name in wanted:
        target = default_target(settings.home, collection=name, hashtag=tag, now=now)
        figures = make(store, target, collection=name, hashtag=tag, period=period, plan=settings.snapshot_plan)
        note_export(settings.home, target, "report", len(figures.posts), now)
        made.append((name, target, figures))
    return made


async def _show(reports: Sequence[Report], collection: str) -> None:
    """What the reports say and where they are as an artifact, without captions or names of people."""
    if FlowRunContext.get() is None:
        return
    parts = [markdown(section, target) for _, target, figures in reports for section in figures.sections]
    with best_effort("the list of reports"):
        await acreate_markdown_artifact("\n\n".join([*parts, SAMPLE]), key=artifact_key("report", collection or "all"))


def markdown(section: Section, target: Path) -> str:
    """One collection's sentences, its hashtags side by side, and where the file is."""
    url = address(get_settings().tagtrail_reports_url, target)
    place = f"[{for_markdown(target.name)}]({url})" if url else f"{for_markdown(str(target))} on the worker"
    mark = " (invented data)" if section.is_invented else ""
    lines = [f"## {for_markdown(section.collection)}{mark}", "", f"The report: {place}", ""]
    if not section.posts:
        return "\n".join([*lines, "No post of this collection was posted in this period and found by its end."])
    lines += [f"{at}. {for_markdown(sentence)}" for at, sentence in enumerate(section.nameless_sentences, 1)]
    if (plot := picture.of_hashtags(section)) is not None:
        lines += ["", plot]
    lines += [
        "",
        f"| hashtag | posts | before | creators | compared | likes + comments at {AT}, median | change |",
        "|---|---:|---:|---:|---:|---:|---|",
        *(_line(one) for one in section.hashtags[:MAX_HASHTAGS]),
        "",
        f"{plural(sum(section.failures.values()), 'open failure')}, {plural(len(section.gaps), 'gap')}.",
    ]
    return "\n".join(lines)


def _line(one: Hashtag) -> str:
    assert one.engagement is not None
    change = one.engagement
    said = f"{times(change.ratio)} times" if change.verdict in ("up", "down") else change.verdict
    before = "–" if one.posts_before is None else f"{one.posts_before:,}"
    return (
        f"| {for_markdown(one.label)} | {one.posts:,} | {before} | {one.creators:,} | {one.compared:,} "
        f"| {number(change.now.median)} | {said} |"
    )
