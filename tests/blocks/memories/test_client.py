"""The client over real sockets: what it sends, what it makes of answers, and where the key does not go."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gzip
import hashlib
import logging
import pickle
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.errors import (
    BadKey,
    BadParameters,
    MemoriesError,
    NoAnswer,
    NoCredits,
    NotFound,
    TooManyRequests,
    Transient,
    Unreadable,
    UsageError,
)
from blocks.memories.client import ImportItemSeen, MemoriesClient
from blocks.posts.identity import parse_post_url
from blocks.posts.record import Channel
from tests.cases import each_case

INSTAGRAM = parse_post_url("https://www.instagram.com/p/CAbcdEfGh12/")
PLAYER = "https://www.tiktok.com/player/v1/7400000000000000123"
NOBODY = "https://www.tiktok.com/@_/video/7400000000000000123"
YOUTUBE = "https://www.youtube.com/watch?v=abcdefghi12"
HANDLE = "https://www.tiktok.com/@some.one/video/7400000000000000123"
TIKTOK = parse_post_url(HANDLE)
TASK = {"taskId": "0b7c-task"}

Answer = Callable[..., bytes]


async def test_a_hashtag_import_as_it_is_sent(client: MemoriesClient, server: Any, ok: Answer, key: str) -> None:
    server.replies = [ok(TASK)]
    assert (
        await client.import_hashtag("#LVMH", 25, namespace="spring", callback_url="https://me.example/x") == "0b7c-task"
    )
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/serve/api/v1/scraper_tag")
    assert request.fields == {
        "hash_tags": ["LVMH"],
        "scraper_cnt": 25,
        "unique_id": "spring",
        "callback": "https://me.example/x",
    }
    assert request.headers["authorization"] == key
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"


async def test_the_other_imports_as_they_are_sent(client: MemoriesClient, server: Any, ok: Answer) -> None:
    server.replies = [ok(TASK)]
    await client.import_urls([INSTAGRAM.url], namespace="spring")
    await client.import_creator("https://www.tiktok.com/@some.one", 3)
    await client.import_hashtag("été", 1, library="public")
    assert [(request.path.removeprefix("/serve/api/v1"), request.fields) for request in server.requests] == [
        ("/scraper_url", {"video_urls": [INSTAGRAM.url], "unique_id": "spring"}),
        ("/scraper", {"username": "https://www.tiktok.com/@some.one", "scraper_cnt": 3, "unique_id": "default"}),
        ("/scraper_tag_public", {"hash_tags": ["été"], "scraper_cnt": 1}),
    ]


async def test_wrong_input_is_not_sent(client: MemoriesClient, server: Any) -> None:
    for wrong in (
        client.import_hashtag("two words", 5),
        client.import_hashtag("dior", 0),
        client.import_hashtag("dior", 2, unique_id="my-project"),  # type: ignore[call-arg]
        client.import_urls([INSTAGRAM.url], callback="https://me.example/x"),  # type: ignore[call-arg]
        client.import_creator("https://www.tiktok.com/@some.one", 2, scraper_cnt=2),  # type: ignore[call-arg]
        client.import_urls(None),  # type: ignore[arg-type]
        client.import_status(None),  # type: ignore[arg-type]
        client.import_urls([INSTAGRAM.url, HANDLE]),
        client.import_creator("https://www.tiktok.com/", 5),
        client.import_status(""),
        client.metadata(INSTAGRAM, "auto"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError):
            await wrong
    assert server.connections == 0


async def test_an_import_accepted_without_a_task_id_is_in_doubt(
    client: MemoriesClient, server: Any, ok: Answer
) -> None:
    server.replies = [ok({})]
    with pytest.raises(Unreadable, match="without a task id") as caught:
        await client.import_hashtag("dior", 5)
    assert caught.value.endpoint == "/scraper_tag"
    assert b'"0000"' in caught.value.body


async def test_status(client: MemoriesClient, server: Any, ok: Answer, answer: Answer) -> None:
    server.replies = [
        ok({"videos": [{"video_no": "VI1", "video_url": PLAYER, "status": "UNPARSE"}]}),
        answer({"code": "0001", "msg": "no videos found", "data": None, "success": False, "failed": True}),
        ok({"videos": "VI1"}),
        answer({"code": "0001", "msg": "network abnormal", "failed": True}),
    ]
    assert await client.import_status("t/1", namespace="spring") == [ImportItemSeen("VI1", PLAYER, "UNPARSE", None)]
    (request,) = server.requests
    assert (request.method, request.body) == ("GET", b"")
    assert request.path == "/serve/api/v1/get_video_ids_by_task_id?task_id=t%2F1&unique_id=spring"
    assert await client.import_status("t") == []
    with pytest.raises(Unreadable):
        await client.import_status("t")
    with pytest.raises(Transient):
        await client.import_status("t")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://www.instagram.com/p/CAbcdEfGh12/", "/instagram/video/metadata"),
        ("https://www.youtube.com/watch?v=abcdefghi12", "/youtube/video/metadata"),
        ("https://x.com/i/status/1234567890", "/twitter/video/metadata"),
        (HANDLE, "/tiktok/video/metadata"),
    ],
)
async def test_metadata(url: str, path: str, client: MemoriesClient, server: Any, ok: Answer) -> None:
    server.replies = [ok([{"id": 9007199254740993, "plays": 0}])]
    got = await client.metadata(parse_post_url(url), "rapid")
    assert got.data == [{"id": 9007199254740993, "plays": 0}]
    assert (got.url_asked, got.channel, got.calls) == (url, "rapid", 1)
    assert got.body == server.replies[0].partition(b"\r\n\r\n")[2]
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/serve/api/v2" + path)
    assert request.fields == {"video_url": url, "channel": "rapid"}


async def test_tiktok_is_asked_in_the_other_form_where_the_first_is_refused(
    client: MemoriesClient, server: Any, ok: Answer, answer: Answer
) -> None:
    server.replies = [answer({"code": 400, "msg": "Asset not found", "data": None}, 400), ok({"n": 1})]
    got = await client.metadata(TIKTOK, "apify", source_url=PLAYER)
    assert (got.url_asked, got.calls, got.data) == (HANDLE, 2, {"n": 1})
    # What helped comes first from now on, on this channel; another one has to be learned by itself.
    await client.metadata(TIKTOK, "apify", source_url=PLAYER)
    await client.metadata(TIKTOK, "rapid", source_url=PLAYER)
    asked = [(request.fields["channel"], request.fields["video_url"]) for request in server.requests]
    assert asked == [("apify", PLAYER), ("apify", HANDLE), ("apify", HANDLE), ("rapid", PLAYER)]


@pytest.mark.parametrize(
    ("url", "forms"),
    [
        (PLAYER, [PLAYER, NOBODY]),
        (INSTAGRAM.url, [INSTAGRAM.url, "https://www.instagram.com/reel/CAbcdEfGh12/"]),
    ],
)
async def test_the_last_resort_is_tried_after_a_refusal_and_no_more_once_a_form_was_served(
    url: str, forms: list[str], client: MemoriesClient, server: Any, ok: Answer, answer: Answer
) -> None:
    refused, first = answer({"code": "0001", "msg": "video not found"}), parse_post_url(url)

    async def asked(channel: Channel) -> list[str]:
        before = len(server.requests)
        with contextlib.suppress(NotFound):
            await client.metadata(first, channel, source_url=url)
        return [request.fields["video_url"] for request in server.requests[before:]]

    server.replies = [refused]
    assert await asked("apify") == forms, "nothing is known of either form yet"
    server.replies = [refused, ok({"n": 1})]
    assert await asked("apify") == forms
    server.replies = [refused]
    assert await asked("apify") == forms[1:], "an ordinary refusal: the form was served before"
    server.replies = [ok({"n": 1}), refused]
    assert [await asked("rapid"), await asked("rapid")] == [forms[:1], forms[:1]]


async def test_a_second_call_is_announced_and_counted_when_it_fails_too(
    client: MemoriesClient, server: Any, answer: Answer
) -> None:
    announced = []

    async def announce() -> None:
        announced.append(len(server.requests))

    server.replies = [answer({"code": "0001", "msg": "bad"}), answer({"code": "0429", "msg": "slow"})]
    with pytest.raises(TooManyRequests) as caught:
        await client.metadata(TIKTOK, "apify", before_second_call=announce)
    assert caught.value.calls == 2
    assert announced == [1]

    async def refuse() -> None:
        raise UsageError("no money")

    server.replies = [answer({"code": "0001", "msg": "bad"})]
    with pytest.raises(UsageError, match="no money"):
        await client.metadata(TIKTOK, "apify", before_second_call=refuse)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("url", "envelope", "expected"),
    [
        (HANDLE, {"code": "0402", "msg": "credits"}, NoCredits),
        (HANDLE, {"code": "0001", "msg": "network abnormal"}, Transient),
        (INSTAGRAM.url, {"code": "0001", "msg": "network abnormal"}, Transient),
        (YOUTUBE, {"code": "0001", "msg": "not found"}, NotFound),
        (YOUTUBE, {"code": "0001", "msg": "bad"}, BadParameters),
    ],
)
async def test_nothing_else_is_asked_twice(
    url: str, envelope: Any, expected: type[MemoriesError], client: MemoriesClient, server: Any, answer: Answer
) -> None:
    server.replies = [answer(envelope)]
    with pytest.raises(expected) as caught:
        await client.metadata(parse_post_url(url), "apify")
    assert len(server.requests) == caught.value.calls == 1


async def test_too_many_requests_in_both_forms(client: MemoriesClient, server: Any, answer: Answer) -> None:
    server.replies = [
        answer({"code": "0429", "msg": "Request has exceeded the limit."}, 200, {"Retry-After": "7"}),
        answer({"code": 429, "msg": "Rate limit exceeded", "data": None}, 429, {"retry-after": "99999"}),
        answer("<html>slow down</html>", 429),
    ]
    waits = []
    for _ in range(3):
        with pytest.raises(TooManyRequests) as caught:
            await client.metadata(INSTAGRAM, "apify")
        waits.append(caught.value.retry_after_seconds)
    assert waits == [7, 99999, None]


async def test_redirects_are_not_followed(client: MemoriesClient, server: Any, answer: Answer) -> None:
    for location in (f"http://127.0.0.1:{server.port}/elsewhere", "//", ""):
        server.replies = [answer("", 307, {"Location": location})]
        with pytest.raises(Unreadable, match="redirect"):
            await client.import_hashtag("dior", 5)
    assert {request.path for request in server.requests} == {"/serve/api/v1/scraper_tag"}


async def test_cookies_are_not_sent_back(client: MemoriesClient, server: Any, answer: Answer) -> None:
    server.replies = [answer({"code": "0000", "data": TASK}, 200, {"Set-Cookie": "session=1; Path=/"})]
    await client.import_hashtag("dior", 5)
    await client.import_hashtag("dior", 5)
    assert "cookie" not in server.requests[1].headers


async def test_connections_are_kept_and_as_many_as_needed(client: MemoriesClient, server: Any, ok: Answer) -> None:
    server.replies = [ok({})]
    for _ in range(20):
        await client.metadata(INSTAGRAM, "apify")
    assert server.connections == 1
    for _ in range(3):
        await asyncio.gather(*(client.metadata(INSTAGRAM, "apify") for _ in range(10)))
    assert server.connections <= 10
    assert len(server.requests) == 50


async def test_more_calls_than_connections_wait_their_turn(
    make_client: Callable[..., MemoriesClient], server: Any, ok: Answer
) -> None:
    server.replies = [ok({})]
    client = make_client(max_connections=3)
    await asyncio.gather(*(client.metadata(INSTAGRAM, "apify") for _ in range(30)))
    assert server.connections <= 3


async def test_a_closed_client_opens_again(client: MemoriesClient, server: Any, ok: Answer) -> None:
    server.replies = [ok({})]
    async with client as same:
        assert same is client
        await client.metadata(INSTAGRAM, "apify")
    await client.metadata(INSTAGRAM, "apify")
    assert server.connections == 2
    await client.aclose()
    await client.aclose()


async def test_compressed_answers(client: MemoriesClient, server: Any, answer: Answer) -> None:
    plain = b'{"code":"0000","data":{"n":1}}'
    packed, deflated = gzip.compress(plain), zlib.compress(plain)
    codings = {"gzip": packed, "x-gzip": packed, "deflate": deflated, "Deflate": deflated[2:-4], "identity": plain}
    for coding, body in codings.items():
        server.replies = [answer(body, 200, {"Content-Encoding": coding})]
        assert (await client.metadata(INSTAGRAM, "apify")).data == {"n": 1}
    assert server.requests[-1].headers["accept-encoding"] == "gzip, deflate"
    for coding, body in {
        "gzip": b"no",
        "gzip, gzip": gzip.compress(packed),
        "gzip,deflate": packed,
        "br": b"x",
    }.items():
        server.replies = [answer(body, 200, {"Content-Encoding": coding})]
        with pytest.raises(Unreadable, match="compress"):
            await client.metadata(INSTAGRAM, "apify")


async def test_the_key_shows_nowhere(
    client: MemoriesClient, server: Any, answer: Answer, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        answer({"code": "0401", "msg": f"Invalid key {key}"}, 401),
        answer(f"<html>{key}</html>"),
        answer({"code": "0000", "data": {"echo": key}}),
    ]
    errors: list[BaseException] = []
    for reply in answers:
        server.replies = [reply]
        try:
            got = await client.metadata(INSTAGRAM, "apify")
        except MemoriesError as error:
            errors.append(error)
    assert [type(error) for error in errors] == [BadKey, Unreadable]
    assert got.data == {"echo": "[key]"}
    # Faults of the transport too, whose httpx exceptions hold the request.
    server.replies = [b"garbage\r\n\r\n"]
    with pytest.raises(NoAnswer) as caught:
        await client.import_hashtag("dior", 5)
    errors.append(caught.value)

    shown = [repr(client), str(vars(client)), str(got), caplog.text]
    shown += [str(vars(record)) for record in caplog.records]
    for error in errors:
        assert error.__context__ is None
        assert error.__cause__ is None
        shown += [repr(error), str(error), str(error.args), str(vars(error)), str(pickle.dumps(error))]
    assert caplog.records
    assert not [text for text in shown if key in text]
    assert client.account == hashlib.sha256(key.encode()).hexdigest()[:16]


def test_a_client_does_not_travel(client: MemoriesClient) -> None:
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="goes nowhere"):
            travel(client)


@each_case("key", ["", "Bearer sk-x", "sk x", "sk\n"])
def test_an_unusable_key_is_refused_at_once(key: str) -> None:
    with pytest.raises(UsageError, match="MEMORIES_API_KEY"):
        MemoriesClient(SecretStr(key), v1_base_url="http://127.0.0.1/a", v2_base_url="http://127.0.0.1/b")
