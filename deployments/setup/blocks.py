"""Block types and documents: what a worker without any variable of ours needs to know."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from blocks.database.connections import in_clear, parse
from blocks.database.credentials import TagtrailDatabase
from blocks.memories.credentials import MemoriesCredentials
from blocks.settings import Settings
from deployments.setup.step import Step

DOCUMENT = "default"
NO_KEY = (
    "MEMORIES_API_KEY is not set: set it and run `tagtrail setup` again, or save a block of type "
    "Memories.ai Credentials named default in the Prefect UI"
)
ONE_MACHINE = "a SQLite file, for workers of this machine only; several machines share a TAGTRAIL_DATABASE_URL"


async def plan_block_types(client: PrefectClient) -> list[Step[Any]]:
    """Both block types with this version's schema."""
    return [await _plan_type(client, kind) for kind in (MemoriesCredentials, TagtrailDatabase)]


async def _plan_type(client: PrefectClient, kind: type[Block]) -> Step[Any]:
    slug = kind.get_block_type_slug()
    try:
        await client.read_block_type_by_slug(slug)
        await client.read_block_schema_by_checksum(kind._calculate_schema_checksum())
        known = True
    except ObjectNotFound:
        known = False
    # Also where it is known: a changed description or logo is brought up to date by this.
    register = lambda: kind.aregister_type_and_schema(client=client)  # noqa: E731
    return Step("block type", slug, "kept" if known else "made", change=register)


async def plan_blocks(client: PrefectClient, settings: Settings, *, overwrite: bool = False) -> list[Step[Block]]:
    """The account and the database of the settings as blocks named default; those that stand are left, or overwritten.

    A step's `differences` say what of a block that stays is not as in these settings; runs go by the block.
    """
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
        await _plan_block(client, MemoriesCredentials, account, settings, overwrite=overwrite, missing=NO_KEY),
        await _plan_block(client, TagtrailDatabase, database, settings, overwrite=overwrite, note=on_one_machine),
    ]


async def _plan_block(
    client: PrefectClient,
    kind: type[Block],
    made: Block | None,
    settings: Settings,
    *,
    overwrite: bool,
    note: str = "",
    missing: str = "",
) -> Step[Block]:
    slug = kind.get_block_type_slug()
    name = f"{slug}/{DOCUMENT}"
    try:
        await client.read_block_document_by_name(DOCUMENT, slug, include_secrets=False)
        is_there = True
    except ObjectNotFound:
        is_there = False
    if is_there and (made is None or not overwrite):
        stands = await kind.aload(DOCUMENT, client=client)
        differences = block_differences(settings, stands)
        said = [f"it holds {' and '.join(differences)}; runs use the block's"] if differences else []
        said += ["`tagtrail setup --overwrite` makes it from the settings"] if made is not None else []
        return Step("block", name, "kept", "; ".join(said), stands=stands, differences=differences)
    if made is None:
        return Step("block", name, "missing", missing)
    save = lambda: made.asave(DOCUMENT, overwrite=True, client=client)  # noqa: E731
    return Step("block", name, "updated" if is_there else "made", note, change=save)


def block_differences(settings: Settings, block: Block) -> tuple[str, ...]:
    """What a block says otherwise than the settings; one that was left at its default says nothing, and no value is
    shown."""
    named = settings.model_fields_set
    found = []
    if isinstance(block, MemoriesCredentials):
        theirs, ours = block.api_key.get_secret_value(), settings.memories_api_key.get_secret_value()
        if theirs and ours and theirs != ours:
            found.append("another key than MEMORIES_API_KEY here")
        for name, url in (("memories_v1_base_url", block.v1_base_url), ("memories_v2_base_url", block.v2_base_url)):
            if name in named and url.rstrip("/") != getattr(settings, name).rstrip("/"):
                found.append(f"another address than {name.upper()} here")
    if isinstance(block, TagtrailDatabase):
        named_here = settings.database_url if settings.tagtrail_database_url else ""
        if named_here and named_here != block.get_url():
            found.append("another database than TAGTRAIL_DATABASE_URL here")
    return tuple(found)
