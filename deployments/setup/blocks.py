"""Block types and documents: what a worker without any variable of ours needs to know."""

from __future__ import annotations

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from blocks.database.connections import in_clear, parse
from blocks.database.credentials import TagtrailDatabase
from blocks.memories.credentials import MemoriesCredentials
from blocks.settings import Settings
from deployments.setup.steps import Step

DOCUMENT = "default"
NO_KEY = (
    "MEMORIES_API_KEY is not set: set it and run `tagtrail setup` again, or save a block of type "
    "Memories.ai Credentials named default in the Prefect UI"
)
ONE_MACHINE = "a SQLite file, for workers of this machine only; several machines share a TAGTRAIL_DATABASE_URL"


async def register_types(client: PrefectClient) -> list[Step]:
    """Register both block types with this version's schema."""
    return [await _register(client, kind) for kind in (MemoriesCredentials, TagtrailDatabase)]


async def _register(client: PrefectClient, kind: type[Block]) -> Step:
    slug = kind.get_block_type_slug()
    try:
        await client.read_block_type_by_slug(slug)
        await client.read_block_schema_by_checksum(kind._calculate_schema_checksum())
        known = True
    except ObjectNotFound:
        known = False
    # Also where it is known: a changed description or logo is brought up to date by this.
    await kind.aregister_type_and_schema(client=client)
    return Step("block type", slug, "kept" if known else "made")


async def save_documents(client: PrefectClient, settings: Settings, *, overwrite: bool) -> list[Step]:
    """Save the account and the database of the settings as blocks named default, where there are none yet."""
    account: Block | None = None
    if settings.memories_api_key.get_secret_value():
        account = MemoriesCredentials(
            api_key=settings.memories_api_key,
            v1_base_url=settings.memories_v1_base_url,
            v2_base_url=settings.memories_v2_base_url,
            timeout_seconds=settings.tagtrail_timeout_seconds,
            account=settings.tagtrail_account,
            callback_url=settings.tagtrail_callback_url,
            callback_secret=settings.tagtrail_callback_secret,
        )
    url = parse(settings.database_url)
    database = TagtrailDatabase(url=SecretStr(in_clear(url)))
    on_one_machine = ONE_MACHINE if url.drivername == "sqlite" else ""
    return [
        await _save(client, MemoriesCredentials, account, overwrite=overwrite, note="", missing=NO_KEY),
        await _save(client, TagtrailDatabase, database, overwrite=overwrite, note=on_one_machine),
    ]


async def _save(
    client: PrefectClient, kind: type[Block], made: Block | None, *, overwrite: bool, note: str, missing: str = ""
) -> Step:
    slug = kind.get_block_type_slug()
    name = f"{slug}/{DOCUMENT}"
    try:
        await client.read_block_document_by_name(DOCUMENT, slug, include_secrets=False)
        stands = True
    except ObjectNotFound:
        stands = False
    if stands and (made is None or not overwrite):
        return Step("block", name, "kept", "--overwrite would make it from the settings" if made is not None else "")
    if made is None:
        return Step("block", name, "missing", missing)
    await made.asave(DOCUMENT, overwrite=True, client=client)
    return Step("block", name, "updated" if stands else "made", note)
