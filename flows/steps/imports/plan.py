"""What a request names is written down before anything is sent: its imports in the ledger, its posts as pending.

What was erased on request is not asked for again: it is taken out before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext

from blocks.database.engine import Store
from blocks.database.store import erased_names, import_planning, runs
from blocks.database.store.import_planning import Ticket
from blocks.database.store.imports import FoundPost
from blocks.dedup_keys import dedup_key
from blocks.posts.identity import item_key, parse_creator_url, parse_post_url
from flows.steps.run.context import RunContext
from flows.steps.run.request import RequestedImport, RunRequest
from flows.steps.run.summary import named, plural

CHUNK = 500


async def plan_imports(run: RunContext) -> list[Ticket]:
    """Write every import of the request into the ledger, or find the one that serves it already."""
    request, tickets = run.request, []
    reuse_after = run.clock() - timedelta(hours=await reuse_hours_for_this_run(request.reuse_hours))
    if request.library == "public" and request.namespace != request.collection:
        run.journal.note(f"the public library knows no namespaces: {request.namespace!r} is not sent")
    for wanted in request.imports:
        ticket = await run.store.run_durable(
            import_planning.plan_import,
            account=run.client.account,
            kind=wanted.kind,
            hashtag=wanted.hashtag,
            wanted=wanted.wanted,
            dedup_key=wanted.key,
            collection=request.collection or "default",
            namespace=request.namespace,
            library=request.library,
            requested=wanted.requested,
            run_id=run.run_id,
            owner=run.owner,
            reuse_after=reuse_after,
            fresh=request.fresh,
            continues=not is_scheduled(),
        )
        if ticket.action != "submit":
            at = ticket.since.strftime("%H:%M")
            done = "re-used" if ticket.action == "reused" else "joined"
            if ticket.open_only:
                done, run.journal.continues = "continued", True
            what = named(wanted.kind, wanted.wanted.get("hashtag"), ticket.import_id, wanted.requested)
            run.journal.note(f"{done} the import of {at} UTC for {what}")
            run.journal.log.of_import("%s: import of %s UTC %s; nothing is submitted", what, at, done)
        tickets.append(ticket)
    run.progress.imports_open = len(tickets)
    return tickets


def capped_reuse_hours(reuse_hours: float, this: datetime | None, following: datetime | None) -> float:
    """At most half the time between a scheduled run and the next one; unchanged where there is no next one."""
    if this is None or following is None or following <= this:
        return reuse_hours
    return min(reuse_hours, (following - this).total_seconds() / 3600 / 2)


def is_scheduled() -> bool:
    """Whether this very flow run was started by its deployment's schedule: then it goes on with no other run's."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and bool(context.flow_run.auto_scheduled)


async def reuse_hours_for_this_run(reuse_hours: float) -> float:
    """`reuse_hours`, capped in a scheduled run: a daily one must not live on yesterday's import.

    A deployment may have several schedules, for other hashtags each: the next run is the one with the same parameters.
    """
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if run is None or not run.auto_scheduled or run.deployment_id is None:
        return reuse_hours
    this = run.expected_start_time
    async with get_client() as client:
        upcoming = await client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[run.deployment_id])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                expected_start_time=FlowRunFilterExpectedStartTime(after_=this),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=200,
        )
    alike = (one for one in upcoming if one.auto_scheduled and one.parameters == run.parameters)
    later = (one.expected_start_time for one in alike if one.id != run.id)
    following = next((moment for moment in later if moment is not None and this is not None and moment > this), None)
    return capped_reuse_hours(reuse_hours, this, following)


async def take_given_posts(run: RunContext) -> list[FoundPost]:
    """Write the run's given posts down as pending; gives them, without those that were erased on request."""
    given = run.request.posts
    out = await run.store.read(erased_names.posts_among, [ref for ref, _ in given])
    if out:
        run.journal.note(f"{plural(len(out), 'given post')} left out: erased on request (`tagtrail purge`)")
    posts = [FoundPost(ref, typed) for ref, typed in given if (ref.platform, ref.post_id) not in out]
    for at in range(0, len(posts), CHUNK):
        chunk = [(post.ref, post.source_url) for post in posts[at : at + CHUNK]]
        await run.store.run(runs.take_posts, run.run_id, chunk, now=run.clock())
    return posts


async def without_erased(store: Store, request: RunRequest, note: Callable[[str], None]) -> RunRequest:
    """The request without imports of erased creators, and without erased posts in the imports of posts.

    Batches of posts keep their places, so that the other batches are known again. Creators that are left out are
    noted; given posts are when they are taken up.
    """
    kept: list[RequestedImport] = []
    for one in request.imports:
        if one.kind == "creator":
            kept += await _creator(store, one)
        elif one.kind == "urls":
            kept += await _posts(store, request, one)
        else:
            kept.append(one)
    if left_out := sum(one.kind == "creator" for one in request.imports) - sum(one.kind == "creator" for one in kept):
        note(
            f"{plural(left_out, 'creator')} left out: erased on request (`tagtrail purge`); nothing was bought of them"
        )
    return request.changed(imports=tuple(kept))


async def _creator(store: Store, one: RequestedImport) -> list[RequestedImport]:
    platform, handle, _ = parse_creator_url(one.wanted["creator"])
    return [] if await store.read(erased_names.creators_among, [(platform, handle)]) else [one]


async def _posts(store: Store, request: RunRequest, one: RequestedImport) -> list[RequestedImport]:
    refs = [parse_post_url(url) for url in one.wanted["urls"]]
    out = await store.read(erased_names.posts_among, refs)
    kept = [ref for ref in refs if (ref.platform, ref.post_id) not in out]
    if not out or not kept:
        return [one] if kept else []
    key = dedup_key("urls", [item_key(ref) for ref in kept], request.namespace, request.library)
    return [replace(one, wanted={"urls": [ref.url for ref in kept]}, requested=len(kept), key=key)]
