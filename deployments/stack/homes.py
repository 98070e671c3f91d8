"""Whether a home may be used for the sandbox, or for the real service: invented posts and real ones never share one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from blocks.database.engine import Store
from blocks.database.store import accounts, imports, overview
from blocks.errors import UsageError
from blocks.memories.requests import account_name
from blocks.network import are_here
from blocks.settings import Settings
from deployments.cli import account, stores
from deployments.sandbox.imports import was_made_here
from deployments.stack.environment import SANDBOX_KEY

LATEST: Final = 50
"""Imports by which a database is judged."""


def folder(home: Path) -> Path:
    """Where the stack keeps its lock and its mark, and where its processes run."""
    return home / "up"


def claim(settings: Settings, *, sandbox: bool) -> None:
    """Make sure that the home is for what is asked; one that is the sandbox's stays the sandbox's.

    Raises:
        UsageError: it holds data of the other kind.
    """
    mark = _mark(settings.home)
    if sandbox and not mark.exists():
        if _holds_data(settings):
            raise UsageError(
                f"{settings.home} holds what earlier runs found, and the sandbox's posts are invented; "
                "give it a home of its own: TAGTRAIL_HOME=… tagtrail up --sandbox"
            )
        folder(settings.home).mkdir(exist_ok=True, mode=0o700)
        mark.touch()
    if not sandbox and mark.exists():
        raise UsageError(
            f"{settings.home} is the sandbox's home, with invented posts in it; for the real service set TAGTRAIL_HOME "
            "to another folder, and for the sandbox say --sandbox"
        )


def must_not_mix(settings: Settings, service: account.Service, say: Callable[[str], None]) -> None:
    """Make sure that a real service is not asked for a database of the sandbox's; what is mixed already is told.

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
    marks += [name == account_name(SANDBOX_KEY) for name in others]
    marks += [are_here(hosts) for hosts in asked]
    if not any(marks):
        return "none"
    return "all" if all(marks) else "some"


def _mark(home: Path) -> Path:
    return folder(home) / "is-of-sandbox"


def _holds_data(settings: Settings) -> bool:
    own = settings.model_copy(update={"tagtrail_database_url": ""})
    with stores.opened(own, quiet=True) as store:
        if store is None:
            return False
        with store.connect() as conn:
            seen = overview.overview(conn, datetime.now(UTC))
    return seen.last_run is not None or bool(seen.posts)
