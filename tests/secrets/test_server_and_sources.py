"""Set-up, callbacks, other sources, canary, purge, on Postgres with a password; then all that was left is searched."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from prefect.client.orchestration import get_client

from blocks.database.engine import open_store
from blocks.settings import get_settings
from deployments.receiver.outbox_relay import PrefectSender
from deployments.receiver.server import address_of
from flows.canary import canary
from flows.collect_imports import collect_imports
from flows.purge import purge
from flows.report import report
from flows.steps.run.progress import Progress, watch
from flows.track_hashtags import track_hashtags
from tests.receiver_server import ReceiverServer

pytestmark = pytest.mark.stack

CONTROL: Final = "q7zk2control"
TYPED: Final = "q7zk2typed"
POST: Final = "https://www.instagram.com/p/CxYz012abcD/"
BY_URL: Final = f"https://www.tiktok.com/@{TYPED}/video/7300000000000000077"
NOWHERE: Final = "postgresql+psycopg://tagtrail:{}@127.0.0.1:1/tagtrail"


@pytest.fixture
def with_password(world: Any, postgres: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database on Postgres whose URL holds a password."""
    made = postgres.migrated()
    url = made.set(password=world.password).render_as_string(hide_password=False)
    yield url
    postgres.drop(made)


@pytest.fixture
async def clean_server(prefect_server: None) -> AsyncIterator[None]:
    """Takes away again what a set-up makes: it would decide the runs of other tests."""
    yield
    async with get_client() as client:
        for automation in await client.read_automations():
            await client.delete_automation(automation.id)
        for deployment in await client.read_deployments():
            await client.delete_deployment(deployment.id)
        for document in await client.read_block_documents():
            await client.delete_block_document(document.id)
        for pool in await client.read_work_pools():
            await client.delete_work_pool(pool.name)


@contextmanager
def receiving(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> Iterator[ReceiverServer]:
    """The receiver as `tagtrail receive` runs it, told to the service by the settings."""
    settings = get_settings()
    store = open_store(settings.database_url)
    try:
        with ReceiverServer(address_of(settings), store, PrefectSender(), say=lines.append) as server:
            yield server
    finally:
        store.close()


def post(port: int, path: str, body: bytes, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(head.encode() + body)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer


def callbacks(world: Any, port: int) -> None:
    """Good and bad ones, with the key, the secret and somebody's words in them."""
    path = f"/tagtrail/{world.callback_secret}"
    task = world.sandbox.accounting()["imports"][-1]["task_id"]
    news = {"taskId": task, "videoNo": "7", "status": "PARSE", "message": f"{world.caption} by {world.person}"}
    sent = [
        post(port, path, json.dumps(news).encode()),
        post(port, path, json.dumps(news | {"taskId": "unknown"}).encode()),
        post(port, path, json.dumps({"error": world.caption}).encode()),
        post(port, path, f"{world.key} {world.person}".encode()),
        post(port, f"{path}wrong", json.dumps(news).encode()),
        post(port, path, b"", "GET"),
    ]
    statuses = [int(answer.split()[1]) for answer in sent]
    assert statuses[0] in (200, 202)
    assert statuses[1:] == [404, 400, 400, 404, 405]
    assert not world.secrets_found(b"".join(sent).decode())


async def run_flows(world: Any) -> str:
    """What only deployments run; gives the last run's id."""
    progress = Progress()
    with watch(progress):
        await collect_imports(return_state=True)
        await canary(urls=[POST], collection=CONTROL, return_state=True)
        world.change_the_payload(f"new_{CONTROL}")
        for state in (
            await report(return_state=True),
            await purge(older_than_days=1, dry_run=True, return_state=True),
            await canary(urls=[POST], collection=CONTROL, return_state=True),
        ):
            assert state.is_completed(), state.message
    assert progress.summary is not None
    return str(progress.summary.run_id)


def test_what_set_up_callbacks_and_other_sources_leave_holds_no_secret_and_nobodys_words(
    world: Any, with_password: str, clean_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    world.refuse_with_the_name(monkeypatch, f"@{TYPED}")
    world.faults["submit", f"creator:tiktok:{TYPED}"] = ("bad", 1)
    with world.everything_logged(monkeypatch):
        # A database that is away is what its URL is most likely to be shown for.
        monkeypatch.setenv("TAGTRAIL_DATABASE_URL", NOWHERE.format(world.password))
        for arguments in (
            ("status",), ("export", "posts"), ("run", CONTROL), ("doctor",), ("purge", "--older-than", "1d", "--yes"),
            ("reparse",), ("report",), ("refresh", "--dry-run"), ("db", "upgrade"),
            ("setup", "--work-pool", "q7zk2pool"),
        ):  # fmt: skip
            assert world.call(*arguments, "--verbose") in (1, 2), arguments
        assert "127.0.0.1:1" in world.err
        monkeypatch.setenv("TAGTRAIL_DATABASE_URL", with_password)
        assert world.call("setup", "--overwrite", "--json") == 0
        assert world.call("setup", "--overwrite") == 0
        assert "memories-credentials/default: brought up to date" in world.err
        with receiving(monkeypatch, lines) as receiver:
            monkeypatch.setenv("TAGTRAIL_CALLBACK_URL", f"http://127.0.0.1:{receiver.port}/tagtrail")
            assert world.call("setup", "--overwrite") == 0
            asyncio.run(track_hashtags([CONTROL], posts_per_hashtag=2, wait=False, return_state=True))
            callbacks(world, receiver.port)
            assert world.call("import", "creators", f"https://www.tiktok.com/@{TYPED}") == 1
            assert "submit bad" in world.struck
            assert world.call("import", "creators", f"https://www.tiktok.com/@{TYPED}", "--posts", "2") == 0
            assert world.call("import", "urls", BY_URL, POST, "--json") == 0
            world.call("enrich", f"https://www.tiktok.com/@{TYPED}/no-post", "--verbose")
            world.call("refresh", "--max-spend", "0.05")
            world.call("doctor", "--live", "--max-spend", "0.2", "--url", POST)
            world.call("top")
            world.call("status")
            world.call("purge", "--creator", f"@{TYPED}", "--dry-run")
            last = asyncio.run(run_flows(world))
    prefect = world.told_by_prefect(last)

    # The search finds what is there.
    rows, said = world.rows(), "\n".join(lines)
    assert CONTROL in world.files()
    assert len(world.words_found("".join(rows.values()))) == 3
    assert all(f"({status})" in said for status in (400, 404, 405))
    assert "tagtrail.import.succeeded" in prefect["events"]
    assert "tagtrail.shapes.changed" in prefect["events"]
    assert f"new_{CONTROL}" in prefect["events"]
    assert "********" in prefect["block_documents"]
    assert TYPED in prefect["flow_runs"]
    assert world.caption in rows["inbox"]
    assert f"by @{TYPED}" in rows["imports"]
    assert "contract/" in rows["meta"], "the live look left no finding"
    assert CONTROL in rows["canary_shapes"]

    world.nothing_leaked(prefect)
    assert not world.secrets_found(said)
    assert not world.words_found(said)
    assert world.places_of(TYPED, {**prefect, "logs here": world.logged()}).keys() == {"flow_runs"}

    world.call("purge", "--creator", f"@{TYPED}", "--yes", "--json")
    after = world.told_by_prefect(last)
    assert world.places_of(TYPED, after) == {}
