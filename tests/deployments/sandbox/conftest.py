"""A sandbox on a real port, and the few calls that every test makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from deployments.sandbox.server import SandboxServer

KEY = "sk-mavi-invented-for-tests"
ANSWER_SECONDS = 60.0
"""How long an answer may take on a busy machine."""


class Caller:
    """Raw calls over one connection pool; nothing of the product's own client is used."""

    def __init__(self, server: SandboxServer, http: httpx.Client) -> None:
        self.server = server
        self.http = http

    def submit(self, tag: str = "kites", count: int = 10, **fields: Any) -> httpx.Response:
        body = {"hash_tags": [tag], "scraper_cnt": count, **fields}
        return self.http.post(f"{self.server.v1_base_url}/scraper_tag", json=body)

    def submit_to(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(f"{self.server.v1_base_url}/{path}", json=body)

    def poll(self, task_id: str, **query: Any) -> httpx.Response:
        address = f"{self.server.v1_base_url}/get_video_ids_by_task_id"
        return self.http.get(address, params={"task_id": task_id, **query})

    def import_tag(self, tag: str = "kites", count: int = 10, seconds: float = 500, **fields: Any) -> list[Any]:
        """Import a hashtag, let virtual time pass, and list what is there."""
        task_id = self.submit(tag, count, **fields).json()["data"]["taskId"]
        self.server.advance(seconds)
        data = self.poll(task_id).json()["data"]
        return next(data[name] for name in ("videos", "video_ids") if name in data)

    def metadata(self, url: str, channel: str = "apify", timeout: float = ANSWER_SECONDS) -> httpx.Response:
        platform = next(name for name in ("instagram", "tiktok", "youtu", "x.com", "twitter") if name in url)
        path = {"youtu": "youtube", "x.com": "twitter"}.get(platform, platform)
        address = f"{self.server.v2_base_url}/{path}/video/metadata"
        return self.http.post(address, json={"video_url": url, "channel": channel}, timeout=timeout)

    def urls(self, count: int = 10, tag: str = "kites") -> list[str]:
        """The URLs of the newest posts of a hashtag, in their order."""
        return [item["video_url"] for item in self.import_tag(tag, count)]

    @staticmethod
    def outcome(call: Callable[[], httpx.Response]) -> Any:
        """What became of a call: the name of its fault, or status and code."""
        try:
            answer = call()
        except httpx.HTTPError as error:
            return type(error).__name__
        try:
            body = answer.json()
        except ValueError:
            return answer.status_code, answer.headers["content-type"], "unreadable" if answer.content else "empty"
        if isinstance(body, dict) and "code" in body:
            return answer.status_code, body["code"]
        return answer.status_code, sorted(body) if isinstance(body, dict) else type(body).__name__


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": KEY}, verify=False, trust_env=False, timeout=ANSWER_SECONDS) as client:
        yield client


@pytest.fixture
def start(http: httpx.Client) -> Iterator[Callable[..., Caller]]:
    """Starts sandboxes that end with the test."""
    with ExitStack() as stack:
        yield lambda *words, **options: Caller(stack.enter_context(SandboxServer(*words, **options)), http)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[SandboxServer]:
    with SandboxServer(limits=False, time_scale=0.001) as server:
        yield server


@pytest.fixture
def api(shared_server: SandboxServer, http: httpx.Client) -> Caller:
    """A sandbox without limits whose time stands all but still; shared, and reset for each test."""
    shared_server.reset()
    shared_server.play("default")
    return Caller(shared_server, http)


@pytest.fixture
def name(api: Caller, request: pytest.FixtureRequest) -> str:
    """The scenario that the shared sandbox plays; its tests are parametrised by it, indirectly."""
    api.server.play(request.param)
    return str(request.param)
