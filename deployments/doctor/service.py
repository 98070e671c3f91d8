"""Checks of the database, of the API and its key, and of the address for callbacks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from pydantic import SecretStr

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
from blocks.memories.requests import checked_key, hosts_of, is_encrypted_or_here
from blocks.settings import Settings
from deployments.cli.stores import is_there
from deployments.doctor.checks import Check, ProbeFailed, clock_check, failed, ok, probe, warning
from deployments.doctor.points import Evidence

if TYPE_CHECKING:
    from blocks.memories.credentials import MemoriesCredentials

KEY: Final = "MEMORIES_API_KEY"
BLOCK: Final = "block memories-credentials/default"
DATABASE_BLOCK: Final = "block tagtrail-database/default"

NOT_THERE: Final = uuid.UUID(int=0)
"""A task id that nobody has: asking for it costs nothing."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account to talk to the API with; `whose` says where its key was found."""

    whose: str
    api_key: SecretStr
    v1_base_url: str
    v2_base_url: str
    timeout_seconds: float
    callback: str | None = field(default=None, repr=False)
    """Where the service is told to call back, with the secret."""
    name: str = ""
    """What the account is called in the database; empty: a name made of the key."""
    allow_http: bool = False
    """Whether the key may go over http:// to another machine."""

    @property
    def is_of_block(self) -> bool:
        """Whether a saved block decides, so that no variable is asked."""
        return self.whose != KEY

    @property
    def key_advice(self) -> str:
        """What to do where the key is refused."""
        return f"put a valid key into the {self.whose}" if self.is_of_block else f"set {KEY} to a valid key"

    @property
    def base_url_name(self) -> str:
        """Where the address that is asked for imports stands."""
        return f"the base URL of the {self.whose}" if self.is_of_block else "MEMORIES_V1_BASE_URL"

    @property
    def unencrypted(self) -> list[str]:
        """Hosts to which the key goes unencrypted."""
        urls = [url for url in (self.v1_base_url, self.v2_base_url) if not is_encrypted_or_here(url)]
        return list(hosts_of(*urls))

    @property
    def host(self) -> str:
        """The host, and the port where it is named, that is asked for imports; it may be the sandbox's."""
        return urlsplit(self.v1_base_url).netloc.rpartition("@")[2]

    def client(self, evidence: Evidence | None = None) -> MemoriesClient:
        """A client, whose answers are shown to the evidence.

        Raises:
            UsageError: the key or an address cannot be used.
        """
        return MemoriesClient(
            self.api_key,
            v1_base_url=self.v1_base_url,
            v2_base_url=self.v2_base_url,
            timeout_seconds=self.timeout_seconds,
            witness=None if evidence is None else evidence.witness,
            callback_url=self.callback,
            account=self.name,
            allow_http=self.allow_http,
            key_advice=self.key_advice,
        )


def database_checks(url: str, *, of_block: bool = False) -> tuple[list[Check], Store | None]:
    """Whether the database can be used as it is, and its clock; the store, open, if so.

    `of_block`: a saved block names it, and comes before TAGTRAIL_DATABASE_URL.
    """
    name = "database"
    try:
        parsed = parse(url)
    except UsageError as error:
        where = f"the URL in the {DATABASE_BLOCK} (Prefect UI, Blocks)" if of_block else "TAGTRAIL_DATABASE_URL"
        return [failed(name, str(error), f"mend {where}")], None
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
        checks.append(clock_check("database", ahead))
    return checks, store


def key_check(settings: Settings, block: MemoriesCredentials | None) -> Check:
    """Whether there is a key, and whether the settings' can be one; a saved block decides, also where it holds none."""
    key = settings.memories_api_key.get_secret_value()
    if block is not None and not block.api_key.get_secret_value():
        return failed("key", f"the {BLOCK} decides, and it holds none", "open it in the Prefect UI and save the key")
    if block is not None and not key:
        return ok("key", f"the {BLOCK} holds it")
    if not key:
        return warning("key", f"{KEY} is not set", "set it, unless a block holds the key")
    try:
        checked_key(key)
    except UsageError as error:
        return failed("key", str(error))
    return ok("key", f"{KEY} is set")


async def accepted_check(client: MemoriesClient, account: Account) -> Check:
    """Whether the API takes the account's key, asked by a status call for a task that does not exist: it costs
    nothing."""
    name = f"api ({account.whose})"
    try:
        await client.import_status(str(NOT_THERE))
    except BadKey as error:
        return failed(name, str(error), "copy the key again from the vendor's console; it is sent bare")
    except (AccountDisabled, NoCredits) as error:
        return failed(name, str(error), "see the vendor's console")
    except (NotSent, NoAnswer) as error:
        return failed(name, str(error), f"check the network, the proxy and {account.base_url_name}")
    except (ServerFault, Unreadable) as error:
        advice = f"ask again later; check {account.base_url_name}"
        return warning(name, f"{error}: nothing is known of the key", advice)
    except NotFound:
        return ok(name, _accepted(account.host))
    except TooManyRequests:
        return warning(name, "too many requests, so that nothing is known of the key", "ask again in a minute")
    except Refused as error:
        return warning(name, f"it cannot be known whether the key is accepted: {error}", "`doctor --live` would tell")
    except MemoriesError as error:
        return failed(name, str(error))
    return ok(name, _accepted(account.host))


HEALTHY: Final = '{"status":"ok"}'
"""What the receiver's page of health says."""


def _accepted(host: str) -> str:
    free = "a status call, which is free, was answered (imports; metadata is not asked)"
    return f"the key is accepted by {host}: {free}"


def api_clock_check(v1_base_url: str) -> list[Check]:
    """The API's clock, by the `Date` of an answer to nobody; nothing is said where it does not answer at all."""
    try:
        return [clock_check("api", probe(v1_base_url).ahead_seconds)]
    except ProbeFailed:
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
        found = [probe(page) for page in pages]
    except ProbeFailed as error:
        return failed(name, f"{url} cannot be reached ({error})", "start `tagtrail receive`, and open the way to it")
    if not any(one.status == 200 and one.body == HEALTHY for one in found):
        said = f"{pages[0]} is answered, with HTTP {found[0].status}, but not by the receiver"
        return failed(name, said, "start `tagtrail receive`, and check what stands before it")
    return ok(name, f"{url} answers from here; whether the vendor reaches it, only a callback shows")
