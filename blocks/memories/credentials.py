"""The Prefect block that holds an account of the memories.ai API and makes clients of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, HttpUrl, SecretStr

from blocks.memories.callbacks import address
from blocks.settings import V1_BASE_URL, V2_BASE_URL, get_settings

if TYPE_CHECKING:
    from blocks.memories.client import MemoriesClient

MAX_CONNECTIONS = 512
"""More than TAGTRAIL_IN_FLIGHT can be: the semaphore of the run is the bound, not the client's connections."""


class MemoriesCredentials(CredentialsBlock):
    """An account of the memories.ai API.

    Example:
        Load the block and ask for a client:
        ```python
        from blocks.memories.credentials import MemoriesCredentials

        credentials = MemoriesCredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name: ClassVar[str | None] = "Memories.ai Credentials"
    _block_type_slug: ClassVar[str | None] = "memories-credentials"
    _description: ClassVar[str | None] = (
        "An account of the API that Tagtrail uses: its key, where it is sent, and how long a call may take. "
        "Tagtrail's page about it: docs/own-prefect-server.md in its repository."
    )
    # Prefect takes only http(s) logos. This one comes from where its own blocks' come from, so that the UI asks no
    # further host; without a network it is missing like theirs.
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos/secret.png"
    )
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://api-tools.memories.ai/")

    api_key: SecretStr = Field(title="API key", description="The API key, bare, without the word Bearer.")
    v1_base_url: str = Field(
        default=V1_BASE_URL, title="Base URL of imports", description="Where imports are submitted and polled."
    )
    v2_base_url: str = Field(
        default=V2_BASE_URL, title="Base URL of metadata", description="Where the metadata of posts is asked for."
    )
    timeout_seconds: float = Field(
        default=90.0,
        ge=1,
        le=3600,
        title="Timeout (seconds)",
        description="How long one call may take in all, in seconds.",
    )

    account: str = Field(
        default="",
        title="Account",
        description=(
            "What the account is called in the database (limits, caps and imports are kept by it); "
            "empty: a name made of the key."
        ),
    )
    callback_url: str = Field(
        default="",
        title="Callback URL",
        description="Sent to the service with each import, with the secret: where `tagtrail receive` is reached.",
    )
    callback_secret: SecretStr = Field(
        default=SecretStr(""), title="Callback secret", description="Last part of the callback's path."
    )

    def get_callback(self) -> str | None:
        """Where the service calls back, with the secret; None where that is not set up in the block."""
        return address(self.callback_url, self.callback_secret.get_secret_value())

    def get_client(self, callback_url: str | None = None) -> MemoriesClient:
        """A new client of this account; close it, or use it with `async with`.

        Answers that repeat the secret of the block's callback, or of `callback_url` where another is in use, lose it.

        Raises:
            UsageError: the key, a base URL or a setting of this machine cannot be used.
        """
        from blocks.memories.client import MemoriesClient  # httpx is loaded by those who call, not by who registers.

        return MemoriesClient(
            self.api_key,
            v1_base_url=self.v1_base_url,
            v2_base_url=self.v2_base_url,
            timeout_seconds=self.timeout_seconds,
            max_connections=MAX_CONNECTIONS,
            callback_url=callback_url or self.get_callback(),
            account=self.account,
            allow_http=get_settings().tagtrail_allow_http,
            key_advice=f"put a valid key into the block memories-credentials/{self._block_document_name or 'NAME'}",
        )
