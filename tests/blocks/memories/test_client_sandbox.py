"""The client against the sandbox: whole imports, and the outcome of every call in each kind of weather."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.memories.client import MemoriesClient
from blocks.memories.errors import BadKey, TagtrailError, TooManyRequests
from blocks.memories.identity import parse_post_url
from deployments.sandbox.server import SandboxServer

POSTS = 10


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(limits=False) as running:
        yield running


def client_of(
    sandbox: SandboxServer, key: str = "sk-mavi-invented-key", timeout_seconds: float = 0.4
) -> MemoriesClient:
    return MemoriesClient(
        SecretStr(key),
        v1_base_url=sandbox.v1_base_url,
        v2_base_url=sandbox.v2_base_url,
        timeout_seconds=timeout_seconds,
    )


async def outcome(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except TagtrailError as error:
        return error


def named(outcomes: list[Any]) -> dict[str, int]:
    return dict(Counter(type(one).__name__ for one in outcomes))


async def chain(sandbox: SandboxServer, timeout_seconds: float) -> tuple[str, str, dict[str, int]]:
    """One hashtag all the way: how the first submission ends, the first poll, and all metadata calls."""
    async with client_of(sandbox, timeout_seconds=timeout_seconds) as client:
        first = task_id = await outcome(client.import_hashtag("dior", POSTS))
        if isinstance(first, Exception):
            task_id = await outcome(client.import_hashtag("dior", POSTS))
        if isinstance(task_id, Exception):
            return type(first).__name__, "-", {}
        sandbox.advance(5_000)
        seen = polled = await outcome(client.import_status(task_id))
        for _ in range(2):
            if isinstance(seen, Exception):
                seen = await outcome(client.import_status(task_id))
        urls = dict.fromkeys(item.video_url for item in seen if item.video_url)
        calls = [client.metadata(parse_post_url(url), "apify", source_url=url) for url in urls]
        ends = await asyncio.gather(*(outcome(call) for call in calls))
    poll = type(polled).__name__ if isinstance(polled, Exception) else str(len(polled))
    return type(first).__name__, poll, named(ends)


ALL = {"MetadataAnswer": POSTS}


def but_two(name: str) -> dict[str, int]:
    return {"MetadataAnswer": POSTS - 2, name: 2}


@pytest.mark.parametrize(
    ("scenario", "submission", "poll", "ends"),
    [
        ("default", "str", "10", ALL),
        ("three-platforms", "str", "10", ALL),
        ("codes-as-text", "str", "10", ALL),
        ("codes-as-numbers", "str", "10", ALL),
        ("bare-codes", "str", "10", ALL),
        ("strings", "str", "10", ALL),
        ("camel-case", "str", "10", ALL),
        ("numbers", "str", "10", ALL),
        ("ids-only", "str", "10", {}),
        ("ids-as-strings", "str", "10", {}),
        ("no-url", "str", "10", {"MetadataAnswer": POSTS - 2}),
        ("duplicate-items", "str", "10", ALL),
        ("failed-items", "str", "10", ALL),
        ("unknown-status", "str", "10", ALL),
        ("never-fills", "str", "0", {}),
        ("namespace-lost", "str", "0", {}),
        ("null-media", "str", "10", ALL),
        ("null-data", "str", "10", ALL),
        ("too-many-text", "TooManyRequests", "10", but_two("TooManyRequests")),
        ("too-many-http", "TooManyRequests", "10", but_two("TooManyRequests")),
        ("network-abnormal", "Transient", "10", but_two("Transient")),
        ("busy", "Busy", "10", but_two("Busy")),
        ("busy-http", "Busy", "10", but_two("Busy")),
        ("submit-duplicate", "Duplicate", "10", ALL),
        ("no-credits", "NoCredits", "-", {}),
        ("permission-denied", "PermissionDenied", "-", {}),
        ("not-found", "str", "10", but_two("NotFound")),
        ("bad-parameters", "str", "10", but_two("BadParameters")),
        ("html-500", "str", "10", but_two("ServerFault")),
        ("html-status", "str", "ServerFault", ALL),
        ("spring-503", "ServerFault", "10", but_two("ServerFault")),
        ("spring-404", "str", "NotFound", ALL),
        ("submit-html-503", "ServerFault", "10", ALL),
        ("truncated-body", "str", "10", but_two("Unreadable")),
        ("not-json", "str", "10", but_two("Unreadable")),
        ("json-no-envelope", "str", "10", but_two("Unreadable")),
        ("empty-body", "str", "10", but_two("Unreadable")),
        ("cut-connection", "str", "10", but_two("NoAnswer")),
        ("slow-drip", "str", "10", but_two("NoAnswer")),
        ("reset", "str", "10", but_two("NoAnswer")),
        ("reset-status", "str", "NoAnswer", ALL),
        ("hang-up", "str", "10", but_two("NoAnswer")),
        ("answer-lost", "str", "10", but_two("NoAnswer")),
        ("submit-dropped", "NoAnswer", "10", ALL),
        ("submit-reset", "NoAnswer", "10", ALL),
        ("submit-slow", "NoAnswer", "10", ALL),
    ],
)
async def test_weather(scenario: str, submission: str, poll: str, ends: dict[str, int], sandbox: SandboxServer) -> None:
    sandbox.play(scenario)
    sandbox.reset()
    timeout_seconds = 0.5 if "slow" in scenario else 20
    assert await chain(sandbox, timeout_seconds) == (submission, poll, ends)


async def test_an_empty_import_that_is_refused_is_empty(sandbox: SandboxServer) -> None:
    sandbox.play("no-videos-code")
    sandbox.reset()
    async with client_of(sandbox) as client:
        task_id = await client.import_hashtag("dior", POSTS)
        assert await client.import_status(task_id) == []


@pytest.mark.parametrize(("scenario", "form"), [("tiktok-handle-only", "/@"), ("tiktok-player-only", "/player/")])
async def test_the_form_that_the_api_takes_is_found_once(scenario: str, form: str, sandbox: SandboxServer) -> None:
    sandbox.play(scenario)
    sandbox.reset()
    post = parse_post_url("https://www.tiktok.com/@some.one/video/7400000000000000123")
    player = "https://www.tiktok.com/player/v1/7400000000000000123"
    for source in (player, post.url):
        async with client_of(sandbox) as client:
            answers = [await client.metadata(post, "apify", source_url=source) for _ in range(3)]
        assert all(form in answer.url_asked for answer in answers)
        assert [answer.calls for answer in answers] == ([1, 1, 1] if form in source else [2, 1, 1])


@pytest.mark.parametrize(
    ("scenario", "least", "most"),
    [("retry-after-seconds", 1, 1), ("retry-after-date", 0, 3), ("retry-after-absurd", 300, 300)],
)
async def test_waits(scenario: str, least: float, most: float, sandbox: SandboxServer) -> None:
    sandbox.play(scenario)
    sandbox.reset()
    async with client_of(sandbox) as client:
        with pytest.raises(TooManyRequests) as caught:
            await client.import_hashtag("dior", POSTS)
    wait = caught.value.retry_after_seconds
    assert wait is not None
    assert least <= wait <= most


async def test_every_kind_of_import(sandbox: SandboxServer) -> None:
    sandbox.play("default")
    sandbox.reset()
    async with client_of(sandbox) as client:
        urls = await client.import_urls(["https://www.instagram.com/p/CAbcdEfGh12/", "instagram.com/reel/CAbcdEfGh13"])
        creator = await client.import_creator("https://www.tiktok.com/@some.one", 3)
        public = await client.import_hashtag("dior", 2, library="public")
        sandbox.advance(5_000)
        assert [len(await client.import_status(task_id)) for task_id in (urls, creator)] == [2, 3]
        # The public library has no namespaces: an import's poll that names one finds nothing.
        polls = [await client.import_status(public, namespace=name) for name in (None, "default", "spring")]
        assert [len(items) for items in polls] == [2, 2, 0]


async def test_a_key_that_is_not_accepted(sandbox: SandboxServer) -> None:
    sandbox.play("default")
    async with client_of(sandbox, key="wrong") as client:
        with pytest.raises(BadKey):
            await client.import_hashtag("dior", 1)
        with pytest.raises(BadKey):
            await client.metadata(parse_post_url("https://x.com/some/status/1234567890"), "rapid")


def test_one_client_serves_one_loop_after_another(sandbox: SandboxServer) -> None:
    sandbox.play("default")
    client = client_of(sandbox)

    async def twice() -> None:
        for _ in range(2):
            await client.import_hashtag("dior", 1)
        await client.aclose()

    for _ in range(2):
        asyncio.run(twice())
    # Not closed in its loop: its connections are lost with that loop, and the next one opens others.
    asyncio.run(client.import_hashtag("dior", 1))

    def once_more() -> None:
        asyncio.run(twice())
        gc.collect()

    with pytest.warns(ResourceWarning):
        once_more()
