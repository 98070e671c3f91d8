"""The client against the sandbox: whole imports, and the outcome of every call in each kind of weather."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.errors import BadKey, MemoriesError, TagtrailError, TooManyRequests
from blocks.memories.client import MemoriesClient
from blocks.posts.identity import parse_post_url
from deployments.sandbox.server import SandboxServer

pytestmark = pytest.mark.integration

POSTS = 10
STRUCK = (4, 9)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(limits=False) as running:
        yield running


def client_of(sandbox: SandboxServer, key: str = "sk-mavi-invented-key", timeout_seconds: float = 60) -> MemoriesClient:
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


async def chain(sandbox: SandboxServer, scenario: str) -> tuple[str, str, dict[str, int]]:
    """One hashtag all the way: how the first submission ends, the first poll, and all metadata calls.

    Only answers that never come are waited for but shortly: a busy machine may take longer than that for the others.
    """
    async with client_of(sandbox) as client, client_of(sandbox, timeout_seconds=0.5) as impatient:
        submitting = impatient if scenario == "submit-slow" else client
        first = task_id = await outcome(submitting.import_hashtag("dior", POSTS))
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
        calls = [
            (impatient if scenario == "slow-drip" and place in STRUCK else client).metadata(
                parse_post_url(url), "apify", source_url=url
            )
            for place, url in enumerate(urls)
        ]
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
        ("submit-unclear", "Transient", "10", ALL),
        ("submit-reset", "NoAnswer", "10", ALL),
        ("submit-slow", "NoAnswer", "10", ALL),
    ],
)
async def test_weather(scenario: str, submission: str, poll: str, ends: dict[str, int], sandbox: SandboxServer) -> None:
    sandbox.play(scenario)
    sandbox.reset()
    assert await chain(sandbox, scenario) == (submission, poll, ends)


async def test_an_empty_import_that_is_refused_is_empty(sandbox: SandboxServer) -> None:
    sandbox.play("no-videos-code")
    sandbox.reset()
    async with client_of(sandbox) as client:
        task_id = await client.import_hashtag("dior", POSTS)
        assert await client.import_status(task_id) == []


AUTHOR, PLAYER, NOBODY = "/@some.one/", "/player/", "/@_/"
URLS = {
    AUTHOR: "https://www.tiktok.com/@some.one/video/7400000000000000123",
    PLAYER: "https://www.tiktok.com/player/v1/7400000000000000123",
    **{kind: f"https://www.instagram.com{kind}CAbcdEfGh12/" for kind in ("/p/", "/reel/", "/reels/")},
}


@pytest.mark.parametrize(
    ("scenario", "known_by", "source", "form", "calls"),
    [
        ("tiktok-handle-only", AUTHOR, AUTHOR, AUTHOR, [1, 1, 1]),
        ("tiktok-handle-only", AUTHOR, PLAYER, AUTHOR, [2, 1, 1]),
        ("tiktok-handle-only", PLAYER, PLAYER, NOBODY, [2, 1, 1]),
        ("tiktok-author-only", AUTHOR, PLAYER, AUTHOR, [2, 1, 1]),
        ("tiktok-author-only", PLAYER, PLAYER, None, [2, 2, 2]),
        ("tiktok-player-only", AUTHOR, AUTHOR, PLAYER, [2, 1, 1]),
        ("tiktok-player-only", PLAYER, PLAYER, PLAYER, [1, 1, 1]),
        ("instagram-reel-only", "/p/", "/p/", "/reel/", [2, 1, 1]),
        ("instagram-reel-only", "/reels/", "/reels/", "/reel/", [2, 1, 1]),
        ("default", "/reel/", "/reel/", "/p/", [1, 1, 1]),
    ],
)
async def test_the_form_that_the_api_takes_is_found_once(
    scenario: str, known_by: str, source: str, form: str | None, calls: list[int], sandbox: SandboxServer
) -> None:
    sandbox.play(scenario)
    sandbox.reset()
    post = parse_post_url(URLS[known_by])
    async with client_of(sandbox) as client:
        ends = [await outcome(client.metadata(post, "apify", source_url=URLS[source])) for _ in range(3)]
    assert [end.calls for end in ends] == calls
    if form is None:
        assert named(ends) == {"BadParameters": 3}
    else:
        assert all(form in end.url_asked for end in ends)


@pytest.mark.parametrize(
    ("scenario", "least", "most"),
    [("retry-after-seconds", 1, 1), ("retry-after-date", 0, 3), ("retry-after-absurd", 864_000, 864_000)],
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

    async def kept() -> None:
        with suppress(MemoriesError):
            await client.metadata(parse_post_url(URLS["/p/"]), "apify")

    for _ in range(2):
        asyncio.run(twice())
    # Not closed in its loop: its connections are lost with that loop, and the next one opens others.
    asyncio.run(kept())

    def once_more() -> None:
        asyncio.run(twice())
        gc.collect()

    with pytest.warns(ResourceWarning):
        once_more()
