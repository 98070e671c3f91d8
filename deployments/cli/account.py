"""Whose account of the API a run here would use, said before anything is bought: a saved block comes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blocks import network
from blocks.errors import UsageError
from blocks.memories import requests
from blocks.settings import V1_BASE_URL, V2_BASE_URL, Settings

if TYPE_CHECKING:
    from blocks.memories.credentials import MemoriesCredentials

BLOCK: Final = "memories-credentials/default"


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
