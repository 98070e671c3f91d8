"""The sandbox as a server: a process of its own, its ports, its end, its pace, and what it may import."""

from __future__ import annotations

import ast
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import deployments.sandbox
from deployments.cli.main import call
from deployments.sandbox.server import SandboxServer

ROOM = Path(deployments.sandbox.__file__).parent


@contextlib.contextmanager
def process(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "deployments.cli.main", "sandbox", "--port", "0", *words]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        line = running.stdout.readline().strip()
        assert line.startswith("export MEMORIES_V1_BASE_URL=http://127.0.0.1:")
        yield running, line.partition("=")[2].removesuffix("/serve/api/v1")
    finally:
        running.kill()
        running.communicate()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_of_its_own_ends_cleanly_on_signals(http, number):
    with process("--scenario", "today", "--time-scale", "500") as (running, url):
        assert http.get(f"{url}/sandbox/books").json()["scenario"] == "today"
        running.send_signal(number)
        assert ended(running) == (
            0,
            f"The sandbox serves scenario today at {url}; Ctrl-C ends it. For another shell:\n",
        )


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, errors = running.communicate(timeout=120)
    return running.returncode, errors


def told(scenario: str, url: str) -> str:
    return f"The sandbox serves scenario {scenario} at {url}; Ctrl-C ends it. For another shell:\n"


@pytest.mark.integration
def test_it_ends_though_an_answer_is_still_dripping(http):
    with process("--scenario", "slow-drip") as (running, url):
        http.post(f"{url}/sandbox/scenario", json={"name": "slow-drip", "changes": {"every": 1, "times": None}})
        body = {"video_url": "https://youtu.be/abcdefghij-", "channel": "apify"}
        address = f"{url}/serve/api/v2/youtube/video/metadata"
        with http.stream("POST", address, json=body) as answer:
            running.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.HTTPError):
                answer.read()
        assert ended(running) == (
            0,
            f"The sandbox serves scenario slow-drip at {url}; Ctrl-C ends it. For another shell:\n",
        )


@pytest.mark.integration
def test_a_taken_port_is_a_clear_sentence(capsys):
    with SandboxServer() as server:
        assert call(["sandbox", "--port", str(server.port)]) == 2
    sentence = f"tagtrail: port {server.port} of 127.0.0.1 is in use; choose another with --port\n"
    assert capsys.readouterr().err == sentence


def test_a_wrong_scenario_is_told_and_all_are_listed(capsys):
    assert call(["sandbox", "--scenario", "sunny"]) == 2
    assert "there is no scenario sunny; `tagtrail sandbox --scenarios` lists them" in capsys.readouterr().err
    assert call(["sandbox", "--scenarios"]) == 0
    assert "every fifth post is private or removed" in capsys.readouterr().out


@pytest.mark.integration
def test_a_server_in_a_thread_frees_its_port():
    with SandboxServer() as server:
        pass
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", server.port))


def test_latency_is_added_to_every_answer(start):
    api = start(latency_ms=150)
    assert api.submit().elapsed.total_seconds() > 0.14


def test_latency_is_not_added_to_the_pages_of_the_sandbox_itself(start):
    api = start(latency_ms=3_600_000)
    assert api.http.get(f"{api.server.url}/sandbox/books").json()["requests"] == 0


def test_pages_of_the_sandbox_itself(api):
    page = f"{api.server.url}/sandbox"
    url = api.urls(3)[2]
    assert api.http.get(f"{page}/post", params={"url": url}).json()["number"] == 2
    assert "storm" in api.http.get(f"{page}/scenarios").json()
    assert api.http.get(f"{page}/post", params={"url": "https://example.com"}).status_code == 400
    assert api.http.get(f"{page}/nothing").status_code == 404
    assert api.http.post(f"{page}/advance", content=b"[").status_code == 400
    assert api.http.post(f"{page}/advance", json={"seconds": -1}).status_code == 400


def test_answers_do_not_wait_for_acknowledgements(api):
    # With Nagle's algorithm on, head and body of an answer are 40 ms apart; a busy machine delays some, not all.
    api.submit()
    seconds = []
    while len(seconds) < 500 and sum(each < 0.03 for each in seconds) < 20:
        began = time.perf_counter()
        api.poll("x")
        seconds.append(time.perf_counter() - began)
    assert sum(each < 0.03 for each in seconds) == 20


def test_it_shares_nothing_with_the_client():
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("blocks", "flows", "httpx", "prefect")], path
