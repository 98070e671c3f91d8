"""Flow `enrich-posts`: metadata for given post URLs, without an import.

It runs by hand (`tagtrail enrich`, the Prefect UI); it needs a key and a database like `track-hashtags`.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports.plan import take_given_posts
from flows.steps.prefect_side.run_names import run_name
from flows.steps.run.lifecycle import open_run
from flows.steps.run.request import ChannelChoice, request_for_urls


@flow(name="enrich-posts", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def enrich_posts(
    urls: Annotated[list[str], Field(min_length=1)],
    channel: ChannelChoice = "auto",
    collection: str = "default",
    max_spend_usd: Annotated[float, Field(ge=0)] = 5.0,
    max_age_hours: Annotated[float, Field(ge=0)] = 12,
    credentials: str = "default",
    posts_per_task: Annotated[int, Field(ge=0, le=500)] = 0,
) -> State[Any]:
    """Enrich posts whose URLs are known, and store them.

    Args:
        urls: Post URLs of Instagram, TikTok, YouTube or X, in any of their forms.
        channel: Where metadata comes from; auto tries apify, rapid and memories.ai in the settings' order.
        collection: The collection under which the posts are kept.
        max_spend_usd: Cap on what this run may spend, in US dollars (estimated by the price table).
        max_age_hours: Metadata younger than this is not bought again.
        credentials: Name of the memories-credentials block; without such a block the settings are used.
        posts_per_task: Posts in one Prefect task; 0 means 1 for up to 500 posts and batches of 50 above.
    """
    async with open_run("enrich-posts", credentials=credentials) as opened:
        request = request_for_urls(
            urls,
            channel=channel,
            collection=collection,
            max_spend_usd=max_spend_usd,
            max_age_hours=max_age_hours,
            posts_per_task=posts_per_task,
        )
        run = await opened.accept(request)
        async with Enrichment(run) as enrichment:
            enrichment.add(await take_given_posts(run))
    return opened.state
