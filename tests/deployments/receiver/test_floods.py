"""Floods: they hold up no good callback, fill nothing, and cannot keep the receiver from ending in silence."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import pytest

from blocks.database.engine import Store
from deployments.receiver import connections
from deployments.receiver.pace import BURST, LONGEST_WAIT_SECONDS, PER_SECOND, Pace
from deployments.receiver.refusals import LINE_SECONDS, Refusals

from .conftest import PATH, TAKEN, asgi, status, until

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
@pytest.mark.alone
def test_a_flood_holds_up_no_good_callback(world: Any) -> None:
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
@pytest.mark.alone
def test_clients_that_send_and_leave_fill_nothing_and_stopping_among_them_is_silent(
    world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # So slow that all that leave would be waiting still, if they were waited for.
    monkeypatch.setattr("deployments.receiver.pace.PER_SECOND", 1)
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
            refused = world.post({"taskId": "t0", "status": "SUCCEEDED"}, path="/hooks/wrong")
            world.receiver.stop()
    finally:
        over.set()
        looking.join()
    assert {answer.status for answer in answers} <= TAKEN
    assert refused.status in (0, 404, 503)
    assert 0 < most[0] <= connections.MOST_CONNECTIONS + connections.ACCEPTED_AT_ONCE
    assert most[1] <= connections.MOST_CONNECTIONS + connections.ACCEPTED_AT_ONCE
    assert not world.receiver._thread.is_alive()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert len(world.inbox()) == 6


async def test_who_leaves_before_an_answer_is_not_waited_for(sqlite_store: Store) -> None:
    receiver, pace = asgi(sqlite_store)
    while not pace.take():
        pass
    for _ in range(20):
        pace.take()
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await receiver({"type": "http", "method": "POST", "raw_path": b"/other", "headers": []}, receive, send)
    assert (sent, messages) == ([], [])
    messages = [{"type": "http.disconnect"}]
    await receiver({"type": "http", "method": "POST", "raw_path": b"/p", "headers": []}, receive, send)
    assert sent == [], "left in the middle of its body"


async def test_where_too_many_wait_the_next_is_sent_away_at_once(sqlite_store: Store) -> None:
    receiver, pace = asgi(sqlite_store)
    while pace.take() is not None:
        pass
    assert (await status(receiver, "POST", b"/other"), await status(receiver, "GET", b"/health")) == (503, 200)
    doors = connections.Connections(receiver, Refusals(lambda _: None), pace)
    begins = (b"POST /other HTTP/1.1", b"POST /p HTTP/1.1", b"GET /health HTTP/1.1", b"POST /oth", b"")
    assert [doors.sends_away(begin) for begin in begins] == [True, False, False, False, False]
    assert not connections.Connections(receiver, Refusals(lambda _: None), Pace()).sends_away(begins[0])


def test_answers_that_change_nothing_come_at_a_steady_rate_and_not_to_all() -> None:
    now = [100.0]
    pace = Pace(clock=lambda: now[0])
    waits = [pace.take() for _ in range(BURST + 11)]
    assert waits[: BURST + 1] == [0.0] * (BURST + 1)
    assert waits[-1] == pytest.approx(10 / PER_SECOND)
    now[0] += 60
    assert [pace.take() for _ in range(BURST + 1)][-1] == 0.0

    taken = 0
    while (wait := pace.take()) is not None:
        assert wait <= LONGEST_WAIT_SECONDS
        taken += 1
    assert taken == pytest.approx(LONGEST_WAIT_SECONDS * PER_SECOND, abs=2)
    now[0] += LONGEST_WAIT_SECONDS / 2 - 0.1
    assert pace.take() is None, "not for each place that becomes free"
    now[0] += 0.2
    assert pace.take() is not None
