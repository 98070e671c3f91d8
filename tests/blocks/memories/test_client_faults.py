"""Faults of the transport: nothing sent, no answer, or an answer that nobody can read, and never one for another."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from blocks.errors import MemoriesError, NoAnswer, NotSent, ServerFault, TagtrailError, Unreadable, UsageError
from blocks.memories.client import MemoriesClient
from blocks.posts.identity import parse_post_url

POST = parse_post_url("https://www.instagram.com/p/CAbcdEfGh12/")

Answer = Callable[..., bytes]
Make = Callable[..., MemoriesClient]


async def failure(client: MemoriesClient) -> MemoriesError:
    with pytest.raises(MemoriesError) as caught:
        await client.import_hashtag("dior", 5)
    assert caught.value.endpoint == "/scraper_tag"
    return caught.value


async def test_refused_connection(make_client: Make) -> None:
    with socket.socket() as taken:  # Bound and not listening: nobody else gets the port meanwhile.
        taken.bind(("127.0.0.1", 0))
        client = make_client(v1_base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/serve")
        error = await failure(client)
    assert type(error) is NotSent
    assert "127.0.0.1" in str(error)


async def test_no_such_host(make_client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    monkeypatch.setenv("NO_PROXY", "*")
    error = await failure(make_client(v1_base_url="https://nowhere.invalid/serve"))
    assert type(error) is NotSent
    assert "nowhere.invalid" in str(error)


async def test_a_connection_that_is_never_made(make_client: Make) -> None:
    # A full backlog takes no further connection and refuses none.
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for caller in waiting:
                caller.setblocking(False)
                caller.connect_ex(deaf.getsockname())
            client = make_client(v1_base_url=f"http://127.0.0.1:{deaf.getsockname()[1]}/serve", timeout_seconds=0.3)
            assert type(await failure(client)) is NotSent
        finally:
            for caller in waiting:
                caller.close()


async def test_a_handshake_that_fails(make_client: Make, server: Any) -> None:
    server.replies = [b"HTTP/1.1 400 no TLS here\r\n\r\n"]
    client = make_client(v1_base_url=f"https://127.0.0.1:{server.port}/serve")

    async def plain(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 this is no TLS\r\n\r\n")
        writer.close()

    server.talk = plain
    assert type(await failure(client)) is NotSent
    assert server.requests == []


async def test_no_free_connection(make_client: Make, server: Any) -> None:
    async def think(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    server.replies = [think]
    client = make_client(max_connections=1, timeout_seconds=30)
    first = asyncio.create_task(client.import_hashtag("dior", 5))
    while not server.requests:
        await asyncio.sleep(0)
    client._extensions["timeout"]["pool"] = 0.05
    assert type(await failure(client)) is NotSent
    # The first was sent and waits for its answer; the second never left.
    assert not first.done()
    assert len(server.requests) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_proxy_of_the_environment(
    make_client: Make, server: Any, ok: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("NO_PROXY", "")
    server.replies = [ok({"taskId": "x"})]
    # Another host is reached through it, this machine is not.
    await make_client(v1_base_url="http://api.invalid/serve", allow_http=True).import_hashtag("dior", 5)
    await make_client().import_hashtag("dior", 5)
    assert [request.path for request in server.requests] == [
        "http://api.invalid/serve/scraper_tag",
        "/serve/api/v1/scraper_tag",
    ]
    monkeypatch.setenv("HTTP_PROXY", "socks7://127.0.0.1:1")
    with pytest.raises(UsageError, match="HTTP_PROXY names no proxy"):
        await make_client(v1_base_url="http://api.invalid/serve", allow_http=True).import_hashtag("dior", 5)


async def reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def half_a_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"code":"0000","data":{"taskId":"x"}}')
    await writer.drain()
    writer.close()


async def half_a_chunk(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n25\r\n{"code":"0000","data":{"taskId":"x"}}\r\n'
    )
    await writer.drain()
    writer.close()


async def half_a_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
    await writer.drain()
    writer.close()


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01SSH-2.0-nonsense\r\n\r\n")
    await writer.drain()
    writer.close()


async def silence(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def drip(writer: asyncio.StreamWriter) -> None:
    # Each byte arrives in time, and the whole never does.
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("fault", [reset, hang_up, half_a_body, half_a_chunk, half_a_head, garbage, silence, drip])
@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
async def test_sent_and_no_whole_answer(
    fault: Callable[[asyncio.StreamWriter], Awaitable[None]], kept: bool, make_client: Make, server: Any, ok: Answer
) -> None:
    client = make_client(timeout_seconds=60)
    server.replies = [fault, ok({"taskId": "next"})]
    if kept:
        server.replies.insert(0, ok({"taskId": "first"}))
        await client.import_hashtag("dior", 5)
    if fault in (silence, drip):
        client._timeout_seconds = 0.5
    assert type(await failure(client)) is NoAnswer
    client._timeout_seconds = 60
    # The client itself is none the worse for it, and sent nothing twice.
    assert await client.import_hashtag("dior", 5) == "next"
    assert len(server.requests) == 2 + kept


async def test_a_connection_that_the_server_closed_while_idle_is_not_used(
    client: MemoriesClient, server: Any, ok: Answer
) -> None:
    async def answer_and_close(writer: asyncio.StreamWriter) -> None:
        writer.write(ok({"n": 1}))
        await writer.drain()
        writer.close()

    server.replies = [answer_and_close]
    for _ in range(3):
        assert (await client.metadata(POST, "apify")).data == {"n": 1}
        await asyncio.sleep(0.02)
    assert server.connections == 3


async def test_the_deadline_is_named(make_client: Make, server: Any, ok: Answer) -> None:
    server.replies = [ok({"taskId": "first"}), silence]
    client = make_client(timeout_seconds=60)
    await client.import_hashtag("dior", 5)  # so that a connection is there
    client._timeout_seconds = 0.1
    error = await failure(client)
    assert str(error) == 'no answer from the API at /scraper_tag: "no whole answer within 0.1 s"'


async def test_a_cancelled_call_is_cancelled_and_gives_its_connection_back(
    make_client: Make, server: Any, ok: Answer
) -> None:
    sent = asyncio.Event()

    async def think(_: asyncio.StreamWriter) -> None:
        sent.set()
        await asyncio.sleep(3600)

    server.replies = [think, ok({"taskId": "next"})]
    client = make_client(max_connections=1)
    call = asyncio.create_task(client.import_hashtag("dior", 5))
    await sent.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await client.import_hashtag("dior", 5) == "next"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_fallen_servers(status: int, client: MemoriesClient, server: Any, answer: Answer) -> None:
    for body in ("<html><h1>Bad gateway</h1></html>", ""):
        server.replies = [answer(body, status)]
        error = await failure(client)
        assert type(error) is ServerFault
        assert error.http_status == status


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code":"0000","data":{"task', b"\xff\xfe", b"[]", b"{}"])
async def test_unreadable_answers(body: bytes, client: MemoriesClient, server: Any, answer: Answer) -> None:
    server.replies = [answer(body)]
    error = await failure(client)
    assert isinstance(error, Unreadable)
    assert error.body == body


async def test_an_endless_body_is_not_read_to_its_end(make_client: Any, server: Any) -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900000000\r\n\r\n")
        while True:
            writer.write(b"x" * 50_000)
            await writer.drain()

    server.replies = [pour]
    error = await failure(make_client(max_body_bytes=100_000))
    assert isinstance(error, Unreadable)
    assert len(error.body) == 100_000


# What httpx can raise, and what it means for a submission. Only what comes before the first byte counts as not sent.
NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}


def transport_errors(cls: type[httpx.HTTPError]) -> list[type[httpx.HTTPError]]:
    # Prefect adds one of its own, where it has been imported.
    own = [child for child in cls.__subclasses__() if child.__module__ == "httpx"]
    below = [found for child in own for found in transport_errors(child)]
    return [cls, *below]


@pytest.mark.parametrize("cls", [*transport_errors(httpx.HTTPError), OSError, TimeoutError])
async def test_every_error_of_httpx_has_its_meaning(cls: type[Exception], make_client: Make) -> None:
    class Failing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if cls is httpx.HTTPStatusError:
                raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(500))
            raise cls("no")

    client = make_client(transport=Failing())
    expected = NotSent if cls.__name__ in NOT_SENT else NoAnswer
    with pytest.raises(TagtrailError) as caught:
        await client.metadata(POST, "apify")
    assert type(caught.value) is expected
