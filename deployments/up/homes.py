"""Whether a home may be used for the sandbox, or for the real service: invented posts and real ones never share one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from blocks.database.store import overview
from blocks.memories.errors import UsageError
from blocks.settings import Settings
from deployments.cli import stores
from deployments.up import state


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
        state.folder(settings.home).mkdir(exist_ok=True, mode=0o700)
        mark.touch()
    if not sandbox and mark.exists():
        raise UsageError(
            f"{settings.home} is the sandbox's home, with invented posts in it; for the real service set TAGTRAIL_HOME "
            "to another folder, and for the sandbox say --sandbox"
        )


def _mark(home: Path) -> Path:
    return state.folder(home) / "is-of-sandbox"


def _holds_data(settings: Settings) -> bool:
    own = settings.model_copy(update={"tagtrail_database_url": ""})
    with stores.opened(own, quiet=True) as store:
        if store is None:
            return False
        with store.connect() as conn:
            seen = overview.overview(conn, datetime.now(UTC))
    return seen.last_run is not None or bool(seen.posts)
