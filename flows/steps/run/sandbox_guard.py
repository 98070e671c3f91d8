"""Answers of a sandbox and those of the real service never share a database, whoever starts the run."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.database.engine import Store
from blocks.database.store import catalog
from blocks.errors import UsageError
from blocks.network import is_here


async def must_not_mix(store: Store, hosts: Sequence[str]) -> None:
    """Make sure that no real service is asked for a database whose answers all came from a server of this machine.

    `hosts` are those that the run asks.

    Commands know more (`deployments/stack/homes.py`); runs that a worker starts with a saved account come by here only.

    Raises:
        UsageError: it would be; nothing was sent, and nothing written.
    """
    if any(is_here(host) for host in hosts):
        return
    asked = await store.read(catalog.services)
    if asked and all(of_this_machine(of_run) for of_run in asked):
        raise UsageError(
            f"{store.url_shown} holds answers of {', '.join(sorted(asked))} only, a server on this machine such as the "
            f"sandbox, whose posts are invented; for {' and '.join(hosts)} use another database; nothing was "
            "sent"
        )


def of_this_machine(hosts: str) -> bool:
    """Whether one of the hosts that a run asked is this machine."""
    return any(is_here(host) for host in hosts.split(" and "))
