"""The key is shown nowhere, and people's words stay out of Prefect: commands and flows in all weathers, searched."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_HOME, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from pydantic import SecretStr

from blocks.database.credentials import TagtrailDatabase
from blocks.database.engine import open_store
from blocks.database.store.raw import load_raw
from blocks.memories import errors, limiter
from blocks.memories.client import MemoriesClient
from blocks.memories.credentials import MemoriesCredentials
from blocks.memories.identity import parse_post_url
from blocks.settings import Settings
from deployments.cli import main as command_line
from deployments.sandbox import weather as sandbox_weather
from deployments.sandbox.answers import Answer
from deployments.sandbox.scenarios import SCENARIOS
from deployments.sandbox.server import SandboxServer
from deployments.sandbox.weather import Strike
from flows.collect_imports import collect_imports
from flows.enrich_posts import enrich_posts
from flows.resolve_import import resolve_import
from flows.track_hashtags import track_hashtags

MARK = "q7Zk2KEYmark9wXv4"
KEY = f"sk-{MARK}"
PASSWORD = "q7Zk2PASSmark9wXv4"
CAPTION = "q7Zk2CAPTIONmark9wXv4"
COMMENT = "q7Zk2COMMENTmark9wXv4"
PERSON = "q7zk2.person"
CONTROL = "q7zk2control"
"""A hashtag that is no secret: it has to be found, or the search finds nothing at all."""

POST = "https://www.instagram.com/p/CxYz012abcD/"
SETTINGS = {
    "TAGTRAIL_IMPORTS_PER_MINUTE": "6000", "TAGTRAIL_STATUS_PER_SECOND": "200", "TAGTRAIL_METADATA_PER_SECOND": "500",
    "TAGTRAIL_POLL_SECONDS": "0.05", "TAGTRAIL_IMPORT_QUIET_SECONDS": "0.3", "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "0.6",
    "TAGTRAIL_RETRY_SECONDS": "0", "TAGTRAIL_TIMEOUT_SECONDS": "0.5", "TAGTRAIL_MAX_SPEND_USD_PER_DAY": "none",
}  # fmt: skip
# The first scenario of each set of faults: how often they strike is the test's own choice.
FAILING = {
    frozenset((fault.on, fault.kind, fault.channels) for fault in scenario.faults): name
    for name, scenario in reversed(SCENARIOS.items())
    if scenario.faults
}
EXPORTS = ("posts", "snapshots", "creators", "comments", "imports", "failures")


@pytest.fixture
def server_home(prefect_server: None) -> Path:
    """The home under which the session's Prefect server runs."""
    return PREFECT_HOME.value().parent


@pytest.fixture
def sandbox(server_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    """A sandbox that repeats the key wherever it can, and the settings to reach it."""
    monkeypatch.setattr(limiter, "FIRST_BACKOFF_SECONDS", 0.05)
    (tmp_path / "payloads").mkdir()
    (tmp_path / "payloads" / "instagram_CxYz012abcD.json").write_text(json.dumps(payload()))
    for kind in ("bad", "credits", "key", "network", "not_found"):
        monkeypatch.setitem(sandbox_weather.KINDS, kind, with_key_in_its_words(kind))
    monkeypatch.setitem(sandbox_weather.KINDS, "not_json", page_with_key)
    with SandboxServer(time_scale=100, limits=False, payloads=tmp_path / "payloads") as server:
        own = {
            "TAGTRAIL_HOME": str(server_home),
            "TAGTRAIL_DATABASE_URL": f"sqlite:///{tmp_path / 'tagtrail.db'}",
            "MEMORIES_API_KEY": KEY,
            "MEMORIES_V1_BASE_URL": server.v1_base_url,
            "MEMORIES_V2_BASE_URL": server.v2_base_url,
            "TAGTRAIL_CALLBACK_SECRET": PASSWORD,
        }
        for name, value in (SETTINGS | own).items():
            monkeypatch.setenv(name, value)
        yield server


def with_key_in_its_words(kind: str) -> Callable[[Strike], Answer]:
    return lambda strike: strike.writer.refusal(kind, strike.version, message=f"{kind}: not found for the key {KEY}")


def page_with_key(strike: Strike) -> Answer:
    return Answer(200, f"<html>Authorization: {KEY}</html>".encode(), "not_json", kind=b"text/html")


def payload() -> dict[str, Any]:
    """A post whose caption, comment and author are marked, in an answer that repeats the key."""
    comment = {"id": "18000000000000001", "text": COMMENT, "created_at": 1762011704, "owner": {"username": PERSON}}
    media = {
        "__typename": "XDTGraphImage",
        "shortcode": "CxYz012abcD",
        "id": parse_post_url(POST).post_id,
        "owner": {"id": "55500011", "username": PERSON, "full_name": PERSON, "edge_followed_by": {"count": 7}},
        "edge_media_to_caption": {"edges": [{"node": {"text": f"#lamps {CAPTION}"}}]},
        "edge_media_to_parent_comment": {"count": 1, "edges": [{"node": comment}]},
        "edge_media_preview_like": {"count": 3},
        "taken_at_timestamp": 1751404144,
        "request_headers": {"Authorization": KEY},
    }
    return {"code": "0000", "msg": "success", "data": {"data": {"xdt_shortcode_media": media}, "status": "ok"}}


@contextmanager
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """All levels of all libraries that see a request or a run, and Prefect's own logs sent to its server."""
    for name in ("", "httpx", "httpcore", "prefect", "prefect.flow_runs", "prefect.task_runs", "asyncio"):
        caplog.set_level(logging.DEBUG if name else logging.INFO, logger=name or None)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
        yield


def calls(sandbox: SandboxServer) -> Iterator[tuple[str, ...]]:
    """Every command that reads or spends, in every weather in which something fails."""
    yield ("run", CONTROL, "--posts", "2")
    yield ("enrich", POST, "--verbose")
    for number, scenario in enumerate(FAILING.values()):
        sandbox.play(scenario, every=1, times=1, after=0)
        yield ("run", f"{CONTROL}{number}", "--posts", "1", "--channel", "apify", "--collection", scenario, "--json")
    for scenario in ("bad-parameters", "unreadable-always", "not-found"):
        sandbox.play(scenario, every=1)
        yield ("enrich", f"https://www.instagram.com/p/CxYz012ab{scenario[0]}D/", "--verbose")
    yield ("retry", "--error", "BadParameters", "--max-spend", "0.02")
    for what in EXPORTS:
        yield ("export", what)
        yield ("export", what, "--format", "jsonl")
    yield ("status",)
    yield ("status", "--json")
    yield ("top",)
    yield ("db", "upgrade")
    yield ("resolve", "abcdef", "--drop")
    yield ("run", "two words")
    yield ("run", "lamps", "--no-such-option", "--verbose")


def words_of(caplog: pytest.LogCaptureFixture) -> str:
    """Every log record, with what it was made of and the traceback that it carries."""
    lines = []
    for record in caplog.records:
        lines += [record.getMessage(), repr(record.args)]
        if record.exc_info is not None:
            lines += traceback.format_exception(*record.exc_info)
    return "\n".join(lines)


async def told_by_prefect(sandbox: SandboxServer) -> str:
    """What the Prefect server's API tells of everything that has happened on it."""
    async with marked_blocks(sandbox), get_client() as client:
        for flow, parameters in (
            (track_hashtags, {"hashtags": [f"{CONTROL}flow"], "posts_per_hashtag": 2}),
            (enrich_posts, {"urls": [POST], "max_age_hours": 0}),
            (collect_imports, {}),
            (resolve_import, {"import_id": "abcdef", "decision": "drop"}),
        ):
            more = {} if flow is resolve_import else {"credentials": "secrets-test"}
            await flow(**parameters, **more, return_state=True)  # type: ignore[operator]
        # Logs and events reach the server a moment later.
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            told = "\n".join([await read_all(client, page) for page in ("logs", "events")])
            if told.count(f"{CONTROL}flow") > 1:
                break
            await asyncio.sleep(0.5)
        pages = [await read_all(client, page) for page in ("flow_runs", "task_runs", "artifacts", "block_documents")]
        return "\n".join([told, *pages])


@asynccontextmanager
async def marked_blocks(sandbox: SandboxServer) -> AsyncIterator[None]:
    credentials = MemoriesCredentials(
        api_key=SecretStr(KEY), v1_base_url=sandbox.v1_base_url, v2_base_url=sandbox.v2_base_url
    )
    await credentials.asave("secrets-test", overwrite=True)
    try:
        yield
    finally:
        await MemoriesCredentials.adelete("secrets-test")


async def read_all(client: PrefectClient, page: str) -> str:
    """All entries of one kind, as the API writes them."""
    http = client._client
    if page == "events":
        response = await http.post("/events/filter", json={"limit": 50})
        text, following = response.text, response.json().get("next_page")
        while following is not None:
            response = await http.get(following)
            text, following = text + response.text, response.json().get("next_page")
        return text
    text, offset = "", 0
    while True:
        response = await http.post(f"/{page}/filter", json={"limit": 200, "offset": offset})
        response.raise_for_status()
        text, offset = text + response.text, offset + 200
        if len(response.json()) < 200:
            return text


def files_under(*folders: Path) -> bytes:
    """All bytes of all files: databases with their write-ahead logs, results, logs, exports."""
    return b"".join(path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())


def rows_of(database: Path) -> str:
    """All tables of our database, raw payloads decompressed."""
    store = open_store(f"sqlite:///{database}")
    try:
        with store.connect() as conn:
            tables = sa.inspect(conn).get_table_names()
            rows = [repr(row) for table in tables for row in conn.exec_driver_sql(f"SELECT * FROM {table}")]
            hashes = conn.exec_driver_sql("SELECT sha256 FROM raw_payloads").scalars()
            return "\n".join([*rows, *(load_raw(conn, sha256).decode(errors="replace") for sha256 in hashes)])
    finally:
        store.close()


@pytest.mark.timeout(400)
def test_the_key_and_peoples_words_stay_where_they_belong(
    sandbox: SandboxServer,
    server_home: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)  # commands turn it off for their own process
    said, statuses = "", set()
    with everything_is_logged(caplog):
        for arguments in calls(sandbox):
            statuses.add(command_line.call(arguments))
            out, err = capfd.readouterr()
            assert MARK not in out + err, arguments
            said += out + err
        sandbox.play("default")
        prefect = asyncio.run(told_by_prefect(sandbox))
    assert statuses == {0, 1, 2, 3, 4}
    logged = words_of(caplog)
    files = files_under(server_home)
    rows = rows_of(tmp_path / "tagtrail.db")

    # The search finds what is there.
    assert CONTROL in said
    assert prefect.count(CONTROL) > len(FAILING)
    assert CONTROL.encode() in files
    assert all(mark in rows for mark in (CONTROL, CAPTION, COMMENT, PERSON, "[key]"))
    assert CAPTION in said, "an export is what the user asked for"

    for where in (said, logged, prefect, rows):
        assert MARK not in where
        assert PASSWORD not in where
    assert MARK.encode() not in files
    for mark in (CAPTION, COMMENT, PERSON):
        assert mark not in prefect
        assert mark not in logged
        assert mark.encode() not in files


def test_nothing_that_holds_the_key_shows_it() -> None:
    url = f"postgresql+psycopg://tagtrail:{PASSWORD}@127.0.0.1:1/tagtrail"
    held = [
        MemoriesClient(SecretStr(KEY), v1_base_url="http://127.0.0.1:1/v1", v2_base_url="http://127.0.0.1:1/v2"),
        Settings(memories_api_key=SecretStr(KEY), tagtrail_callback_secret=SecretStr(PASSWORD)),
        MemoriesCredentials(api_key=SecretStr(KEY)),
        TagtrailDatabase(url=SecretStr(url)),
    ]
    for one in held:
        for shown in (repr(one), str(one), f"{one}", repr(vars(one))):
            assert MARK not in shown
            assert PASSWORD not in shown
    for one in held[1:]:
        assert MARK not in one.model_dump_json()  # type: ignore[attr-defined]
        assert PASSWORD not in one.model_dump_json()  # type: ignore[attr-defined]


@pytest.mark.parametrize("scenario", ["key-revoked", "bad-parameters", "not-json", "reset", "slow-drip", "html-500"])
async def test_no_error_of_the_client_holds_the_key(sandbox: SandboxServer, scenario: str) -> None:
    sandbox.play(scenario, every=1, after=0, times=None)
    client = MemoriesClient(
        SecretStr(KEY), v1_base_url=sandbox.v1_base_url, v2_base_url=sandbox.v2_base_url, timeout_seconds=0.5
    )
    async with client:
        with pytest.raises(errors.MemoriesError) as caught:
            await client.metadata(parse_post_url("https://www.instagram.com/p/CxYz012abcE/"), "apify")
    error: BaseException | None = caught.value
    while error is not None:
        shown = [str(error), repr(error), repr(error.__dict__), *traceback.format_exception(error)]
        assert not any(MARK in text for text in shown)
        assert MARK.encode() not in pickle.dumps(error)
        error = error.__cause__ or error.__context__
