"""The Prefect block that says where Tagtrail's database is."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr


class TagtrailDatabase(Block):
    """The database in which Tagtrail keeps imports, posts, creators, comments and snapshots.

    Example:
        Load the block and read the database's URL:
        ```python
        from blocks.database.credentials import TagtrailDatabase

        database = TagtrailDatabase.load("BLOCK_NAME")
        url = database.get_url()
        ```
    """

    _block_type_name: ClassVar[str | None] = "Tagtrail Database"
    _block_type_slug: ClassVar[str | None] = "tagtrail-database"
    _description: ClassVar[str | None] = (
        "The database in which Tagtrail keeps imports, posts, creators, comments and snapshots. "
        "Tagtrail's page about it: docs/own-prefect-server.md in its repository."
    )
    # From where Prefect's own blocks have theirs; see MemoriesCredentials.
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos/secret.png"
    )
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.sqlalchemy.org/en/20/core/engines.html")

    url: SecretStr = Field(
        title="URL",
        description="SQLAlchemy URL, such as postgresql+psycopg://user:password@host:5432/tagtrail; it is kept secret "
        "as a whole, for it may hold a password.",
    )

    def get_url(self) -> str:
        """The SQLAlchemy URL in clear, for `open_store`; show `Store.url_shown` instead."""
        return self.url.get_secret_value()
