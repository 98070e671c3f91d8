"""A receiver on a real port, over a database with imports, and a Prefect server that a test can take away."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.database.store import import_planning, inbox
from blocks.database.store import imports as ledger
from deployments.receiver.app import Receiver
from deployments.receiver.intake import Intake
from deployments.receiver.pace import Pace
from deployments.receiver.refusals import Refusals
from deployments.receiver.server import Address, ReceiverServer
from deployments.receiver.telling import Telling

SECRET = "q7Zk2CALLBACKmark9wXv4"
PATH = f"/hooks/{SECRET}"
TAKEN = {200, 202}
"""202: the database took longer than the answer may (see `intake.ANSWER_SECONDS`)."""


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
                conn, account="acc", kind="hashtag", hashtag="moss", wanted=wanted, wish=task_id, collection="c",
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


def asgi(store: Store, taking: type[Intake] = Intake) -> tuple[Receiver, Pace]:
    """A receiver at the path /p that no server runs, and its pace."""
    refusals, pace = Refusals(lambda _: None), Pace()
    telling = Telling(store, refusals, Server())
    made = taking(store, refusals, on_stored=lambda: None)
    return Receiver("/p", intake=made, telling=telling, refusals=refusals, pace=pace, scrub=bytes), pace


async def status(receiver: Receiver, method: str, path: bytes, body: bytes = b"") -> int:
    """The status of an answer."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await receiver({"type": "http", "method": method, "raw_path": path, "headers": []}, receive, send)
    return int(sent[0]["status"])


@pytest.fixture
def world(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("deployments.receiver.telling.FIRST_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr("deployments.receiver.telling.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("deployments.receiver.intake.LOOK_SECONDS", 0.05)
    server, lines = Server(), list[str]()
    address = Address("http://127.0.0.1/hooks", PATH)
    with ReceiverServer(address, sqlite_store, server, say=lines.append) as receiver:
        yield World(sqlite_store, server, receiver, lines, receiver.port)
    assert SECRET not in "\n".join(lines)
