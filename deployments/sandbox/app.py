"""The sandbox as an ASGI application, written by hand: a table of routes, and answers sent whole or broken."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import orjson

from deployments.sandbox import v1, v2
from deployments.sandbox.addresses import read_address
from deployments.sandbox.answers import Answer, plain, spring_fault
from deployments.sandbox.scenarios import SCENARIOS, scenario_named
from deployments.sandbox.state import Request, State

V1 = "/serve/api/v1"
V2 = "/serve/api/v2"
SANDBOX_KEY = "sk-sandbox"
"""The key that commands print; any other that begins with sk- is as good."""

# The key of the ASGI scope's extensions under which the server leaves the connection's transport.
TRANSPORT = "tagtrail.transport"

_LOOK_SECONDS = 0.1
_DRIP_SECONDS = 0.2
_DRIP_EXTRA_BYTES = 100_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[State, Request], Answer]


def _routes() -> dict[str, tuple[str, Handler]]:
    """Method and handler by path."""
    routes: dict[str, tuple[str, Handler]] = {
        f"{V1}/get_video_ids_by_task_id": ("GET", v1.status),
    }
    for name, kind in (("scraper_tag", "tag"), ("scraper_url", "url"), ("scraper", "creator")):
        routes[f"{V1}/{name}"] = ("POST", partial(v1.submit, kind=kind, public=False))
        routes[f"{V1}/{name}_public"] = ("POST", partial(v1.submit, kind=kind, public=True))
    for name, platform in v2.PATHS.items():
        routes[f"{V2}/{name}/video/metadata"] = ("POST", partial(v2.metadata, platform=platform))
    return routes


class Sandbox:
    """The application; `state` is all that it knows."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._routes = _routes()
        self._closing = asyncio.Event()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        body = await _read(receive)
        path: str = scope["path"]
        query = scope["query_string"]
        fields = dict(parse_qsl(query.decode("latin-1"))) if query else {}
        if path.startswith("/sandbox/"):
            answer = answer_page(self.state, scope["method"], path, fields, body)
        else:
            answer = self._answer(scope, path, fields, body)
            await self._take_its_time()
        await self._send(answer, scope, receive, send)

    def close(self) -> None:
        """End every wait, so that the server can stop."""
        self._closing.set()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.state.callbacks.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _answer(self, scope: MutableMapping[str, Any], path: str, query: dict[str, str], body: bytes) -> Answer:
        state = self.state
        state.accounting.requests += 1
        version = 2 if path.startswith(V2) else 1
        key = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
        method, handler = self._routes.get(path, ("", None))
        if handler is None:
            answer = spring_fault(404, path) if state.scenario.spring_404 else state.writer.refusal("no_route", 1)
        elif not state.accepts_key(key):
            answer = state.writer.refusal("key", version)
        elif scope["method"] != method:
            answer = spring_fault(405, path) if version == 1 else state.writer.refusal("method", 2)
        else:
            answer = handler(state, Request(path, query, body, key))
        state.accounting.answers[path.rsplit("/api/", 1)[-1] if handler else "unknown"][answer.code] += 1
        return answer

    async def _take_its_time(self) -> None:
        """Wait for the latency; a scenario that is played meanwhile changes how long that is."""
        state, came_at = self.state, time.monotonic()
        while (left := came_at + (state.latency_ms + state.scenario.latency_ms) / 1000 - time.monotonic()) > 0:
            if await self._pause(min(left, _LOOK_SECONDS)):
                return

    async def _pause(self, seconds: float) -> bool:
        """Wait; whether the server is closing meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self, answer: Answer, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        length = len(answer.body) + (_DRIP_EXTRA_BYTES if answer.wire == "drip" else 0)
        head = [(b"content-type", answer.kind), (b"content-length", str(length).encode()), *answer.headers]
        if answer.wire in ("reset", "close"):
            _hang_up(scope, reset=answer.wire == "reset")
            await _until_gone(receive)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        if answer.wire == "whole":
            await send({"type": "http.response.body", "body": answer.body})
        elif answer.wire == "cut":
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            _hang_up(scope, reset=False)
            await _until_gone(receive)
        else:
            await self._drip(answer.body, scope, receive, send)

    async def _drip(self, body: bytes, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_until_gone(receive))
        try:
            for place in range(len(body) + _DRIP_EXTRA_BYTES):
                byte = body[place : place + 1] if place < len(body) else b" "
                await send({"type": "http.response.body", "body": byte, "more_body": True})
                if await self._pause(_DRIP_SECONDS) or gone.done():
                    break
            _hang_up(scope, reset=True)
            await gone
        finally:
            gone.cancel()


async def _read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _hang_up(scope: MutableMapping[str, Any], *, reset: bool) -> None:
    """Close the connection under the answer; with `reset` the other side sees a TCP reset."""
    transport = scope.get("extensions", {}).get(TRANSPORT)
    if transport is None:
        raise RuntimeError("connections can be broken only where the sandbox runs on its own server")
    if not reset:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        # Closing without lingering throws away what was to be sent, and sends a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def answer_page(state: State, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
    """An answer of the sandbox's own pages, which are no part of the API. One of:

    `GET books` (the accounting) · `GET scenarios` · `GET post?url=` (the post's key and number) · `POST reset` ·
    `POST scenario` with `{"name": …, "changes": {…}}` · `POST advance` with `{"seconds": …}` (virtual). No key is asked
    for.
    """
    page = path.removeprefix("/sandbox/")
    try:
        asked = orjson.loads(body) if body else {}
        if not isinstance(asked, dict):
            raise ValueError("the body is an object")
        found = _page(state, f"{method} {page}", query, asked)
    except (ValueError, TypeError) as error:
        return plain({"error": str(error)}, 400)
    return plain(found) if found is not None else plain({"error": f"there is no {method} {path}"}, 404)


def _page(state: State, page: str, query: dict[str, str], asked: dict[str, Any]) -> dict[str, Any] | None:
    if page == "GET books":
        return {
            "scenario": state.scenario_name,
            "real_seconds": state.clock.real(),
            "virtual_seconds": state.clock.now(),
            "time_scale": state.clock.time_scale,
            **state.accounting.as_dict(),
        }
    if page == "GET scenarios":
        return {name: scenario.about for name, scenario in SCENARIOS.items()}
    if page == "GET post":
        address = read_address(query.get("url", ""))
        if address is None:
            raise ValueError("url names no post")
        post = state.catalog.at(address)
        return {"key": post.key, "number": post.number, "variant": post.variant, "handle": post.handle}
    if page == "POST scenario":
        name = str(asked.get("name", "default"))
        scenario = scenario_named(name).changed(asked.get("changes", {}))
        state.play(scenario)
        state.scenario_name = name
        return {"scenario": name, "about": scenario.about}
    if page == "POST reset":
        state.reset()
        return {"scenario": state.scenario_name}
    if page == "POST advance":
        seconds = float(asked.get("seconds", 0))
        state.clock.advance(seconds)
        state.calendar.advance(seconds)
        return {"virtual_seconds": state.clock.now()}
    return None
