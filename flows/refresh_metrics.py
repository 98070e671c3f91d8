"""Flow `refresh-metrics`: known posts are measured again at the ages of the snapshot plan, most valuable first.

It runs by schedule and by hand (`tagtrail refresh`, the Prefect UI); it needs a key and a database like
`track-hashtags`.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.prefect_side.run_names import run_name
from flows.steps.run.lifecycle import open_run
from flows.steps.run.request import ChannelChoice, request_for_refresh
from flows.steps.upkeep.refresh import halt_at_the_cap, plan_refresh


@flow(name="refresh-metrics", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def refresh_metrics(
    collection: str = "",
    hashtag: str = "",
    channel: ChannelChoice = "auto",
    max_spend_usd: Annotated[float, Field(ge=0)] = 5.0,
    credentials: str = "default",
    posts_per_task: Annotated[int, Field(ge=0, le=500)] = 0,
) -> State[Any]:
    """Measure known posts again, those whose snapshot is due by the plan; nothing is imported.

    Args:
        collection: Only posts of this collection, which pays for them; empty means all posts, each paid by the
            collection that found it first.
        hashtag: Only posts that an import of this hashtag found; empty means all.
        channel: Where metadata comes from; auto tries apify, rapid and memories.ai in the settings' order.
        max_spend_usd: Cap on what this run may spend, in US dollars (estimated by the price table).
        credentials: Name of the memories-credentials block; without such a block the settings are used.
        posts_per_task: Posts in one Prefect task; 0 means 1 for up to 500 posts and batches of 50 above.
    """
    async with open_run("refresh-metrics", credentials=credentials) as opened:
        request = request_for_refresh(
            collection=collection,
            hashtag=hashtag,
            channel=channel,
            max_spend_usd=max_spend_usd,
            posts_per_task=posts_per_task,
        )
        run = await opened.accept(request)
        due = await plan_refresh(run)
        async with Enrichment(run, expected_posts=len(due.taken)) as enrichment:
            enrichment.add(due.posts)
        await halt_at_the_cap(run, due)
    return opened.state
