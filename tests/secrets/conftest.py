"""What the searches share: marks, a sandbox that repeats them wherever it can, and all places where they could lie."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_HOME, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from blocks.database.engine import open_store
from blocks.database.store.raw_payloads import load_raw
from blocks.posts.identity import parse_post_url
from blocks.quotas import rate_limiter
from blocks.settings import get_settings
from deployments.cli import main as command_line
from deployments.sandbox import faults as sandbox_faults
from deployments.sandbox import people
from deployments.sandbox.answers import Answer
from deployments.sandbox.faults import ServedCall
from deployments.sandbox.server import SandboxServer

KEY: Final = "sk-q7Zk2KEYmark9wXv4"
PASSWORD: Final = "q7Zk2PASSmark9wXv4"
CALLBACK_SECRET: Final = "q7Zk2CALLBACKmark9wXv4"
SECRETS: Final = ("q7Zk2KEYmark9wXv4", PASSWORD, CALLBACK_SECRET)

CAPTION: Final = "q7Zk2CAPTIONmark9wXv4"
COMMENT: Final = "q7Zk2COMMENTmark9wXv4"
PERSON: Final = "q7Zk2PERSONmark"
"""Part of every creator's and commenter's user name, in lower case, and of their names."""
WORDS: Final = (CAPTION, COMMENT, PERSON)

TYPED: Final = "q7zk2typed"
"""A creator whom the user names: in the parameters of runs, and nowhere else in Prefect."""
CONTROL: Final = "q7zk2control"
"""A hashtag that is no secret: it has to be found, or the search finds nothing at all."""

POST: Final = "https://www.instagram.com/p/CxYz012abcD/"
QUICK: Final = {
    "TAGTRAIL_IMPORTS_PER_MINUTE": "60000", "TAGTRAIL_STATUS_PER_SECOND": "500", "TAGTRAIL_METADATA_PER_SECOND": "500",
    "TAGTRAIL_POLL_SECONDS": "0.05", "TAGTRAIL_IMPORT_QUIET_SECONDS": "0.3", "TAGTRAIL_IMPORT_DEADLINE_SECONDS": "60",
    "TAGTRAIL_RETRY_SECONDS": "0", "TAGTRAIL_TIMEOUT_SECONDS": "3", "TAGTRAIL_MAX_SPEND_USD_PER_DAY": "none",
}  # fmt: skip
WAIT_SECONDS: Final = 120.0


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
        "request_headers": {"Authorization": KEY, "X-Callback": f"https://hooks.example.com/{CALLBACK_SECRET}"},
    }
    return {"code": "0000", "msg": "success", "data": {"data": {"xdt_shortcode_media": media}, "status": "ok"}}


def with_secrets_in_its_words(kind: str, by: str = "it") -> Callable[[ServedCall], Answer]:
    callback = f"https:\\/\\/hooks.example.com/{CALLBACK_SECRET}"
    said = f"{kind}: not found by {by}, for the key {KEY} with the callback {callback}"
    return lambda served: served.writer.refusal(kind, served.version, message=said)


def page_with_secrets(served: ServedCall) -> Answer:
    return Answer(200, f"<html>Authorization: {KEY} {CALLBACK_SECRET}</html>".encode(), "not_json", kind=b"text/html")


@dataclass
class World:
    """A sandbox with planned faults, commands, and what they said; `look` searches all that they left behind."""

    sandbox: SandboxServer
    home: Path
    capfd: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    faults: dict[tuple[str, str], tuple[str, int | None]] = field(default_factory=dict)
    """By ("submit", hashtag), ("status", hashtag) or ("metadata", post): the kind, and how often it strikes."""
    records: list[logging.LogRecord] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    key: str = KEY
    password: str = PASSWORD
    callback_secret: str = CALLBACK_SECRET
    caption: str = CAPTION
    person: str = PERSON
    out: str = ""
    err: str = ""
    last: str = ""
    """Standard output of the last command."""
    statuses: set[int] = field(default_factory=set)

    def inject(self, call: str, key: str, number: int, served: ServedCall) -> Answer:
        """The planned fault, or the orderly answer."""
        about = key.removeprefix("hashtag:")
        if call == "status":
            tasks = {one["task_id"]: one["targets"][0] for one in served.state.accounting.imports}
            about = tasks.get(key, "").removeprefix("hashtag:")
        kind, times = self.faults.get((call, about), ("", 0))
        if times == 0:
            return served.serve()
        self.faults[call, about] = (kind, None if times is None else times - 1)
        self.struck.append(f"{call} {kind}")
        return sandbox_faults.KINDS[kind](served)

    def call(self, *arguments: str) -> int:
        """One command in this process; what it says may hold no secret, and on standard error nobody's words."""
        self.capfd.readouterr()
        status = command_line.call(arguments)
        out, err = self.capfd.readouterr()
        assert not marks_in(out + err, *SECRETS), (arguments, out + err)
        assert not marks_in(err, *WORDS), (arguments, err)
        self.statuses.add(status)
        self.last = out
        self.out += out
        self.err += err
        return status

    @contextmanager
    def everything_logged(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """All levels of all libraries that see a request or a run, and Prefect's own logs sent to its server."""
        monkeypatch.setattr(logging, "raiseExceptions", True)  # commands turn it off for their own process
        for name in ("", "httpx", "httpcore", "prefect", "prefect.flow_runs", "prefect.task_runs", "asyncio"):
            self.caplog.set_level(logging.DEBUG if name else logging.INFO, logger=name or None)
        make = logging.getLogRecordFactory()

        def keep(*made_of: Any, **more: Any) -> logging.LogRecord:
            self.records.append(record := make(*made_of, **more))
            return record

        # Where records are made: Prefect's own set-up takes away every handler that a test may have put in place.
        logging.setLogRecordFactory(keep)
        try:
            with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
                yield
        finally:
            logging.setLogRecordFactory(make)

    def logged(self) -> str:
        """Every log record, with what it was made of and the traceback that it carries."""
        lines = []
        for record in self.records:
            lines += [record.getMessage(), repr(record.args)]
            if record.exc_info is not None:
                lines += traceback.format_exception(*record.exc_info)
        return "\n".join(lines)

    def files(self) -> str:
        """All bytes of all files of the home: Prefect's database with its write-ahead log, results, logs."""
        asked_for = self.home / "reports"
        found = (one for one in sorted(self.home.rglob("*")) if one.is_file() and asked_for not in one.parents)
        return b"\n".join(path.read_bytes() for path in found).decode("latin-1")

    def rows(self) -> dict[str, str]:
        """Our database by table, and as `raw` its payloads."""
        store = open_store(get_settings().database_url)
        try:
            with store.connect() as conn:
                tables = sa.inspect(conn).get_table_names()
                read = {name: conn.exec_driver_sql(f'SELECT * FROM "{name}"').mappings() for name in tables}
                rows = {name: "\n".join(repr(dict(row)) for row in found) for name, found in read.items()}
                hashes = list(conn.exec_driver_sql("SELECT sha256 FROM raw_payloads").scalars())
                rows["raw"] = "\n".join(load_raw(conn, one).decode(errors="replace") for one in hashes)
            return rows
        finally:
            store.close()

    def told_by_prefect(self, run_id: str) -> dict[str, str]:
        """What the server's API tells, by page, once the log and the last event of this run have reached it."""
        return asyncio.run(told_by_prefect(run_id))

    def nothing_leaked(self, prefect: dict[str, str]) -> None:
        """The search in all places; what has to be found there is the test's own affair."""
        rows = self.rows()
        for name, where in {"logs here": self.logged(), "files": self.files(), **prefect}.items():
            assert not marks_in(where, *SECRETS, *WORDS), name
        for name, where in {"said": self.out + self.err, **rows}.items():
            assert not marks_in(where, *SECRETS), name
        for name in ("runs", "meta", "canary_shapes", "spend", "budgets", "rate_limits", "erased", "gaps"):
            assert not marks_in(rows[name], *WORDS), name

    def refuse_with_the_name(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Refusals of kind `bad` repeat this name from now on."""
        monkeypatch.setitem(sandbox_faults.KINDS, "bad", with_secrets_in_its_words("bad", name))

    def places_of(self, mark: str, texts: dict[str, str]) -> dict[str, list[str]]:
        """Where a mark stands in texts, by their names."""
        return {name: found for name, text in texts.items() if (found := marks_in(text, mark))}

    def change_the_payload(self, name: str) -> None:
        """The marked post's payload has a new key of that name from now on, and somebody's words for a value."""
        content = payload()
        content["data"]["data"]["xdt_shortcode_media"][name] = CAPTION
        key = f"instagram:{parse_post_url(POST).post_id}"
        self.sandbox.sandbox.state.payloads[key] = json.dumps(content).encode()

    def secrets_found(self, text: str) -> list[str]:
        """Where secrets stand in a text."""
        return marks_in(text, *SECRETS)

    def words_found(self, text: str) -> list[str]:
        """Where people's words stand in a text; all of them do where the search works and they belong."""
        return marks_in(text, *WORDS)


def marks_in(text: str, *marks: str) -> list[str]:
    """The places where a mark stands, with what stands around it, whatever its case; also percent-encoded."""
    lower = text.lower()
    found = []
    for mark in marks:
        for shape in {mark.lower(), quote(mark).lower()}:
            if (place := lower.find(shape)) >= 0:
                found.append(text[max(0, place - 200) : place + 200])
    return found


async def told_by_prefect(run_id: str) -> dict[str, str]:
    async with get_client() as client:
        deadline = time.monotonic() + WAIT_SECONDS
        # Any run's: a Prefect server on SQLite whose database is locked for too long drops an event now and then.
        ended = {"event": {"name": ["tagtrail.run.completed"]}}
        its_own = {**ended, "resource": {"id": [f"tagtrail.run.{run_id}"]}}
        logs = {"logs": {"flow_run_id": {"any_": [run_id]}}}
        while True:
            late = time.monotonic() > deadline - WAIT_SECONDS / 2
            event = await client._client.post("/events/filter", json={"filter": ended if late else its_own})
            log = await client._client.post("/logs/filter", json=logs)
            if (event.json()["events"] and "Finished in state" in log.text) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
        assert event.json()["events"], "no run's event ever came"
        assert "Finished in state" in log.text, "the last run's log never came"
        names = ("logs", "artifacts", "flow_runs", "task_runs", "block_documents", "deployments", "automations")
        found = {name: await read_all(client, name) for name in names}
        # Prefect's own events, which repeat the states above, are in its files; these are ours and the assets'.
        # A run's parameters are what the user typed; the rest of it is what it says.
        found["runs without parameters"] = [{**run, "parameters": None} for run in found["flow_runs"]]
        pages = {name: json.dumps(entries, ensure_ascii=False) for name, entries in found.items()}
        # Prefect's own events, which repeat the states above, are in its files; these are ours and the assets'.
        runs = json.loads(f"[{pages['flow_runs'][1:-1].replace('][', ',')}]")
        # Parameters are what the user typed; the rest of a run is what it says.
        pages["runs without parameters"] = json.dumps([{**run, "parameters": None} for run in runs])
        pages["events"] = await read_events(client, "tagtrail.", "prefect.asset.")
    return pages


async def read_events(client: PrefectClient, *prefixes: str) -> str:
    wanted = {"filter": {"event": {"prefix": list(prefixes)}}, "limit": 50}
    response = await client._client.post("/events/filter", json=wanted)
    text, following = response.text, response.json().get("next_page")
    while following is not None:
        response = await client._client.get(following)
        text, following = text + response.text, response.json().get("next_page")
    return text


async def read_all(client: PrefectClient, page: str) -> list[dict[str, Any]]:
    """All entries of one kind, as the API gives them."""
    found: list[dict[str, Any]] = []
    while True:
        response = await client._client.post(f"/{page}/filter", json={"limit": 200, "offset": len(found)})
        response.raise_for_status()
        found += (entries := response.json())
        if len(entries) < 200:
            return found


@pytest.fixture
def alone(
    clean_environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[World]:
    """A sandbox whose posts and refusals are full of marks, and the settings to reach it, on a SQLite file."""
    monkeypatch.setattr(rate_limiter, "FIRST_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(people, "_FIRST", (PERSON.lower(),))
    monkeypatch.setattr(people, "_TALL", (PERSON,))
    monkeypatch.setattr(people, "_TEXTS", (CAPTION,))
    monkeypatch.setattr(people, "_REMARKS", (COMMENT,))
    (tmp_path / "payloads").mkdir()
    (tmp_path / "payloads" / "instagram_CxYz012abcD.json").write_text(json.dumps(payload()))
    for kind in ("bad", "credits", "key", "account", "permission", "network", "not_found", "duplicate"):
        monkeypatch.setitem(sandbox_faults.KINDS, kind, with_secrets_in_its_words(kind))
    monkeypatch.setitem(sandbox_faults.KINDS, "not_json", page_with_secrets)
    with SandboxServer(time_scale=100, limits=False, payloads=tmp_path / "payloads") as sandbox:
        sandbox.play("default", tiktok_listed_as="handle")
        made = World(sandbox, clean_environment, capfd, caplog)
        sandbox.answer_by(made.inject)
        own = {
            "TAGTRAIL_DATABASE_URL": f"sqlite:///{tmp_path / 'tagtrail.db'}",
            "MEMORIES_API_KEY": KEY,
            "MEMORIES_V1_BASE_URL": sandbox.v1_base_url,
            "MEMORIES_V2_BASE_URL": sandbox.v2_base_url,
            "TAGTRAIL_CALLBACK_URL": "https://hooks.example.com/tagtrail",
            "TAGTRAIL_CALLBACK_SECRET": CALLBACK_SECRET,
        }
        for name, value in (QUICK | own).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def world(alone: World, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The same with the home of the session's Prefect server."""
    alone.home = PREFECT_HOME.value().parent
    monkeypatch.setenv("TAGTRAIL_HOME", str(alone.home))
    yield alone
    shutil.rmtree(alone.home / "reports", ignore_errors=True)
