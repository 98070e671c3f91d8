"""A server that answers bytes as a test wants them, and clients of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.memories.client import MemoriesClient

KEY = "sk-mavi-invented-key-0123456789"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> Any:
        return json.loads(self.body)


Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def http(
    body: bytes | str | dict[str, Any] | list[Any], status: int = 200, headers: dict[str, str] | None = None
) -> bytes:
    """A whole HTTP answer; a dict or list is sent as JSON."""
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Server:
    """Answers the requests with `replies` in turn, the last one for ever; keeps what it was asked."""

    replies: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/serve/api/v1"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split()
                self.requests.append(Request(method, path, headers, body))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if isinstance(reply, bytes):
                    writer.write(reply)
                    await writer.drain()
                else:
                    await reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    answering = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await answering.talk(reader, writer)

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    answering.port = listening.sockets[0].getsockname()[1]
    yield answering
    listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await listening.wait_closed()


@pytest.fixture
async def make_client(server: Server) -> AsyncIterator[Callable[..., MemoriesClient]]:
    """Makes clients of the server, which are closed at the end."""
    made: list[MemoriesClient] = []

    def make(**given: Any) -> MemoriesClient:
        given = {"v1_base_url": server.base_url, "v2_base_url": server.base_url.replace("v1", "v2")} | given
        made.append(MemoriesClient(SecretStr(KEY), **given))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: Callable[..., MemoriesClient]) -> MemoriesClient:
    return make_client(timeout_seconds=5)


@pytest.fixture
def answer() -> Callable[..., bytes]:
    """`answer(body, status, headers)`: a whole HTTP answer."""
    return http


@pytest.fixture
def ok() -> Callable[[Any], bytes]:
    """`ok(data)`: a success envelope as an HTTP answer."""
    return lambda data: http({"code": "0000", "msg": "success", "data": data, "success": True, "failed": False})


@pytest.fixture
def key() -> str:
    return KEY
