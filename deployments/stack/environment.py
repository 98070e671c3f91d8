"""What the stack's processes find in their environment: the settings in use, the server, and no more of the shell's."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from blocks import network
from blocks.database.connections import of_file
from blocks.posts.snapshot_plan import age_text
from blocks.settings import Settings
from deployments.sandbox.app import SANDBOX_KEY, V1, V2
from deployments.stack import own_server
from deployments.stack.own_server import ServerInfo
from deployments.stack.process import of_stack

TIME_SCALE: Final = 30.0
"""The sandbox's time, and every clock of the runs with it, is by itself so much faster than the real service's."""

POOL: Final = "tagtrail"
KEY: Final = "MEMORIES_API_KEY"
DATABASE: Final = "TAGTRAIL_DATABASE_URL"
IS_SANDBOX: Final = "TAGTRAIL_STACK_SANDBOX"
"""Set for the set-up of a stack on the sandbox."""
_OURS: Final = ("PREFECT_", "MEMORIES_", "TAGTRAIL_")
_IN_BLOCKS: Final = (KEY, DATABASE)
_WORKER_ASKS_SECONDS: Final = 3
"""Prefect's own default is 10 s; on one machine the question costs nothing."""


def of_settings(settings: Settings) -> dict[str, str]:
    """The settings that somebody set, wherever (the shell, `.env`), as variables."""
    found = {"TAGTRAIL_HOME": str(settings.home)}
    for name in sorted(settings.model_fields_set - {"tagtrail_home"}):
        text = _text(getattr(settings, name))
        if text is not None:
            found[name.upper()] = text
    return found


def _text(value: Any) -> str | None:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, tuple):
        # Channels, ages in whole seconds, or times as numbers with a fraction.
        return ",".join(age_text(one) if isinstance(one, int) else str(one) for one in value) or "none"
    # Of the settings that may be None, only the caps are ever set to it.
    return "none" if value is None else str(value)


def of_sandbox(settings: Settings, url: str, receiver_url: str, time_scale: float) -> dict[str, str]:
    """The settings of a stack on the sandbox at `url`: its account, its database, its time; the rest is the user's."""
    return {
        **quick(time_scale),
        **of_settings(settings),
        **account_of_sandbox(url),
        # Invented posts never get into a database of the user's.
        DATABASE: of_file(settings.database_file),
        "TAGTRAIL_CALLBACK_URL": receiver_url,
        "TAGTRAIL_CALLBACK_SECRET": secrets.token_urlsafe(24),
    }


def quick(time_scale: float) -> dict[str, str]:
    """The clocks and limits of runs on a sandbox whose time is so much faster than the real service's."""
    clocks = {
        "TAGTRAIL_IMPORTS_PER_MINUTE": time_scale,
        "TAGTRAIL_STATUS_PER_SECOND": time_scale,
        "TAGTRAIL_POLL_SECONDS": 5 / time_scale,
        "TAGTRAIL_IMPORT_QUIET_SECONDS": 120 / time_scale,
        "TAGTRAIL_IMPORT_DEADLINE_SECONDS": 900 / time_scale,
    }
    return {name: f"{value:g}" for name, value in clocks.items()}


def account_of_sandbox(url: str) -> dict[str, str]:
    """What to set for calls of the sandbox at `url`."""
    return {"MEMORIES_V1_BASE_URL": url + V1, "MEMORIES_V2_BASE_URL": url + V2, KEY: SANDBOX_KEY}


def of_process(home: Path, info: ServerInfo | None, chosen: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a process of the stack: the shell's, without what it says about Prefect and Tagtrail.

    Proxies and certificates are set aside, for the stack's servers are on this machine.
    """
    shell = dict(os.environ)
    network.set_aside(shell)
    shell = {name: value for name, value in shell.items() if name == network.SET_ASIDE or not name.startswith(_OURS)}
    server = {} if info is None else own_server.env_for(info)
    ours = {**of_stack(home), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    return {**shell, **server, **chosen, **ours}


def of_worker(home: Path, info: ServerInfo, chosen: Mapping[str, str]) -> dict[str, str]:
    """As `of_process`, without key and database: runs have them from the blocks."""
    quick = {"PREFECT_WORKER_QUERY_SECONDS": str(_WORKER_ASKS_SECONDS), "PREFECT_CLI_COLORS": "false"}
    return of_process(home, info, {name: value for name, value in chosen.items() if name not in _IN_BLOCKS}) | quick


def local_port(url: str) -> int | None:
    """The port of a callback URL that points to this machine; None if it points elsewhere (to a proxy, mostly)."""
    parts = urlsplit(url)
    return parts.port if parts.hostname in ("127.0.0.1", "localhost", "::1") else None
