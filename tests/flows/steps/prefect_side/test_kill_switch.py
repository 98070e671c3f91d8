"""The operator's valve: what a run makes of a Prefect server that grants, refuses, is full, or cannot answer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_RETRY_JITTER_FACTOR, temporary_settings

from blocks.errors import TagtrailError, ValveClosed
from flows.steps.prefect_side import kill_switch
from flows.steps.prefect_side.kill_switch import VALVE, Valve
from flows.steps.run.lifecycle import Run

LIMIT = {"id": str(uuid.uuid4()), "name": VALVE, "limit": 100}


class Counting(Valve):
    """Counts what the valve itself asks; what Prefect's client asks again by itself is not among it."""

    asked = 0

    async def _try(self) -> Any:
        self.asked += 1
        return await super()._try()


class Answer:
    """A status, what stands in the body, and headers."""

    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers


GONE, BUSY = Answer(204), Answer(503)
RENEWED = Answer(200, {})
CLOSED = Answer(422, {"exception_detail": "Slots requested is greater than the limit"})


def granted(*, limits: int = 1) -> Answer:
    return Answer(200, {"lease_id": str(uuid.uuid4()), "limits": [LIMIT] * limits})


def full(retry_after: str) -> Answer:
    return Answer(423, {"detail": "full"}, **{"Retry-After": retry_after})


class Server:
    """A Prefect server as far as the valve uses it; answers are given in turn, the last one for ever."""

    def __init__(self) -> None:
        self.answers = [granted()]
        self.release_answers = [GONE]
        self.asked = self.released = 0
        self.renewed: list[float] = []
        self.limit: int | None = 100
        """What the limit is when it is read; None: the server cannot say, 0 and below: closed."""
        self.deleted = False
        self.read = 0
        self.first_is_lost = False
        """The first question about a slot has no answer as long as there is no second one."""

    def answer(self, path: str) -> Answer:
        if path.endswith("/increment-with-lease"):
            self.asked += 1
            give_up_at = time.monotonic() + 6
            while self.first_is_lost and self.asked == 1 and time.monotonic() < give_up_at:
                time.sleep(0.01)
            return self._next(self.answers)
        if "/leases/" in path and path.endswith("/renew"):
            self.renewed.append(time.monotonic())
            return RENEWED
        if path.endswith("/decrement-with-lease"):
            answer = self._next(self.release_answers)
            self.released += answer.status == GONE.status
            return answer
        if path.endswith(f"/{VALVE}"):
            self.read += 1
            if self.limit is None or self.deleted:
                return Answer(404 if self.deleted else 500, {})
            more: dict[str, Any] = dict.fromkeys(("created", "updated"), "2026-01-01T00:00:00Z")
            more |= {"limit": self.limit, "active": True, "active_slots": 0, "slot_decay_per_second": 0.0}
            return Answer(200, LIMIT | more)
        return Answer(404, {})

    @staticmethod
    def _next(answers: list[Answer]) -> Answer:
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = made.answer(self.path.partition("?")[0])
            body = b"" if answer.body is None else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        serving = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{http.server_port}/api"}):
            yield made
        http.shutdown()
        serving.join()


async def test_a_server_that_cannot_answer_is_asked_again_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause, pauses = Run.pause, list[float]()

    async def noted(run: Run, seconds: float) -> None:
        pauses.append(seconds)
        await pause(run, seconds)

    monkeypatch.setattr(Run, "pause", noted)
    server.answers = [BUSY, BUSY, BUSY, granted()]
    server.release_answers = [BUSY, BUSY, GONE]
    async with Counting(Run("x")) as it:
        async with it.slot() as opened:
            assert opened
        assert not server.released, "nobody waits for a slot that is given back"
    # Prefect's own client would rest for 2, 4 and 8 seconds, and everybody at the valve with it.
    assert (it.asked, pauses) == (4, [0.05, 0.1, 0.2])
    assert (server.asked, server.released) == (4, 1)


async def test_a_server_that_names_a_wait_is_left_to_prefects_client(server: Server) -> None:
    server.answers = [Answer(503, **{"Retry-After": "0.2"}), granted()]
    with temporary_settings({PREFECT_CLIENT_RETRY_JITTER_FACTOR: 0.0}):
        async with Counting(Run("x")) as it, it.slot() as opened:
            assert opened
    assert (server.asked, it.asked) == (2, 1), "Prefect's client asked again by itself"


async def test_a_full_valve_is_waited_for_longer_than_a_server_that_does_not_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    async def passes(run: Run, seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(Run, "pause", passes)
    monkeypatch.setattr(kill_switch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(kill_switch, "PATIENCE_SECONDS", 0.5)
    # The last answer but one is none at all: what counts is how long there was none, not how long the slot was full.
    server.answers = [*[full("0.15")] * 5, BUSY, granted()]
    async with Valve(Run("x")) as it, it.slot() as opened:
        assert opened
    assert server.asked == 7


async def test_a_question_that_is_never_answered_is_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(kill_switch, "SLOW_PAUSE_SECONDS", 0.1)
    server.first_is_lost = True
    async with Valve(Run("x")) as it, it.slot() as opened:
        assert opened
    assert server.asked >= 2


async def test_a_slot_that_is_held_for_long_is_renewed_until_it_is_given_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "LEASE_SECONDS", 0.4)
    async with Valve(Run("x")) as it, it.slot() as opened:
        assert opened
        started = time.monotonic()
        while len(server.renewed) < 2 and time.monotonic() - started < 60:
            await asyncio.sleep(0.02)
    assert len(server.renewed) >= 2
    assert server.released == 1


@pytest.mark.parametrize("closed", [CLOSED, granted(limits=0)], ids=["set to 0", "deleted"])
async def test_a_closed_valve_halts_the_run(server: Server, closed: Answer) -> None:
    server.answers = [closed]
    run = Run("x")
    async with Valve(run) as it, it.slot() as opened:
        assert not opened
    assert run.halted is not None
    assert run.halted.halts
    assert not server.released


async def test_a_full_valve_is_waited_for_and_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_switch, "SAY_SECONDS", 0.0)
    server.answers = [full("0.01"), granted()]
    run = Run("x")
    async with Valve(run) as it, it.slot() as opened:
        assert opened
    assert [VALVE in note for note in run.notes] == [True]


async def test_a_halted_run_waits_no_longer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_switch, "SAY_SECONDS", 3600.0)
    server.answers = [full("3600")]
    run = Run("x")
    async with Valve(run) as it:
        asyncio.get_running_loop().call_later(0.05, run.halt, TagtrailError("enough"))
        async with it.slot() as opened:
            assert not opened


@pytest.mark.parametrize(
    ("answer", "says"),
    [(BUSY, "503"), (Answer(500, {}), "500"), (Answer(401, {}), "401"), (Answer(200, "no JSON of theirs"), "valid")],
)
async def test_a_server_that_grants_nothing_ends_the_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: Answer, says: str
) -> None:
    monkeypatch.setattr(kill_switch, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(kill_switch, "SLOW_PAUSE_SECONDS", 0.1)
    server.answers = [answer]
    async with Valve(Run("x")) as it:
        with pytest.raises(TagtrailError, match=f"does not answer.*{says}"):
            async with it.slot():
                raise AssertionError("nothing was granted")


async def test_what_cannot_be_given_back_holds_nobody_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_switch, "GIVING_BACK_SECONDS", 0.1)
    server.release_answers = [BUSY]
    async with Valve(Run("x")) as it:
        started = time.monotonic()
        async with it.slot() as opened:
            assert opened
    assert time.monotonic() - started < 30, "it would go on asking for a minute"
    assert not server.released


@pytest.mark.usefixtures("prefect_server")
async def test_a_real_server_counts_what_is_held() -> None:
    async def held() -> int:
        async with get_client() as client:
            return (await client.read_global_concurrency_limit_by_name(VALVE)).active_slots

    async with Valve(Run("x")) as it:
        before = await held()
        async with it.slot(), it.slot():
            assert await held() == before + 2
    assert await held() == before


@pytest.mark.parametrize("closed", ["set to 0", "deleted"])
async def test_a_valve_that_is_closed_while_a_group_goes_on_halts_the_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    monkeypatch.setattr(kill_switch, "CHECK_SECONDS", 0.3)
    run = Run("x")
    async with Valve(run) as it, it.slot() as opened:
        assert opened
        server.read = 0
        await asyncio.gather(*(it.still_open() for _ in range(50)))
        assert server.read == 0, "it was passed a moment ago"
        await asyncio.sleep(0.3)
        await asyncio.gather(*(it.still_open() for _ in range(50)))
        assert (server.read, run.halted) == (1, None), "one question for all"
        server.limit, server.deleted = 0, closed == "deleted"
        await it.still_open()
        assert run.halted is None
        await asyncio.sleep(0.3)
        await asyncio.gather(*(it.still_open() for _ in range(50)))
    assert isinstance(run.halted, ValveClosed)
    assert server.read == 2


async def test_a_server_that_cannot_say_whether_the_valve_is_open_holds_up_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "CHECK_SECONDS", 0.0)
    run = Run("x")
    async with Valve(run) as it, it.slot():
        server.limit = None
        await it.still_open()
    assert run.halted is None


async def test_a_run_whose_posts_all_wait_hears_of_a_closed_valve(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(kill_switch, "LEASE_SECONDS", 0.8)
    run = Run("x")
    async with Valve(run) as it, it.slot():
        server.limit = 0
        await asyncio.wait_for(run.halting.wait(), 10)
    assert isinstance(run.halted, ValveClosed)
