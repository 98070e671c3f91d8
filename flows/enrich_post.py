"""Task `enrich-post`: one post's metadata, bought and stored, as a step of anybody's flow.

It needs a key and a database like the flow `enrich-posts`, which is the better choice for more than a few posts.
"""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from blocks.errors import NotAPostUrl
from blocks.posts.identity import parse_post_url
from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports.plan import take_given_posts
from flows.steps.prefect_side.run_names import posts_named
from flows.steps.run.lifecycle import open_run
from flows.steps.run.request import ChannelChoice, request_for_urls
from flows.steps.run.summary import RunSummary


def task_name() -> str:
    """`enrich post instagram/CODE`: never a person's name, which a URL may hold."""
    try:
        return f"enrich post {posts_named([parse_post_url(str(task_run.parameters.get('url')))])}"
    except NotAPostUrl:
        return "enrich post"


@task(name="enrich-post", task_run_name=task_name, persist_result=False, cache_policy=NO_CACHE)
async def enrich_post(
    url: str,
    credentials: str = "default",
    *,
    channel: ChannelChoice = "auto",
    collection: str = "default",
    max_spend_usd: float = 5.0,
    max_age_hours: float = 12,
) -> RunSummary:
    """Buy the metadata of one post and store it; gives the `RunSummary` of a run of its own, with the task run's id.

    Args:
        url: The post's URL, of Instagram, TikTok, YouTube or X, in any of its forms.
        credentials: Name of the memories-credentials block; without such a block the settings are used.
        channel: Where metadata comes from; auto tries apify, rapid and memories.ai in the settings' order.
        collection: The collection under which the post is kept.
        max_spend_usd: Cap on what this task may spend, in US dollars (estimated by the price table).
        max_age_hours: Metadata younger than this is not bought again.

    Raises:
        RunHalted: no credits, a refused key or account, a cap, or the kill switch.
        RunFailed: the URL names no post, or the database cannot be used.
    """
    async with open_run("enrich-post", credentials=credentials, task_run_id=task_run.id) as opened:
        request = request_for_urls(
            [url],
            channel=channel,
            collection=collection,
            max_spend_usd=max_spend_usd,
            max_age_hours=max_age_hours,
        )
        run = await opened.accept(request)
        async with Enrichment(run) as enrichment:
            enrichment.add(await take_given_posts(run))
    return opened.result
