"""All checks in their order, on whatever is configured; nothing is started, bought or changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.database.engine import Store
from blocks.errors import UsageError
from blocks.memories.callbacks import address
from blocks.settings import Settings
from deployments.cli.servers import PrefectServer, find
from deployments.doctor.checks import Check, failed, ok, packages_check, python_check, rooms_check, warning
from deployments.doctor.service import (
    BLOCK,
    KEY,
    Account,
    accepted_check,
    api_clock_check,
    callback_check,
    database_checks,
    key_check,
)

if TYPE_CHECKING:
    from prefect.blocks.core import Block


@dataclass(slots=True)
class Examined:
    """What was found. `account` and `database_url` are those that runs would use; None where there is no key."""

    checks: list[Check] = field(default_factory=list)
    account: Account | None = None
    database_url: str = ""
    database_is_of_block: bool = False
    callback: tuple[str, str] = field(default=("", ""), repr=False)
    """The address and the secret under which the receiver is reached."""

    @property
    def exit_status(self) -> int:
        """1 where something that matters failed, else 0."""
        return int(any(check.verdict == "failed" for check in self.checks))


def examine(settings: Settings, work_pool: str | None) -> Examined:
    """Run all checks."""
    found = Examined(database_url=settings.database_url)
    found.checks += [python_check(), packages_check(), rooms_check(Path.cwd())]
    server = find(settings.home)
    blocks: list[Block] = []
    if server is None:
        none = "none is configured, and none of Tagtrail's own runs"
        prefect = [ok("prefect server", f"{none}: `tagtrail run` would start one, `tagtrail up` the whole stack")]
    else:
        prefect, blocks = _prefect_checks(settings, server, work_pool)
    found.checks.append(_choose(found, settings, blocks))
    checks, store = database_checks(found.database_url, of_block=found.database_is_of_block)
    with _closing(store):
        found.checks += [*checks, *asyncio.run(_api_checks(found, settings))]
    found.checks += [*prefect, callback_check(*found.callback)]
    return found


@contextmanager
def _closing(store: Store | None) -> Iterator[None]:
    try:
        yield
    finally:
        if store is not None:
            store.close()


def _prefect_checks(
    settings: Settings, server: PrefectServer, work_pool: str | None
) -> tuple[list[Check], list[Block]]:
    server.into(os.environ)
    # One answer is enough to know: Prefect's client would ask for half a minute.
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "1"
    # Prefect may be imported from here on: the lines above made this process ready for the server.
    from deployments.doctor.prefect_server import access_checks, server_checks

    checks, is_open = access_checks(server.api_url, server.shown)
    if not is_open:
        return checks, []
    more, blocks = asyncio.run(server_checks(settings, work_pool))
    return [*checks, *more], blocks


def _choose(found: Examined, settings: Settings, blocks: list[Block]) -> Check:
    """Whose account and which database runs would use: a saved block comes before the settings, also an empty one."""
    secret = settings.tagtrail_callback_secret.get_secret_value()
    found.callback = (settings.tagtrail_callback_url, secret)
    callback = address(*found.callback)
    if settings.memories_api_key.get_secret_value():
        found.account = Account(
            KEY,
            settings.memories_api_key,
            settings.memories_v1_base_url,
            settings.memories_v2_base_url,
            settings.tagtrail_timeout_seconds,
            callback,
            settings.tagtrail_account,
            settings.tagtrail_allow_http,
        )
    if not blocks:
        return key_check(settings, None)
    from blocks.database.credentials import TagtrailDatabase
    from blocks.memories.credentials import MemoriesCredentials

    for database in blocks:
        if isinstance(database, TagtrailDatabase):
            found.database_url, found.database_is_of_block = database.get_url(), True
    saved = next((each for each in blocks if isinstance(each, MemoriesCredentials)), None)
    if saved is not None:
        if saved.get_callback() is not None:
            found.callback = (saved.callback_url, saved.callback_secret.get_secret_value())
        found.account = None
        if saved.api_key.get_secret_value():
            found.account = Account(
                BLOCK,
                saved.api_key,
                saved.v1_base_url,
                saved.v2_base_url,
                saved.timeout_seconds,
                saved.get_callback() or callback,
                saved.account,
                settings.tagtrail_allow_http,
            )
    return key_check(settings, saved)


async def _api_checks(found: Examined, settings: Settings) -> Sequence[Check]:
    if found.account is None:
        return []
    try:
        async with found.account.client() as client:
            checks = [await accepted_check(client, found.account)]
    except UsageError as error:
        advice = f"mend it in the {BLOCK}: it decides" if found.account.is_of_block else ""
        return [failed("api", str(error), advice)]
    if open_hosts := found.account.unencrypted:
        said = f"the key goes unencrypted to {' and '.join(open_hosts)} (TAGTRAIL_ALLOW_HTTP)"
        checks.append(warning("api (http)", said, "use https:// base URLs"))
    return checks + (api_clock_check(found.account.v1_base_url) if checks[0].verdict != "failed" else [])
