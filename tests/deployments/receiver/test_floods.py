"""Floods: they hold up no good callback, fill nothing, and cannot keep the receiver from ending in silence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import pytest

from blocks.database.engine import Store
from deployments.receiver.limits import LINE_SECONDS, Limits
from deployments.receiver.server import TAKEN_AT_ONCE

from .conftest import PATH, QUICK, TAKEN, status, unserved, until

FLOOD = """
import socket, sys, threading
def leave(request):
    for number in range(10**9):
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as connection:
                connection.sendall(request)
        except OSError:
            pass
        if number == 300:
            print("300 sent\\n", end="", flush=True)
def flood(request):
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as connection:
                while True:
                    connection.sendall(request)
                    if not connection.recv(65536):
                        break
        except OSError:
            pass
def request(path, body):
    return f"POST {path} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode()
wrong = request(sys.argv[2][:-3] + "xxx", '{"taskId": "t0", "status": "SUCCEEDED"}')
known = request(sys.argv[2], '{"taskId": "t0", "status": "SUCCEEDED"}')
unknown = request(sys.argv[2], '{"taskId": "of-nobody", "status": "SUCCEEDED"}')
large, odd = request(sys.argv[2], "x" * 30_000), request(sys.argv[2], "{nonsense")
for number in range(int(sys.argv[4])):
    kind = (wrong, known, unknown, large, odd)[number % 5]
    threading.Thread(target=globals()[sys.argv[3]], args=(kind,), daemon=True).start()
print("flooding", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def flooded(world: Any, how: str, clients: int) -> Iterator[IO[str]]:
    """While so many clients of another process flood the receiver; what that process says."""
    world.submitted("t0")
    world.post({"taskId": "t0", "status": "SUCCEEDED"})
    command = [sys.executable, "-c", FLOOD, str(world.port), PATH, how, str(clients)]
    flood = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert flood.stdout is not None
        assert flood.stdout.readline() == "flooding\n"
        yield flood.stdout
    finally:
        flood.communicate("", timeout=120)


@pytest.mark.stack
def test_a_flood_holds_up_no_good_callback(worlds: Any) -> None:
    world = worlds(Limits())
    for number in range(1, 41):
        world.submitted(f"t{number}")
    began = time.monotonic()
    with flooded(world, "flood", 50):
        time.sleep(0.5)
        answers = []
        for number in range(1, 41):
            answers.append(world.post({"taskId": f"t{number}", "status": "SUCCEEDED"}))
            time.sleep(0.02)
    assert {answer.status for answer in answers} <= TAKEN
    seconds = sorted(answer.seconds for answer in answers)
    # Loose, for machines with much else to do; tests/benchmarks/receiver.py measures what it is.
    assert seconds[int(len(seconds) * 0.95)] < 30.0
    until(lambda: len(world.inbox()) == 41)
    # Examples and counts stand at a line's end.
    of_one_reason = max(Counter(line[:20] for line in world.lines).values())
    assert of_one_reason <= 1 + (time.monotonic() - began) / LINE_SECONDS, "a line for each reason and ten seconds"


@pytest.mark.stack
def test_clients_that_send_and_leave_fill_nothing_and_stopping_among_them_is_silent(
    worlds: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # So slow that all that leave would be waiting still, if they were waited for.
    limits = Limits(pause_of_refusals_seconds=60.0)
    world = worlds(limits)
    for number in range(1, 6):
        world.submitted(f"t{number}")
    state = world.receiver._server.server_state
    most = [0, 0]

    def look() -> None:
        while not over.wait(0.005):
            most[:] = max(most[0], len(state.tasks)), max(most[1], len(state.connections))

    over = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    try:
        with flooded(world, "leave", 5) as said:
            for _ in range(5):
                assert said.readline() == "300 sent\n"
            answers = [world.post({"taskId": f"t{number}", "status": "SUCCEEDED"}) for number in range(1, 6)]
            world.receiver.stop()
    finally:
        over.set()
        looking.join()
    assert {answer.status for answer in answers} <= TAKEN
    assert 0 < most[0] <= limits.max_connections + TAKEN_AT_ONCE
    assert most[1] <= limits.max_connections + TAKEN_AT_ONCE
    assert not world.receiver._thread.is_alive()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert len(world.inbox()) == 6


async def test_who_leaves_before_an_answer_is_not_waited_for(sqlite_store: Store) -> None:
    receiver = unserved(sqlite_store, limits=Limits(pause_of_refusals_seconds=600.0))
    for path in (b"/other", b"/p"):
        messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
        scope = {
            "type": "http",
            "method": "POST",
            "path": path.decode(),
            "raw_path": path,
            "query_string": b"",
            "headers": [],
        }

        async def receive(messages: list[Any] = messages) -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        async with asyncio.timeout(60):
            await receiver.app(scope, receive, send)
        assert messages == []


async def test_in_a_flood_only_other_paths_are_turned_away_and_for_a_second(sqlite_store: Store) -> None:
    now = [100.0]
    receiver = unserved(sqlite_store, limits=replace(QUICK, max_refusals_a_second=3), clock=lambda: now[0])
    for _ in range(2):
        assert await status(receiver, "POST", "/other") == 404
    assert not receiver.turns_away(b"/other")
    assert await status(receiver, "POST", "/p", b"{nonsense") == 400
    assert [receiver.turns_away(path) for path in (b"/other", b"/p", b"/health")] == [True, False, False]
    now[0] += 1
    assert not receiver.turns_away(b"/other")


def test_who_is_turned_away_is_told_so(worlds: Any) -> None:
    world = worlds(replace(QUICK, max_refusals_a_second=0))
    refused = world.post({"taskId": "t1", "status": "SUCCEEDED"}, path="/hooks/wrong")
    assert (refused.status, "connection: close" in refused.head) == (503, True)
    world.submitted("t1")
    assert world.post({"taskId": "t1", "status": "SUCCEEDED"}).status in TAKEN
    assert any("refused at once" in line for line in world.lines)
