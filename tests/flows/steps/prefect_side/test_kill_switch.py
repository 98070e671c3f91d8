"""The kill switch: what a run makes of a Prefect limit that is there, at 0, deleted, or cannot be read."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.errors import TagtrailError, ValveClosed
from flows.steps.prefect_side.kill_switch import KILL_SWITCH, watch_kill_switch

QUICK = {"look_seconds": 0.02, "answer_seconds": 60.0, "max_unread_seconds": 0.2}


class Server:
    """A Prefect server as far as the kill switch uses it."""

    def __init__(self) -> None:
        self.limit: int | None = 100
        """None: there is no such limit."""
        self.active = True
        self.status = 200
        """Any other is the answer to everything."""
        self.silent_for = 0
        """So many questions are answered only when the test has ended."""
        self.ended = threading.Event()
        self.made = self.read = 0

    def answer(self, method: str) -> tuple[int, Any]:
        if self.silent_for:
            self.silent_for -= 1
            self.ended.wait(60)
        if self.status != 200:
            return self.status, {"detail": "of this test"}
        if method == "POST":
            self.made += 1
            self.limit = 100
        else:
            self.read += 1
        if self.limit is None:
            return 404, {}
        moments = dict.fromkeys(("created", "updated"), "2026-01-01T00:00:00Z")
        numbers = {"limit": self.limit, "active": self.active, "active_slots": 0, "slot_decay_per_second": 0.0}
        return 200 if method == "GET" else 201, {"id": str(uuid.uuid4()), "name": KILL_SWITCH} | numbers | moments


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = made.answer(self.command)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        serving = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        api = f"http://127.0.0.1:{http.server_port}/api"
        with temporary_settings({PREFECT_API_URL: api, PREFECT_CLIENT_MAX_RETRIES: 0}):
            yield made
        made.ended.set()
        http.shutdown()
        serving.join()


class Halts(list[TagtrailError]):
    """What the run was halted by."""

    def __call__(self, error: TagtrailError) -> None:
        self.append(error)

    async def come(self) -> None:
        async with asyncio.timeout(60):
            while not self:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watched(server: Server, **more: Any) -> AsyncIterator[Halts]:
    halts = Halts()
    async with watch_kill_switch(halts, **(QUICK | more)):
        yield halts


async def reads(server: Server, more: int) -> None:
    """Until the limit was read so many times more."""
    until = server.read + more
    async with asyncio.timeout(60):
        while server.read < until:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("limit", "active"), [(1, True), (100, True), (0, False)], ids=["1", "100", "not active"])
async def test_any_number_above_0_lets_the_run_buy(server: Server, limit: int, active: bool) -> None:
    server.limit, server.active = limit, active
    async with watched(server) as halts:
        await reads(server, 3)
    assert (halts, server.made) == ([], 0)


async def test_a_limit_at_0_halts_the_run_before_anything_is_bought(server: Server) -> None:
    server.limit = 0
    async with watched(server) as halts:
        [error] = halts
    assert isinstance(error, ValveClosed)
    assert error.halts
    assert KILL_SWITCH in str(error)
    assert server.limit == 0, "it stays as the operator set it"


async def test_a_missing_limit_is_made_when_a_run_starts(server: Server) -> None:
    server.limit = None
    async with watched(server) as halts:
        await reads(server, 2)
    assert (server.limit, server.made, halts) == (100, 1, [])


@pytest.mark.parametrize("limit", [0, None], ids=["set to 0", "deleted"])
async def test_a_run_is_halted_when_the_operator_stops_all_buying(server: Server, limit: int | None) -> None:
    async with watched(server) as halts:
        await reads(server, 2)
        assert halts == []
        server.limit = limit
        await halts.come()
    assert [type(error) for error in halts] == [ValveClosed], "it says so once"
    assert server.made == 0


@pytest.mark.parametrize("status", [401, 500, 503])
async def test_a_server_that_never_answers_starts_no_run(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(TagtrailError, match=f"does not answer about its limit {KILL_SWITCH}.*{status}"):
        async with watched(server):
            raise AssertionError("it was not read once")


async def test_a_server_that_stops_answering_halts_the_run_after_a_while(server: Server) -> None:
    async with watched(server) as halts:
        server.status = 503
        await halts.come()
    [error] = halts
    assert not isinstance(error, ValveClosed)
    assert "does not answer" in str(error)


async def test_a_server_that_is_away_for_a_moment_stops_nobody(server: Server) -> None:
    async with watched(server, max_unread_seconds=3600.0) as halts:
        server.status = 503
        await asyncio.sleep(0.1)
        server.status = 200
        await reads(server, 2)
    assert halts == []


async def test_a_question_that_is_never_answered_is_asked_again(server: Server) -> None:
    server.silent_for = 1
    async with watched(server, answer_seconds=0.2, max_unread_seconds=3600.0) as halts:
        await reads(server, 1)
    assert halts == []


@pytest.mark.usefixtures("prefect_server")
async def test_no_slot_of_a_real_limit_is_taken() -> None:
    halts = Halts()
    async with watch_kill_switch(halts, look_seconds=0.05), get_client() as client:
        limit = await client.read_global_concurrency_limit_by_name(KILL_SWITCH)
        assert (limit.limit, limit.active_slots) == (100, 0)
        await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, 0)
        try:
            await halts.come()
        finally:
            await client.upsert_global_concurrency_limit_by_name(KILL_SWITCH, 100)
    assert isinstance(halts[0], ValveClosed)
