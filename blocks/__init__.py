"""With whom Tagtrail talks: the remote API and the database, each with a Prefect block that is found here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks.database.credentials import TagtrailDatabase as TagtrailDatabase
    from blocks.memories.credentials import MemoriesCredentials as MemoriesCredentials

__all__ = ["MemoriesCredentials", "TagtrailDatabase"]


def __getattr__(name: str) -> Any:
    # `prefect block register -m blocks` looks here. Only on demand, for importing Prefect takes seconds and most
    # commands do without it.
    if name in __all__:
        from blocks import collection

        return getattr(collection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
