"""A run of the chain against the sandbox in any weather."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store, open_store
from blocks.settings import get_settings
from deployments.sandbox.server import SandboxServer
from flows.enrich_posts import enrich_posts
from flows.steps.run.progress import Progress, watch
from flows.steps.run.summary import RunSummary
from flows.track_hashtags import track_hashtags

KEY = "sk-invented-for-tests"

QUICK = {
    "TAGTRAIL_IMPORTS_PER_MINUTE": "6000",
    "TAGTRAIL_STATUS_PER_SECOND": "200",
    "TAGTRAIL_METADATA_PER_SECOND": "500",
    "TAGTRAIL_POLL_SECONDS": "0.05",
    "TAGTRAIL_IMPORT_QUIET_SECONDS": "1",
    "TAGTRAIL_RETRY_SECONDS": "0",
    # Beyond what a busy machine makes of it; tests of what never comes set their own.
    "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "60",
    "TAGTRAIL_TIMEOUT_SECONDS": "60",
}


class Weather:
    """The chain against one sandbox: `track` and `enrich` run the real flows and give their summaries."""

    def __init__(self, sandbox: SandboxServer) -> None:
        self.sandbox = sandbox
        self.play = sandbox.play
        self.last_progress = Progress()

    async def _run(self, call: Callable[[], Awaitable[Any]]) -> RunSummary:
        self.last_progress = Progress()
        with watch(self.last_progress) as progress:
            state = await call()
        assert progress.summary is not None, state
        assert state.is_completed() == (progress.summary.exit_status in (0, 3))
        return progress.summary

    async def track(self, *hashtags: str, **more: Any) -> RunSummary:
        more.setdefault("posts_per_hashtag", 10)
        return await self._run(lambda: track_hashtags(list(hashtags), **more, return_state=True))

    async def enrich(self, *urls: str, **more: Any) -> RunSummary:
        return await self._run(lambda: enrich_posts(list(urls), **more, return_state=True))

    def submissions(self) -> dict[str, int]:
        """Accepted imports by request, such as {"hashtag:lvmh": 1}."""
        accepted: dict[str, int] = self.sandbox.accounting()["accepted"]
        return accepted

    def bought(self) -> dict[str, int]:
        """Metadata calls that were answered with success, by post."""
        calls = self.sandbox.accounting()["metadata"]
        return {
            post: sum(count for channel in channels.values() for code, count in channel.items() if code == "0000")
            for post, channels in calls.items()
        }

    def asked(self) -> int:
        """All metadata calls that reached the service."""
        calls = self.sandbox.accounting()["metadata"]
        return sum(count for channels in calls.values() for codes in channels.values() for count in codes.values())

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        store = open_store(get_settings().database_url)
        try:
            yield store
        finally:
            store.close()


@pytest.fixture
def database(clean_environment: Path, migrated_sqlite: Path) -> Path:
    """The default database of the home, made already: a test that makes its own pays for all migrations."""
    clean_environment.mkdir()
    path = clean_environment / "tagtrail.db"
    shutil.copyfile(migrated_sqlite, path)
    return path


@pytest.fixture
async def weather(prefect_server: None, database: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Weather]:
    """A sandbox on a free port, with virtual time a hundred times as fast, and quick settings; posts get old as they
    really do, so that a busy machine finds the same ones."""
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    with SandboxServer(time_scale=100, calendar_scale=1, limits=False) as sandbox:
        monkeypatch.setenv("MEMORIES_API_KEY", KEY)
        monkeypatch.setenv("MEMORIES_V1_BASE_URL", sandbox.v1_base_url)
        monkeypatch.setenv("MEMORIES_V2_BASE_URL", sandbox.v2_base_url)
        yield Weather(sandbox)
