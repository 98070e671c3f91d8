"""The account that runs would use, found without starting anything: a saved block comes before the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from blocks.memories.client import MemoriesClient
from blocks.memories.requests import hosts_of, is_encrypted_or_here
from deployments.doctor.evidence import Evidence


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
        )
