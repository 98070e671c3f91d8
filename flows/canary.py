"""Flow `canary`: measures a few known posts, and raises an event when the form of their payloads has changed.

It runs by schedule and by hand; it needs a key and a database like `track-hashtags`. Each post costs one metadata call
every time: three posts a day are about 0.90 USD a month by the default price table.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports.plan import take_given_posts
from flows.steps.prefect_side.run_names import run_name
from flows.steps.run.lifecycle import open_run
from flows.steps.run.request import ChannelChoice
from flows.steps.upkeep.canary import compare_shapes, request_for_canary


@flow(name="canary", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def canary(
    urls: list[str] = [],  # noqa: B006 - Prefect shows it as the form's default; nothing changes it
    channel: ChannelChoice = "auto",
    collection: str = "canary",
    max_spend_usd: Annotated[float, Field(ge=0)] = 0.25,
    credentials: str = "default",
) -> State[Any]:
    """Measure known posts anew and compare the shapes of their payloads with the last time's.

    A difference is noted in the summary and announced as the event tagtrail.shapes.changed, with names of keys only.

    Args:
        urls: About three URLs of posts that stay public, such as one of each platform in use. Each is bought each time.
        channel: Where metadata comes from; auto tries apify, rapid and memories.ai in the settings' order.
        collection: The collection under which the posts are kept.
        max_spend_usd: Cap on what this run may spend, in US dollars (estimated by the price table).
        credentials: Name of the memories-credentials block; without such a block the settings are used.
    """
    async with open_run("canary", credentials=credentials) as opened:
        request = request_for_canary(urls, channel=channel, collection=collection, max_spend_usd=max_spend_usd)
        run = await opened.accept(request)
        async with Enrichment(run) as enrichment:
            enrichment.add(await take_given_posts(run))
        await compare_shapes(run)
    return opened.state
