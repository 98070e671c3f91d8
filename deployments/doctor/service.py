"""Checks of the database, of the API and its key, and of the address for callbacks."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

from blocks.database.connections import parse, shown
from blocks.database.engine import Store, open_store
from blocks.database.store.leases import clock
from blocks.errors import (
    AccountDisabled,
    BadKey,
    MemoriesError,
    NoAnswer,
    NoCredits,
    NotFound,
    NotSent,
    Refused,
    ServerFault,
    StoreError,
    TooManyRequests,
    Unreadable,
    UsageError,
)
from blocks.memories.client import MemoriesClient
from blocks.memories.requests import checked_key
from blocks.settings import Settings
from deployments.cli.stores import is_there
from deployments.doctor.account import Account
from deployments.doctor.asking import Heard, Silence, hear
from deployments.doctor.machine import clock_check
from deployments.doctor.verdicts import Check, failed, ok, warning

NOT_THERE: Final = uuid.UUID(int=0)
"""A task id that nobody has: asking for it costs nothing."""


def database_checks(url: str) -> tuple[list[Check], Store | None]:
    """Whether the database can be used as it is, and its clock; the store, open, if so."""
    name = "database"
    try:
        parsed = parse(url)
    except UsageError as error:
        return [failed(name, str(error), "mend TAGTRAIL_DATABASE_URL")], None
    try:
        there = parsed.drivername != "sqlite" or is_there(Path(parsed.database or ""))
    except UsageError as error:
        return [failed(name, str(error))], None
    if not there:
        return [ok(name, f"{parsed.database} is made by whichever command first needs it")], None
    try:
        store = open_store(url)
    except StoreError as error:
        if parsed.drivername == "sqlite" and "db upgrade" in str(error):
            return [warning(name, str(error), "or leave it: the next command that needs it does so")], None
        return [failed(name, str(error))], None
    try:
        store.check_writable()
        checks = [ok(name, f"{shown(parsed)} is reachable, at head and writable")]
    except StoreError as error:
        checks = [failed(name, str(error), "only `status`, `top` and `export` work on it as it is")]
    if not store.is_sqlite:
        with store.connect() as conn:
            ahead = (clock(conn) - datetime.now(UTC)).total_seconds()
        checks.append(clock_check("database", Heard(200, "", ahead)))
    return checks, store


def key_check(settings: Settings, account: Account | None) -> Check:
    """Whether the settings hold something that can be a key, or else whose key runs would use."""
    key = settings.memories_api_key.get_secret_value()
    if not key and account is not None:
        return ok("key", f"the {account.whose} holds it")
    if not key:
        return warning("key", "MEMORIES_API_KEY is not set", "set it, unless a block holds the key")
    try:
        checked_key(key)
    except UsageError as error:
        return failed("key", str(error))
    return ok("key", "MEMORIES_API_KEY is set")


async def accepted_check(client: MemoriesClient, whose: str, host: str) -> Check:
    """Whether the API at `host` takes the key, asked by a status call for a task that does not exist: it costs
    nothing."""
    name = f"api ({whose})"
    try:
        await client.import_status(str(NOT_THERE))
    except BadKey as error:
        return failed(name, str(error), "copy the key again from the vendor's console; it is sent bare")
    except (AccountDisabled, NoCredits) as error:
        return failed(name, str(error), "see the vendor's console")
    except (NotSent, NoAnswer) as error:
        return failed(name, str(error), "check the network, the proxy and MEMORIES_V1_BASE_URL")
    except (ServerFault, Unreadable) as error:
        return warning(name, f"{error}: nothing is known of the key", "ask again later; check MEMORIES_V1_BASE_URL")
    except NotFound:
        return ok(name, _accepted(host))
    except TooManyRequests:
        return warning(name, "too many requests, so that nothing is known of the key", "ask again in a minute")
    except Refused as error:
        return warning(name, f"it cannot be known whether the key is accepted: {error}", "`doctor --live` would tell")
    except MemoriesError as error:
        return failed(name, str(error))
    return ok(name, _accepted(host))


HEALTHY: Final = '{"status":"ok"}'
"""What the receiver's page of health says."""


def _accepted(host: str) -> str:
    free = "a status call, which is free, was answered (imports; metadata is not asked)"
    return f"the key is accepted by {host}: {free}"


def api_clock_check(v1_base_url: str) -> list[Check]:
    """The API's clock, by the `Date` of an answer to nobody; nothing is said where it does not answer at all."""
    try:
        return [clock_check("api", hear(v1_base_url))]
    except Silence:
        return []


def callback_check(url: str, secret: str) -> Check:
    """Whether the address that the vendor is told answers, as far as it can be seen from here."""
    name = "callback"
    if not url and not secret:
        return ok(name, "no TAGTRAIL_CALLBACK_URL: imports are polled, and the sweep collects what was left")
    if not url or not secret:
        missing = "TAGTRAIL_CALLBACK_SECRET" if url else "TAGTRAIL_CALLBACK_URL"
        return failed(name, f"{missing} is not set, so that the vendor is told no address", f"set {missing} too")
    # The receiver's own page stands at the root; what stands before it may let only the callbacks' path through.
    pages = (urljoin(url, "/health"), f"{url.rstrip('/')}/health")
    try:
        heard = [hear(page) for page in pages]
    except Silence as silence:
        return failed(name, f"{url} cannot be reached ({silence})", "start `tagtrail receive`, and open the way to it")
    if not any(one.status == 200 and one.body == HEALTHY for one in heard):
        told = f"{pages[0]} is answered, with HTTP {heard[0].status}, but not by the receiver"
        return failed(name, told, "start `tagtrail receive`, and check what stands before it")
    return ok(name, f"{url} answers from here; whether the vendor reaches it, only a callback shows")
