"""Whose key and which database a run uses: a saved block comes first, then the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound

from blocks.database.connections import parse
from blocks.database.credentials import TagtrailDatabase
from blocks.database.engine import Store, open_store
from blocks.database.store import accounts
from blocks.errors import UsageError
from blocks.memories.callbacks import address
from blocks.memories.client import MemoriesClient
from blocks.memories.credentials import MAX_CONNECTIONS, MemoriesCredentials
from blocks.network import are_here, is_here
from blocks.settings import Settings, get_settings

BlockT = TypeVar("BlockT", bound=Block)


async def open_client(credentials: str, settings: Settings) -> MemoriesClient:
    """A client for the block document of that name, or for the settings where there is no such document.

    Raises:
        UsageError: a block other than `default` was named and does not exist, or no key is set anywhere.
    """
    block = await _saved(MemoriesCredentials, credentials)
    if block is not None:
        return block.get_client(_callback(block, settings))
    if credentials != "default":
        raise UsageError(
            f"there is no block memories-credentials/{credentials}; save one in the Prefect UI, or use 'default'"
        )
    if not settings.memories_api_key.get_secret_value():
        raise UsageError("MEMORIES_API_KEY is not set; put your key there or in .env, or try `tagtrail demo`")
    return MemoriesClient(
        settings.memories_api_key,
        v1_base_url=settings.memories_v1_base_url,
        v2_base_url=settings.memories_v2_base_url,
        timeout_seconds=settings.tagtrail_timeout_seconds,
        max_connections=MAX_CONNECTIONS,
        callback_url=_callback(None, settings),
        account=settings.tagtrail_account,
        allow_http=settings.tagtrail_allow_http,
        key_advice="set MEMORIES_API_KEY to a valid key",
    )


async def name_account(store: Store, client: MemoriesClient, credentials: str, note: Callable[[str], None]) -> None:
    """A new key goes on with the account of the one that was refused, unless the account was given a name."""
    if not client.account_was_given:
        mine = client.account
        client.account = await store.run(accounts.account_of, mine, credentials)
        if client.account != mine:
            note(f"the key is another one of account {client.account}; TAGTRAIL_ACCOUNT names accounts")


def _callback(block: MemoriesCredentials | None, settings: Settings) -> str | None:
    saved = None if block is None else block.get_callback()
    return saved or address(settings.tagtrail_callback_url, settings.tagtrail_callback_secret.get_secret_value())


async def saved_database_url() -> str | None:
    """The URL of the saved block `tagtrail-database/default`, or None where there is none.

    Raises:
        UsageError: it is no database URL.
    """
    block = await _saved(TagtrailDatabase, "default")
    if block is None:
        return None
    try:
        parse(block.get_url())
    except UsageError as error:
        where = "the block tagtrail-database/default (Prefect UI, Blocks)"
        raise UsageError(f"{error}; mend {where}: it decides") from None
    return block.get_url()


@asynccontextmanager
async def open_database(url: str | None = None, *, create: bool = True) -> AsyncIterator[Store]:
    """The database of this URL, else of the saved block, else of the settings; `create`: make or migrate its file.

    Raises:
        StoreError: the database cannot be used as it is.
    """
    url = url or await saved_database_url() or get_settings().database_url
    store = await asyncio.to_thread(open_store, url, create=create)
    try:
        yield store
    finally:
        store.close()


async def saved_account(credentials: str = "default") -> MemoriesCredentials | None:
    """The saved block `memories-credentials` of that name, or None where there is none."""
    return await _saved(MemoriesCredentials, credentials)


async def _saved(kind: type[BlockT], name: str) -> BlockT | None:
    # Prefect says "no such document" with a ValueError, whatever the reason underneath.
    try:
        return await kind.aload(name)
    except ValueError as error:
        if isinstance(error.__cause__, ObjectNotFound):
            return None
        raise


async def ensure_one_service(store: Store, hosts: Sequence[str]) -> None:
    """Make sure that no real service is asked for a database whose answers all came from a server of this machine.

    `hosts` are those that the run asks. Commands know more (`deployments/cli/account.py`); runs that a worker starts
    with a saved account come by here only.

    Raises:
        UsageError: it would be; nothing was sent, and nothing written.
    """
    if any(is_here(host) for host in hosts):
        return
    asked = await store.read(accounts.services)
    if asked and all(are_here(of_run) for of_run in asked):
        raise UsageError(
            f"{store.url_shown} holds answers of {', '.join(sorted(asked))} only, a server on this machine such as the "
            f"sandbox, whose posts are invented; for {' and '.join(hosts)} use another database; nothing was "
            "sent"
        )
