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
from deployments.sandbox.__main__ import main
from deployments.sandbox.server import PortTaken, SandboxServer, serve
from deployments.sandbox.state import State

ROOM = Path(deployments.sandbox.__file__).parent


@contextlib.contextmanager
def process(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "deployments.sandbox", "--port", "0", *words]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line.startswith("sandbox: http://127.0.0.1:")
        yield running, line.removeprefix("sandbox: ").strip()
    finally:
        running.kill()
        running.communicate()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_of_its_own_ends_cleanly_on_signals(http, number):
    with process("--scenario", "today", "--time-scale", "500", "--limits", "off") as (running, url):
        assert http.get(f"{url}/sandbox/books").json()["scenario"] == "today"
        running.send_signal(number)
        _, errors = running.communicate(timeout=120)
        assert (running.returncode, errors) == (0, "")


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
        _, errors = running.communicate(timeout=120)
        assert (running.returncode, errors) == (0, "")


@pytest.mark.integration
def test_a_taken_port_is_a_clear_sentence(capsys):
    with SandboxServer() as server:
        with pytest.raises(PortTaken, match=f"port {server.port} of 127.0.0.1 is in use; choose another"):
            serve(State(), port=server.port, announce=lambda url: None)
        assert main(["--port", str(server.port)]) == 2
    assert capsys.readouterr().err == (f"port {server.port} of 127.0.0.1 is in use; choose another with --port\n")


def test_a_wrong_scenario_lists_all(capsys):
    assert main(["--scenario", "sunny"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("there is no scenario 'sunny'; there are:\n")
    assert "every fifth post is private or removed" in shown


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
