"""Bytes that an honest server would not send: answers to nobody, and bodies that grow when they are unpacked."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from blocks.errors import Unreadable
from blocks.memories.client import MemoriesClient
from blocks.memories.decoding import BadCoding, decoded
from blocks.posts.identity import parse_post_url

Answer = Callable[..., bytes]

POST = parse_post_url("https://www.instagram.com/p/CAbcdEfGh12/")


async def test_a_second_answer_behind_the_first_answers_nobody(client: MemoriesClient, server: Any, ok: Answer) -> None:
    server.replies = [ok({"taskId": "one"}) + ok({"taskId": "foreign"}), ok({"taskId": "two"})]
    assert await client.import_hashtag("dior", 5) == "one"
    assert await client.import_hashtag("lvmh", 5) == "two"
    assert len(server.requests) == 2, "each hashtag is submitted once"

    foreign = [{"video_no": "VI9", "video_url": "https://www.tiktok.com/player/v1/7400000000000000999"}]
    server.replies = [ok({"videos": []}) + ok({"videos": foreign}), ok({"videos": ["VI1"]})]
    assert await client.import_status("one") == []
    assert [item.video_no for item in await client.import_status("two")] == ["VI1"]

    server.replies = [ok({"n": 1}) + ok({"taskId": "foreign"}), ok({"taskId": "three"})]
    assert (await client.metadata(POST, "apify")).data == {"n": 1}
    assert await client.import_hashtag("celine", 5) == "three", "nor does what a metadata call left behind"


async def test_submissions_and_polls_have_a_connection_each(client: MemoriesClient, server: Any, ok: Answer) -> None:
    server.replies = [ok({"taskId": "one"})]
    for _ in range(3):
        await client.import_hashtag("dior", 5)
    assert server.connections == 3
    server.replies = [ok({"videos": []})]
    for _ in range(3):
        await client.import_status("one")
    assert server.connections == 6
    assert {request.headers["connection"] for request in server.requests} == {"close"}


def packed(size: int, coding: str) -> bytes:
    body = b"0" * size
    return gzip.compress(body) if coding == "gzip" else zlib.compress(body)


async def in_chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("chunk", [1_000, 1_000_000])
async def test_a_bomb_is_unpacked_no_further_than_is_wanted(coding: str, chunk: int) -> None:
    bomb = packed(30_000_000, coding)
    tracemalloc.start()
    try:
        body = await decoded(in_chunks(bomb, chunk), coding, 1_000_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) == 1_000_001
    assert most < 8_000_000, most


@pytest.mark.parametrize("size", [0, 1, 999, 1_000, 1_001])
async def test_a_body_up_to_the_bound_is_whole(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    for coding, sent in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), (None, body)):
        assert await decoded(in_chunks(sent, 7), coding, 1_001) == body


async def test_a_bomb_is_an_answer_that_cannot_be_read(make_client: Any, server: Any, answer: Answer) -> None:
    client = make_client(max_body_bytes=100_000)
    server.replies = [answer(packed(50_000_000, "gzip"), 200, {"Content-Encoding": "gzip"})]
    with pytest.raises(Unreadable, match="larger"):
        await client.import_hashtag("dior", 5)
    twice = gzip.compress(gzip.compress(json.dumps({"code": "0000", "data": {"taskId": "x"}}).encode()))
    server.replies = [answer(twice, 200, {"Content-Encoding": "gzip, gzip"})]
    with pytest.raises(Unreadable, match="twice"):
        await client.import_hashtag("dior", 5)


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,deflate", "br", "zstd", "identity, gzip"])
async def test_one_coding_that_was_asked_for_at_most(coding: str) -> None:
    with pytest.raises(BadCoding):
        await decoded(in_chunks(b"x", 1), coding, 10)


async def test_the_head_is_bounded(client: MemoriesClient, server: Any) -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 1000))
            await writer.drain()

    server.replies = [pour]
    tracemalloc.start()
    try:
        with pytest.raises(Exception, match="no answer"):
            await client.import_hashtag("dior", 5)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000
