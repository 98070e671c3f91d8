"""A Prefect server of these tests' own: what a set-up leaves there would decide the runs of other tests."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from blocks.settings import Settings, get_settings
from deployments.setup.plan import Choices, set_up
from deployments.setup.step import Step
from deployments.stack.own_server import ServerInfo, ensure, stop
from tests.conftest import BUSY_SECONDS

SetUp = Callable[..., Awaitable[dict[str, Step[Any]]]]


@pytest.fixture(scope="session")
def own_server(migrated_prefect: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    """A server with nothing on it."""
    home = tmp_path_factory.mktemp("set-up")
    shutil.copytree(migrated_prefect, home / "prefect")
    try:
        yield ensure(home, announce=lambda _: None, start_seconds=BUSY_SECONDS)
    finally:
        stop(home)


@pytest.fixture
async def client(own_server: ServerInfo) -> AsyncIterator[PrefectClient]:
    """A client of that server; whatever else the test does with Prefect works with it too."""
    here = {PREFECT_API_URL: own_server.api_url, PREFECT_API_AUTH_STRING: own_server.auth_string}
    with temporary_settings(here):
        # The process's one sender of events stays with the server that it began with.
        await EventsWorker.drain_all(timeout=20)
        async with get_client() as client:
            yield client
        await EventsWorker.drain_all(timeout=20)


@pytest.fixture
def set_up_here(client: PrefectClient, tmp_path: Path) -> SetUp:
    """Run the set-up with these settings; gives its steps by `kind name`."""

    async def run(*, work_pool: str | None = None, overwrite: bool = False, notify: str | None = None, **of: str):
        settings: Settings = get_settings(**{"memories_api_key": "sk-invented", "tagtrail_home": str(tmp_path)} | of)
        told: list[Step[Any]] = []
        choices = Choices(work_pool=work_pool, overwrite=overwrite, notify=notify)
        steps = await set_up(settings, choices, told.append)
        assert told == steps
        return {f"{step.kind} {step.name}": step for step in steps}

    return run
