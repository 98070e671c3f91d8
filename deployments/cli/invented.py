"""What came from a sandbox is marked wherever it is shown: no post, person or number of it is real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from blocks.database.engine import Store

INVENTED: Final = "Invented data: some or all of this came from a sandbox; no post, person or number of it is real."


def holds_invented(store: Store, collection: str | None = None) -> bool:
    """Whether any run (of the collection) that bought something asked a server on this machine, as the sandbox is."""
    from blocks.database.store import catalog, report
    from blocks.network import is_here

    with store.connect() as conn:
        asked = catalog.services(conn) if collection is None else report.services(conn, collection)
    return any(is_here(host) for hosts in asked for host in hosts.split(" and "))
