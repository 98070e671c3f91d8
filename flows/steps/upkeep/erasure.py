"""Erasure: what is older than so many days goes, in the database and on the Prefect server; or what names somebody."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
    TaskRunFilter,
    TaskRunFilterName,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State
from prefect.client.schemas.sorting import ArtifactSort, DeploymentSort, FlowRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed

from blocks.database.purge import Target, purge
from blocks.database.store.erased_names import Naming
from blocks.errors import TagtrailError
from blocks.outside_words import for_log, for_markdown, out_of_markdown
from blocks.posts.platforms.registry import PLATFORMS
from blocks.settings import get_settings
from flows.steps.prefect_side.artifacts import best_effort
from flows.steps.run.accounts import open_database

T = TypeVar("T")

OURS = (
    "track-hashtags", "enrich-posts", "collect-imports", "import-posts", "import-creators", "refresh-metrics",
    "resolve-import",
)  # fmt: skip
"""Flows whose names nobody else has; their runs are ours."""

TAGGED = ("report", "canary", "purge")
"""Flows whose runs are ours only with the tag: another project on the same server may have flows of these names."""

TAG = "tagtrail"

PAGE = 200
"""So many entries are read from the server at once."""


async def erase_on_server(
    *, naming: Naming | None = None, before: datetime | None = None, dry_run: bool = False, page: int = PAGE
) -> Counter[str]:
    """Delete artifacts and ended runs of our flows that name somebody by `naming`, or are older than `before`.

    A run names a post also where one of its tasks is called after it; its log goes with it.

    Deployments whose parameters name them are only counted: they are the operator's.

    Raises:
        Prefect's own errors where its server cannot be used.
    """
    found: Counter[str] = Counter()
    async with get_client() as client:
        runs = await _runs(client, before, page)
        of_tasks = set() if naming is None else await _runs_with_tasks_named(client, naming, page)
        ids = {run.id for run in runs}
        # By its run: another project's artifact may have a key that begins like one of ours. All are read before
        # anything goes, for pages would shift.
        artifacts = _each(client.read_artifacts, page, sort=ArtifactSort.ID_DESC)
        for artifact in [one async for one in artifacts if one.flow_run_id in ids]:
            texts = [out_of_markdown(one) for one in (artifact.data, artifact.description) if isinstance(one, str)]
            if _names(naming, artifact.data, artifact.description, texts) or _is_older(artifact.created, before):
                found["artifacts"] += 1
                if not dry_run and artifact.id is not None:
                    await _gone(client.delete_artifact(artifact.id))
        for run in runs:
            if run.state_type not in TERMINAL_STATES:
                # One that is under way holds what it needs.
                continue
            named = run.id in of_tasks or _names(naming, run.parameters, run.name, run.state and run.state.message)
            if named or _is_older(run.start_time, before):
                found["runs"] += 1
                if not dry_run:
                    await _gone(client.delete_flow_run(run.id))
        if naming is not None:
            found["deployments that name them (not changed)"] = sum(
                [
                    _names(naming, one.parameters, [each.parameters for each in one.schedules])
                    async for one in _each(client.read_deployments, page, sort=DeploymentSort.CREATED_DESC)
                ]
            )
    return +found


async def _each(read: Callable[..., Awaitable[list[T]]], limit: int, **what: Any) -> AsyncIterator[T]:
    """Everything of one kind that the server has, page by page."""
    offset = 0
    while page := await read(**what, limit=limit, offset=offset):
        for one in page:
            yield one
        offset += limit


async def _runs(client: PrefectClient, before: datetime | None, limit: int) -> list[FlowRun]:
    found: list[FlowRun] = []
    started = None if before is None else FlowRunFilter(start_time=FlowRunFilterStartTime(before_=before))
    for names, tag in ((OURS, None), (TAGGED, TAG)):
        flows = FlowFilter(name=FlowFilterName(any_=list(names)))
        runs = _each(client.read_flow_runs, limit, flow_filter=flows, flow_run_filter=started, sort=FlowRunSort.ID_DESC)
        found += [run async for run in runs if tag is None or tag in run.tags]
    return found


async def _runs_with_tasks_named(client: PrefectClient, naming: Naming, limit: int) -> set[UUID]:
    """The runs in which a post was enriched by a task of its own: the task has the post's code in its name."""
    names = [f"enrich {platform}/{code}" for code in sorted(naming.codes) for platform in PLATFORMS]
    found: set[UUID | None] = set()
    for at in range(0, len(names), limit):
        named = TaskRunFilter(name=TaskRunFilterName(any_=names[at : at + limit]))
        found |= {task.flow_run_id async for task in _each(client.read_task_runs, limit, task_run_filter=named)}
    return {run_id for run_id in found if run_id is not None}


async def _gone(deleting: Any) -> None:
    try:
        await deleting
    except ObjectNotFound:
        return


def _names(naming: Naming | None, *texts: Any) -> bool:
    return naming is not None and naming.found_in(texts)


def _is_older(moment: datetime | None, before: datetime | None) -> bool:
    return before is not None and moment is not None and moment < before


async def erase_what_is_old(older_than_days: int, *, dry_run: bool) -> State[Any]:
    """Carry the purge out, by the setting where no age is given; Completed with the counts in the message."""
    try:
        days = older_than_days or get_settings().tagtrail_retention_days
        if days is None:
            return Completed(message="nothing was erased: TAGTRAIL_RETENTION_DAYS is not set, and no age was given")
        cutoff = datetime.now(UTC) - timedelta(days=days)
        async with open_database() as store:
            done = await purge(store, Target(cutoff=cutoff), dry_run=dry_run)
    except TagtrailError as error:
        return Failed(message=for_log(str(error)))
    on_server = await erase_on_server(before=cutoff, dry_run=dry_run)
    counts = {**done.erased, **{f"Prefect {name}": count for name, count in on_server.items()}}
    parts = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing was that old"
    message = f"{'would be erased' if dry_run else 'erased'} of what is older than {days} days: {parts}"
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
