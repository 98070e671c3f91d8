"""Whose account of the API a run here would use, and whether the database is for it, before anything is bought."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from blocks import network
from blocks.database.engine import Store
from blocks.database.store import accounts, imports
from blocks.errors import UsageError
from blocks.memories import requests
from blocks.settings import V1_BASE_URL, V2_BASE_URL, Settings
from deployments.cli import stores
from deployments.sandbox.app import SANDBOX_KEY
from deployments.sandbox.imports import was_made_here

if TYPE_CHECKING:
    from blocks.memories.credentials import MemoriesCredentials

BLOCK: Final = "memories-credentials/default"

LATEST: Final = 50
"""Imports by which a database is judged."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where a run would send its calls: base URLs of imports and of metadata."""

    v1_base_url: str
    v2_base_url: str

    @property
    def hosts(self) -> str:
        """Host and port of both, each once."""
        return " and ".join(requests.hosts_of(self.v1_base_url, self.v2_base_url))

    @property
    def is_real(self) -> bool:
        """Whether both are the vendor's own hosts."""
        ours, theirs = (self.v1_base_url, self.v2_base_url), (V1_BASE_URL, V2_BASE_URL)
        return [requests.hosts_of(url) for url in ours] == [requests.hosts_of(url) for url in theirs]

    @property
    def is_here(self) -> bool:
        """Whether one of them is this machine, as the sandbox's are."""
        return is_here(self.v1_base_url) or is_here(self.v2_base_url)


def service_of(settings: Settings, block: MemoriesCredentials | None) -> Service:
    """Where the calls of a run go: by the saved block, else by the settings."""
    if block is not None:
        return Service(block.v1_base_url, block.v2_base_url)
    return Service(settings.memories_v1_base_url, settings.memories_v2_base_url)


def overruled(settings: Settings, block: MemoriesCredentials) -> str | None:
    """The sentence that says which settings of the account the saved block overrules; None where there are none.

    Raises:
        UsageError: the settings name a server on this machine, such as the sandbox, and the block another one: what
            was meant to cost nothing would be paid for.
    """
    addresses = {"memories_v1_base_url": block.v1_base_url, "memories_v2_base_url": block.v2_base_url}
    unused = [
        name
        for name, of_block in addresses.items()
        if name in settings.model_fields_set and getattr(settings, name) != of_block.rstrip("/")
    ]
    host = service_of(settings, block).hosts
    here = [name.upper() for name in unused if is_here(getattr(settings, name)) and not is_here(addresses[name])]
    if here:
        name, it = ("name", "them") if len(here) > 1 else ("names", "it")
        raise UsageError(
            f"{' and '.join(here)} {name} a server on this machine, but the saved block {BLOCK} decides, and it names "
            f"{host}: nothing was sent; delete or rename the block (Prefect UI, Blocks), or unset {it}"
        )
    key = settings.memories_api_key.get_secret_value()
    if key and key != block.api_key.get_secret_value():
        unused.insert(0, "memories_api_key")
    if not unused:
        return None
    names = " and ".join(name.upper() for name in unused)
    verb = "are" if len(unused) > 1 else "is"
    return f"Account: the saved block {BLOCK} ({host}); {names} in the environment or .env {verb} not used"


def is_here(url: str) -> bool:
    """Whether a URL's host is this machine by a loopback name or address."""
    return any(network.is_here(host) for host in requests.hosts_of(url))


def must_not_mix(settings: Settings, service: Service, say: Callable[[str], None]) -> None:
    """Make sure that a real service is not asked for a database of the sandbox's; what is mixed already is said.

    Raises:
        UsageError: all that the database holds is of the sandbox.
    """
    if service.is_here:
        return
    with stores.opened(settings, quiet=True) as store:
        invented = "none" if store is None else _invented(store)
    where = stores.shown(settings)
    if invented == "all":
        raise UsageError(
            f"{where} holds invented posts of the sandbox; for {service.hosts} set TAGTRAIL_HOME to another folder (or "
            "TAGTRAIL_DATABASE_URL to another database), and for the sandbox the three variables that "
            "`tagtrail sandbox` prints"
        )
    if invented == "some":
        say(f"Note: {where} holds invented posts of the sandbox among the real ones; `tagtrail purge` erases.")


def _invented(store: Store) -> Literal["all", "some", "none"]:
    """How much of a database the sandbox made up, by the task ids of its imports and the hosts that runs asked.

    Runs of older versions did not note their hosts: they are known by the sandbox's own account.
    """
    with store.connect() as conn:
        sent = [one for one in imports.find_imports(conn, "", limit=LATEST) if one.task_id is not None]
        others = accounts.accounts_without_service(conn) - {one.account for one in sent}
        asked = accounts.services(conn)
    marks = [was_made_here(one.task_id or "", one.namespace) for one in sent]
    marks += [name == requests.account_name(SANDBOX_KEY) for name in others]
    marks += [network.are_here(hosts) for hosts in asked]
    if not any(marks):
        return "none"
    return "all" if all(marks) else "some"
