"""`tagtrail receive`: what it asks for, and that it serves, logs no secret and ends cleanly with no Prefect server."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import import_planning, inbox
from blocks.database.store import imports as ledger

SECRET = "q7Zk2CALLBACKmark9wXv4"
URL = "https://hooks.example.com/tagtrail"


@pytest.mark.parametrize(
    ("url", "secret", "arguments", "sentence"),
    [
        ("", SECRET, [], "TAGTRAIL_CALLBACK_URL is not set; give the address"),
        (URL, "", [], "TAGTRAIL_CALLBACK_SECRET is not set; make one"),
        ("hooks.example.com", SECRET, [], "TAGTRAIL_CALLBACK_URL is an address such as"),
        (URL + "?a=1", SECRET, [], "TAGTRAIL_CALLBACK_URL is an address such as"),
        (URL, "q7Zk2/CALLBACK", [], "TAGTRAIL_CALLBACK_SECRET has to be of letters"),
        (URL + "x" * 270, SECRET, [], "together are longer than 299 characters"),
        (URL, SECRET, ["--port", "70000"], "--port is 0 to 65535"),
    ],
)
def test_wrong_use_is_one_sentence_without_the_secret(
    tagtrail: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    secret: str,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setenv("TAGTRAIL_CALLBACK_URL", url)
    monkeypatch.setenv("TAGTRAIL_CALLBACK_SECRET", secret)
    called = tagtrail("receive", *arguments)
    assert (called.status, called.out) == (2, "")
    assert sentence in called.err
    assert len(called.err.splitlines()) == 1
    assert "q7Zk2" not in called.err


def submitted(store: Store, task_id: str) -> None:
    with store.begin() as conn:
        ticket = import_planning.plan_import(
            conn, account="acc", kind="hashtag", hashtag="moss", wanted={"hashtag": "moss"}, dedup_key="w",
            collection="c", namespace="c", library="private", requested=5, run_id="r", owner="o", reuse_after=None,
            fresh=False,
        )  # fmt: skip
        ledger.mark_sending(conn, ticket.import_id, owner="o")
        ledger.mark_submitted(conn, ticket.import_id, task_id, owner="o")


def own(folder: Path, store: Store) -> dict[str, str]:
    """The variables of a receiver whose Prefect server is away."""
    return {
        "TAGTRAIL_CALLBACK_URL": URL,
        "TAGTRAIL_CALLBACK_SECRET": SECRET,
        "TAGTRAIL_DATABASE_URL": store.engine.url.render_as_string(),
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
        "PREFECT_HOME": str(folder / "prefect"),
    }


def post(port: int, path: str, body: Any) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=170)
    try:
        connection.request("POST", path, body=json.dumps(body))
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.integration
def test_one_that_cannot_go_on_ends_with_status_1(
    tagtrail: Callable[..., Any], tmp_path: Path, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(self: Any) -> None:
        raise OSError(28, "No space left on device")

    class Nobody:
        """A Prefect server that is not asked for anything."""

        async def close(self) -> None:
            pass

    monkeypatch.setattr("deployments.receiver.inbox_writer.InboxWriter.run", fault)
    monkeypatch.setattr("deployments.cli.commands.receive._connected", lambda settings: settings)
    monkeypatch.setattr("deployments.cli.commands.receive.PrefectSender", Nobody)
    for name, value in own(tmp_path, sqlite_store).items():
        monkeypatch.setenv(name, value)
    called = tagtrail("receive", "--port", "0")
    assert (called.status, called.out) == (1, "")
    assert "tagtrail: the receiver could not go on: OSError: [Errno 28] No space left on device (" in called.err
    assert SECRET not in called.err


@pytest.mark.integration
def test_it_serves_though_the_prefect_server_is_away_and_ends_by_a_signal(tmp_path: Path, sqlite_store: Store) -> None:
    submitted(sqlite_store, "t1")
    receiver = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli.main", "receive", "--port", "0"],
        env=os.environ | own(tmp_path, sqlite_store), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = ""
    try:
        assert receiver.stderr is not None
        while (listening := re.search(r"received on 127.0.0.1:(\d+)", said)) is None:
            line = receiver.stderr.readline()
            assert line, said
            said += line
        assert "cannot be reached" in said
        port = int(listening[1])
        good = {"taskId": "t1", "status": "SUCCEEDED"}
        assert post(port, f"/tagtrail/{SECRET}", good) in (200, 202)
        assert post(port, f"/tagtrail/{SECRET}x", good) == 404
        assert post(port, f"/{SECRET}", good) == 404
    finally:
        receiver.send_signal(signal.SIGINT)
        said += receiver.communicate(timeout=170)[1]
    assert receiver.returncode == 0, said
    assert SECRET not in said
    assert "Traceback" not in said
    with sqlite_store.connect() as conn:
        [letter] = list(conn.execute(inbox.inbox.select()))
    assert (letter.status, letter.emitted_at) == ("SUCCEEDED", None)
