"""Flow `import-creators`: from creators' profiles to their newest posts, enriched, in SQL.

It runs by hand (`tagtrail import creators`, the Prefect UI); it needs a key and a database like `track-hashtags`.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports.plan import plan_imports
from flows.steps.imports.poll import FollowedImport, poll_import, side_by_side, submit_import
from flows.steps.prefect_side.run_names import run_name
from flows.steps.run.lifecycle import open_run
from flows.steps.run.request import ChannelChoice, Library, request_for_creators


@flow(name="import-creators", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def import_creators(
    creators: Annotated[list[str], Field(min_length=1)],
    posts_per_creator: Annotated[int, Field(ge=1, le=10_000)] = 25,
    channel: ChannelChoice = "auto",
    collection: str = "default",
    max_spend_usd: Annotated[float, Field(ge=0)] = 5.0,
    max_age_hours: Annotated[float, Field(ge=0)] = 12,
    namespace: str = "",
    library: Library = "private",
    permanent: bool = False,
    wait: bool = True,
    credentials: str = "default",
    reuse_hours: Annotated[float, Field(ge=0)] = 6,
    fresh: bool = False,
    posts_per_task: Annotated[int, Field(ge=0, le=500)] = 0,
) -> State[Any]:
    """Import the newest posts of creators, enrich each with the platform's own metadata, and store them.

    Imports of Instagram and YouTube creators were seen to be accepted and to stay empty for ever: they end empty.

    Args:
        creators: Profile URLs, such as https://www.tiktok.com/@USER. Each is imported by itself.
        posts_per_creator: How many of the newest posts to import for each creator.
        channel: Where metadata comes from; auto tries apify, rapid and memories.ai in the settings' order.
        collection: The collection under which the posts are kept.
        max_spend_usd: Cap on what this run may spend, in US dollars (estimated by the price table).
        max_age_hours: Metadata younger than this is not bought again.
        namespace: The API's unique_id; empty means the collection's name.
        library: The vendor's library to import into. Public imports can never be deleted.
        permanent: Has to be true for the public library.
        wait: Wait for the imports to finish; if not, a later run or the sweep collects the posts.
        credentials: Name of the memories-credentials block; without such a block the settings are used.
        reuse_hours: An import of the same creator younger than this is used again instead of a new one.
        fresh: Buy a new import even if a young one exists.
        posts_per_task: Posts in one Prefect task; 0 means 1 for up to 500 posts and batches of 50 above.
    """
    async with open_run("import-creators", credentials=credentials) as opened:
        request = request_for_creators(
            creators,
            posts_per_creator,
            channel=channel,
            collection=collection,
            namespace=namespace,
            library=library,
            permanent=permanent,
            max_spend_usd=max_spend_usd,
            max_age_hours=max_age_hours,
            wait=wait,
            reuse_hours=reuse_hours,
            fresh=fresh,
            posts_per_task=posts_per_task,
        )
        run = await opened.accept(request)
        imports = await plan_imports(run)
        async with Enrichment(run) as enrichment:

            async def follow(planned: FollowedImport) -> None:
                submitted = await submit_import(planned) if planned.is_planned else planned
                enrichment.add(submitted.listed)
                while submitted.is_open and (batch := await poll_import(submitted)):
                    enrichment.add(batch)

            await side_by_side(run, imports, follow)
    return opened.state
