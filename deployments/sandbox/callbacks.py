"""Callbacks to whoever asked for them, in both generations, and only to this machine."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import orjson

from deployments.sandbox.accounting import Accounting
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.imports import Import
from deployments.sandbox.scenarios import Scenario

_LOG = logging.getLogger("tagtrail.sandbox")
_LOCAL = ("127.0.0.1", "localhost", "::1")
_ANSWER_SECONDS = 10.0
# Time can be moved forward while somebody waits, so nobody waits longer than this without looking again.
_LOOK_SECONDS = 0.2


class Callbacks:
    """Sends an import's callbacks when their virtual time has come; nothing is sent again."""

    def __init__(self, clock: VirtualClock, accounting: Accounting) -> None:
        self._clock = clock
        self.accounting = accounting
        self._running: set[asyncio.Task[None]] = set()

    def start(self, job: Import, url: str, scenario: Scenario) -> None:
        """Send the callbacks of `job` to `url`, in the background."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in _LOCAL:
            _LOG.warning("no callback to host %s: the sandbox calls back to http://127.0.0.1 only", parts.hostname)
            self.accounting.callbacks.append({"task_id": job.task_id, "refused": parts.hostname})
            return
        task = asyncio.create_task(self._run(job, url, _messages(job, scenario, self._clock)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _until(self, due: float) -> None:
        while True:
            left = (due - self._clock.now()) / self._clock.time_scale
            if left <= 0:
                return
            await asyncio.sleep(min(left, _LOOK_SECONDS))

    async def _run(self, job: Import, url: str, messages: list[tuple[float, dict[str, Any]]]) -> None:
        for due, body in messages:
            await self._until(due)
            status = None
            try:
                status = await asyncio.wait_for(_post(url, body), _ANSWER_SECONDS)
            except (OSError, TimeoutError, ValueError) as error:
                _LOG.warning("a callback did not arrive: %s", error)
            self.accounting.callbacks.append({"task_id": job.task_id, "body": body, "status": status})


def _messages(job: Import, scenario: Scenario, clock: VirtualClock) -> list[tuple[float, dict[str, Any]]]:
    """When (virtual seconds) which body is due."""
    done = max((slot.appears for slot in job.slots), default=clock.now()) if not job.stays_empty else clock.now() + 20.0
    status = scenario.callback_status
    if job.stays_empty and status == "SUCCEEDED":
        return []
    found: list[tuple[float, dict[str, Any]]] = []
    if scenario.callbacks in ("old", "both"):
        found.append((done, {"taskId": job.task_id, "status": status}))
    if scenario.callbacks in ("new", "both"):
        said = "Video has been downloaded..." if status == "SUCCEEDED" else "Video download failed"
        found.append((done, {"message": said, "taskId": job.task_id, "status": status}))
        if not job.stays_empty:
            for slot in job.slots:
                body = {"videoId": slot.video_no, "message": "Video indexing succeed", "taskId": job.task_id}
                found.append((slot.parsed, body | {"status": "INDEXING_SUCCEEDED"}))
    found.sort(key=lambda pair: pair[0])
    if scenario.callbacks_messy:
        # Twice each, and the whole in the wrong order, once all of it has happened.
        last = found[-1][0]
        found = [(last, body) for _, body in reversed(found) for _ in range(2)]
    return found


async def _post(url: str, body: dict[str, Any]) -> int:
    """Send one callback over a connection of its own; gives the HTTP status."""
    parts = urlsplit(url)
    content = orjson.dumps(body)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        writer.write(
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        first = await reader.readline()
        await reader.read()
        return int(first.split()[1]) if len(first.split()) > 1 else 0
    finally:
        writer.close()
