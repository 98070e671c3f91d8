"""What the Prefect UI shows of a run: a summary and a progress bar, counts only, no captions and no names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.logging import get_logger
from prefect.runtime import flow_run

from blocks.database.engine import Store
from blocks.database.store import imports as ledger
from blocks.database.store import money as money_store
from blocks.dollars import dollars
from blocks.errors import StoreError
from blocks.outside_words import distinct_name, for_markdown
from blocks.quotas.budget import Budget
from flows.steps.prefect_side.run_names import tags_of_run
from flows.steps.run.progress import NOT_ENDED, Progress
from flows.steps.run.request import RunRequest
from flows.steps.run.summary import SAMPLE, TODAY, RunSummary

UPDATE_SECONDS = 2.0
"""Time between two looks into the books, and updates of the progress artifact; one costs 50 to 150 ms."""


def artifact_key(flow: str, collection: str | None) -> str:
    """A key as Prefect wants it: lower case, digits, dashes."""
    typed = collection or "default"
    return f"{flow}-{distinct_name(re.sub(r'[^a-z0-9]+', '-', typed.lower()).strip('-'), typed)}"


def markdown(summary: RunSummary) -> str:
    """The summary as Markdown, with one table of imports and one of outcomes; its message is the description."""
    per_1000 = "–" if summary.usd_per_1000_new is None else f"{summary.usd_per_1000_new:,.2f}"
    lines = [
        "| requested | enriched | of them fresh | failed | gone | pending | USD (estimate) | USD per 1,000 new |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
        f"| {summary.requested} | {summary.enriched} | {summary.fresh} | {summary.failed} | {summary.gone} "
        f"| {summary.pending} | {dollars(summary.cost_usd)} | {per_1000} |",
        "",
    ]
    if summary.imports:
        lines += [
            "| import of | how | state | asked | listed | new | known | in the one before too | not seen again |",
            "|---|---|---|---:|---:|---:|---:|---:|---:|",
            *(
                f"| {for_markdown(one.name)} | {for_markdown(one.how)} | {for_markdown(one.state)} | {one.requested} "
                f"| {one.seen} | {one.new} | {one.known} | {_count(one.overlap)} | {_count(one.not_seen_again)} |"
                for one in summary.imports
            ),
            "",
        ]
    if summary.leading:
        lines += ["| leading posts | plays | likes |", "|---|---:|---:|"]
        lines += [
            f"| [{one.link}]({one.link}) | {_count(one.plays)} | {_count(one.likes)} |" for one in summary.leading
        ]
        lines.append("")
    if summary.platforms:
        lines.append("- Platforms: " + _counts(summary.platforms) + ".")
    if any(one.kind == "hashtag" for one in summary.imports):
        lines += [f"- {SAMPLE}", f"- {TODAY}"]
    if summary.failures:
        lines.append("- Failures: " + _counts(summary.failures) + ".")
    if summary.calls:
        lines.append("- Calls: " + _counts(summary.calls) + ".")
    lines += [f"- {for_markdown(note)}" for note in summary.notes]
    return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{for_markdown(name)} {count}" for name, count in counts.items())


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


async def show(summary: RunSummary) -> None:
    """Keep the summary as a Markdown artifact of the flow run; outside a flow run there is nothing to show it on."""
    if FlowRunContext.get() is None:
        return
    with best_effort("the summary"):
        await acreate_markdown_artifact(
            markdown(summary),
            key=artifact_key(summary.flow, summary.collection),
            description=for_markdown(summary.message),
        )


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """An artifact that cannot be kept is a line in the log, never a reason for a run to fail."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - Prefect's client raises many kinds
        get_logger(__name__).warning("%s could not be kept as an artifact: %s", what, type(error).__name__)


async def look_into_books(store: Store, budget: Budget, run_id: str, progress: Progress) -> None:
    """Bring a run's counters of money and imports up to what is booked.

    Raises:
        StoreError: the database cannot be read.
    """
    money = await store.read(money_store.totals, run_id)
    rows = await store.read(ledger.of_run, run_id)
    # Not what is reserved: an import may list fewer posts than it was asked for, and a call may be refused.
    progress.cost_usd = (money.spent_micros("import") + budget.billed_micros) / 1_000_000
    progress.imports_settled = sum(row.state not in NOT_ENDED for row, _ in rows)


@asynccontextmanager
async def shown_under_way(
    flow: str, request: RunRequest, progress: Progress, look: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Tag the flow run, so that the UI's list can be filtered, and keep a progress bar of it up to date from the side.

    Every two seconds `look` brings the counters of money and imports up to what is booked.
    """
    shown = 0.0
    with best_effort("the run's tags"):
        hashtags = [one.hashtag for one in request.imports if one.hashtag]
        tags = dict.fromkeys([*flow_run.tags, *tags_of_run(request.collection, hashtags)])
        async with get_client() as prefect:
            await prefect.update_flow_run(UUID(flow_run.id), tags=list(tags))
    artifact = await _progress_artifact(artifact_key(f"{flow}-progress", request.collection))

    async def update() -> None:
        nonlocal shown
        percent = 100.0 * progress.settled / progress.found if progress.found else 0.0
        if artifact is not None and percent != shown:
            shown = percent
            with best_effort("the progress"):
                await aupdate_progress_artifact(artifact, progress=percent)

    async def keep_updating() -> None:
        while True:
            # A database that is away or locked for a moment is the run's own affair.
            with suppress(StoreError):
                await look()
            await update()
            await asyncio.sleep(UPDATE_SECONDS)

    updating = asyncio.create_task(keep_updating())
    try:
        yield
    finally:
        updating.cancel()
        with suppress(asyncio.CancelledError):
            await updating
        await update()


async def _progress_artifact(key: str) -> UUID | None:
    with best_effort("the progress"):
        described = "Posts settled, of those found so far."
        return await acreate_progress_artifact(progress=0.0, key=key, description=described)
    return None
