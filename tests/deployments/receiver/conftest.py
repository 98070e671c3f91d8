"""A receiver on a real port, over a database with imports, and a Prefect server that a test can take away."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from blocks.database.engine import Store
from blocks.database.store import import_planning, inbox
from blocks.database.store import imports as ledger
from deployments.receiver.app import Receiver
from deployments.receiver.inbox_writer import InboxWriter
from deployments.receiver.limits import Limits, ThrottledLog
from deployments.receiver.outbox_relay import OutboxRelay
from deployments.receiver.server import Address
from tests.receiver_server import ReceiverServer

SECRET = "q7Zk2CALLBACKmark9wXv4"
PATH = f"/hooks/{SECRET}"
TAKEN = {200, 202}
"""202: the database took longer than the answer may (see `Limits.answer_seconds`)."""


QUICK = Limits(look_seconds=0.05, pause_seconds=0.0, backoff_seconds=(0.05, 30.0), pause_of_refusals_seconds=0.0)
"""As in production, without the pauses."""


class Away(Exception):
    """Nobody answers."""


class Server:
    """Stands for the Prefect server."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.away = False

    async def send(self, events: Sequence[dict[str, Any]]) -> None:
        if self.away:
            raise Away
        self.events += events

    async def close(self) -> None:
        pass


@dataclass
class Post:
    """The ends of one request; `seconds` is how long the answer took."""

    status: int
    head: str
    body: str
    seconds: float


@dataclass
class World:
    """Posts callbacks to the receiver under test."""

    store: Store
    server: Server
    receiver: ReceiverServer
    lines: list[str] = field(default_factory=list)
    port: int = 0

    def submitted(self, task_id: str, *, requested: int = 5) -> str:
        """An import of that task in the ledger; its id."""
        wanted = {"hashtag": "moss"}
        with self.store.begin() as conn:
            ticket = import_planning.plan_import(
                conn, account="acc", kind="hashtag", hashtag="moss", wanted=wanted, dedup_key=task_id, collection="c",
                namespace="c", library="private", requested=requested, run_id="r", owner="o", reuse_after=None,
                fresh=False,
            )  # fmt: skip
            assert ledger.mark_sending(conn, ticket.import_id, owner="o")
            assert ledger.mark_submitted(conn, ticket.import_id, task_id, owner="o")
            ledger.release_import(conn, ticket.import_id, owner="o")
        return ticket.import_id

    def send(self, raw: bytes) -> Post:
        """One request as it is, and its answer, up to the end of the connection."""
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port), 120) as connection:
            connection.sendall(raw)
            answer = b""
            # A connection that is closed upon unread bytes is reset: no more of an answer than what has come.
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65_536):
                    answer += part
        head, _, body = answer.decode().partition("\r\n\r\n")
        status = int(head.split()[1]) if head else 0
        return Post(status, head, body, time.perf_counter() - began)

    def post(self, body: Any, *, path: str = PATH, method: str = "POST") -> Post:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        return self.send(head.encode() + content)

    def inbox(self) -> list[Any]:
        with self.store.connect() as conn:
            return list(conn.execute(inbox.inbox.select().order_by(inbox.inbox.c.received_at)))

    def told(self) -> list[dict[str, Any]]:
        """The events of callbacks, one each; without the word that nobody follows an import."""
        return [event for event in self.server.events if event["event"] != "tagtrail.import.unattended"]

    def named(self) -> list[str]:
        """The names of all events that the server took."""
        return [event["event"] for event in self.server.events]


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def unserved(
    store: Store,
    writer: type[InboxWriter] = InboxWriter,
    limits: Limits = QUICK,
    clock: Callable[[], float] = time.monotonic,
) -> Receiver:
    """A receiver at the path /p that no server runs."""
    log = ThrottledLog(lambda _: None)
    relay = OutboxRelay(store, log, Server(), limits)
    made = writer(store, log, on_stored=lambda: None, limits=limits)
    return Receiver("/p", writer=made, relay=relay, log=log, redact=bytes, limits=limits, clock=clock)


async def status(receiver: Receiver, method: str, path: str, body: bytes = b"") -> int:
    """The status of an answer."""
    transport = httpx.ASGITransport(receiver.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
        return (await client.request(method, path, content=body)).status_code


@pytest.fixture
def worlds(sqlite_store: Store) -> Iterator[Callable[[Limits], World]]:
    """Starts a receiver with these limits, over the test's database."""
    lines: list[str] = []
    with contextlib.ExitStack() as running:

        def start(limits: Limits) -> World:
            server = Server()
            address = Address("http://127.0.0.1/hooks", PATH)
            receiver = ReceiverServer(address, sqlite_store, server, say=lines.append, limits=limits)
            running.enter_context(receiver)
            return World(sqlite_store, server, receiver, lines, receiver.port)

        yield start
    assert SECRET not in "\n".join(lines)


@pytest.fixture
def world(worlds: Callable[[Limits], World]) -> World:
    return worlds(QUICK)
