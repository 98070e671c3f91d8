"""What nobody thought of: a part that ends ends the receiver, and a full disk does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from blocks.completion import Callback
from blocks.database.engine import Store
from blocks.errors import StoreError
from deployments.receiver.inbox_writer import InboxWriter, Verdict
from deployments.receiver.limits import LINE_SECONDS, ThrottledLog
from deployments.receiver.outbox_relay import OutboxRelay
from deployments.receiver.server import Address
from tests.receiver_server import ReceiverServer

from .conftest import PATH, QUICK, Server, status, unserved, until


class Faulty(InboxWriter):
    """Meets what nobody thought of."""

    async def run(self) -> None:
        raise OSError(28, "No space left on device")


async def test_a_part_that_ends_is_seen_at_health_and_ends_the_receiver(sqlite_store: Store) -> None:
    receiver = unserved(sqlite_store, Faulty)
    ended = asyncio.Event()
    receiver.on_end = ended.set
    answered: list[Any] = []
    orders = [{"type": "lifespan.startup"}]
    stop = asyncio.Event()

    async def receive() -> Any:
        if orders:
            return orders.pop()
        await stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        answered.append(message["type"])

    assert await status(receiver, "GET", "/health") == 200
    running = asyncio.create_task(receiver.app({"type": "lifespan"}, receive, send))
    await asyncio.wait_for(ended.wait(), 60)
    assert await status(receiver, "GET", "/health") == 503
    assert await status(receiver, "POST", "/p", b'{"taskId": "t", "status": "SUCCEEDED"}') == 503
    stop.set()
    await running
    assert answered == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.integration
def test_a_receiver_that_cannot_go_on_ends_and_says_why(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.receiver.server.InboxWriter", Faulty)
    with ReceiverServer(Address("", PATH), sqlite_store, Server(), say=lambda _: None) as receiver:
        until(lambda: receiver.fault is not None)
    assert "the receiver could not go on: OSError: [Errno 28]" in str(receiver.fault)
    assert "(test_faults.py, line " in str(receiver.fault)


async def test_neither_the_database_nor_a_log_on_a_full_disk_ends_the_intake(
    sqlite_store: Store,
) -> None:
    told: list[str] = []
    full = [True]

    def say(line: str) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        told.append(line)

    class Full:
        """A store on the same disk."""

        async def read(self, *arguments: Any, **more: Any) -> Any:
            if full[0]:
                raise StoreError("database or disk is full")
            return await sqlite_store.read(*arguments, **more)

    now = [0.0]
    log = ThrottledLog(say, clock=lambda: now[0])
    writer = InboxWriter(Full(), log, on_stored=lambda: None, limits=QUICK)  # type: ignore[arg-type]
    running = asyncio.create_task(writer.run())
    assert await writer.put(Callback("e1", "t1", "SUCCEEDED")) is Verdict.HELD
    assert not running.done()
    full[0], now[0] = False, LINE_SECONDS
    async with asyncio.timeout(60):
        while await writer.put(Callback("e1", "t1", "SUCCEEDED")) is not Verdict.UNKNOWN:
            await asyncio.sleep(0.01)
    log.flush()
    assert len(told) == 1
    assert "callbacks wait for the database" in told[0]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.parametrize("which", ["writer", "relay"])
async def test_a_stop_is_heard_also_at_the_moment_at_which_something_comes(
    sqlite_store: Store, which: str, ticks: int
) -> None:
    log = ThrottledLog(lambda _: None)
    limits = replace(QUICK, look_seconds=60.0, idle_seconds=60.0)
    relay = OutboxRelay(sqlite_store, log, Server(), limits)
    writer = InboxWriter(sqlite_store, log, on_stored=relay.wake, limits=limits)
    running = asyncio.create_task(relay.run() if which == "relay" else writer.run())
    await asyncio.sleep(0.1)
    relay.wake()
    putting = asyncio.create_task(writer.put(Callback("e1", "t1", "SUCCEEDED")))
    for _ in range(ticks):
        await asyncio.sleep(0)
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=20)
    for task in (running, putting):
        task.cancel()
    await asyncio.gather(running, putting, return_exceptions=True)
    assert ended
