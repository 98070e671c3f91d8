"""Imports on the server: which posts each one holds, when they appear, how a poll lists them, and their callbacks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import orjson

from deployments.sandbox.addresses import import_url
from deployments.sandbox.catalog import Post
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.people import SeededRandom, seed_of, words
from deployments.sandbox.scenarios import Scenario

Item = dict[str, Any]

MAX_IMPORTS = 1_000
"""Of so many imports of one server the task ids are known again."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One post of an import: it is listed from `appears` on, ready (`PARSE`) from `parsed` on (virtual seconds)."""

    post: Post
    video_no: str
    appears: float
    parsed: float
    item: Item


@dataclass(slots=True)
class Import:
    """One accepted import."""

    task_id: str
    namespace: str
    folder_id: int | None
    public: bool
    stays_empty: bool
    slots: list[Slot] = field(default_factory=list)
    polls: int = 0


class Imports:
    """All imports that were accepted."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._by_task: dict[str, Import] = {}

    def accept(
        self,
        posts: Iterable[Post],
        scenario: Scenario,
        *,
        namespace: str,
        folder_id: int | None,
        public: bool,
        empty: bool,
    ) -> Import:
        """Take in a new import of these posts; its life runs from this virtual moment on."""
        number = len(self._by_task)
        task_id = task_id_of(number, namespace)
        if scenario.namespace_lost:
            namespace = f"{namespace}-lost"
        job = Import(task_id, namespace, folder_id, public, empty or scenario.stays_empty)
        job.slots = _slots(list(posts), scenario, self._clock, public=public)
        self._by_task[task_id] = job
        return job

    def of_task(self, task_id: str) -> Import | None:
        return self._by_task.get(task_id)

    def listed(self, job: Import, scenario: Scenario) -> list[Item] | list[str]:
        """What a poll lists now: items as the contract's variant B, or bare ids."""
        now = self._clock.now()
        if job.stays_empty:
            return []
        items = []
        for place, slot in enumerate(job.slots):
            if slot.appears > now:
                continue
            item = dict(slot.item)
            if scenario.url_when_ready and slot.parsed > now:
                item["video_url"] = ""
            if slot.parsed <= now:
                item["status"] = "PARSE"
                if scenario.statuses and place % scenario.status_every == scenario.status_every - 1:
                    item["status"] = scenario.statuses[place // scenario.status_every % len(scenario.statuses)]
            if scenario.renumber:
                item[scenario.id_key] = f"{item[scenario.id_key][:-2]}{job.polls % 90 + 10}"
            items.append(item)
        if scenario.duplicate_items:
            items = [*items, *(dict(item) for item in items)]
        if scenario.shuffle_items and items:
            random = SeededRandom(job.polls)
            items = [item for _, item in sorted(enumerate(items), key=lambda pair: random.bits(pair[0]))]
        if scenario.id_list != "videos":
            return [str(item[scenario.id_key]) for item in items]
        return items


def video_number(post: Post, *, public: bool) -> str:
    """The number under which a library keeps a post: the same at every import."""
    digits = 600_000_000_000_000_000 + seed_of(f"video/{post.key}") % 90_000_000_000_000_000
    return f"PI-{digits}" if public else f"VI{digits}"


def _slots(posts: list[Post], scenario: Scenario, clock: VirtualClock, *, public: bool) -> list[Slot]:
    started = clock.now()
    spread = min(45.0, 0.6 * len(posts)) + 0.01 * len(posts)
    slots = []
    for place, post in enumerate(posts):
        appears = started + scenario.first_item_seconds + spread * place / len(posts)
        if scenario.pause_after and place >= scenario.pause_after:
            appears += scenario.pause_seconds
        parsed = appears + scenario.parse_seconds + 9.0 * post.random.unit(10)
        number = video_number(post, public=public)
        slots.append(Slot(post, number, appears, parsed, _item(post, number, place, scenario, clock)))
    return slots


def _url(post: Post, scenario: Scenario) -> str:
    if post.platform == "tiktok" and scenario.tiktok_listed_as == "handle":
        return f"https://www.tiktok.com/@{post.handle}/video/{post.post_id}"
    return import_url(post.platform, post.post_id, post.code)


def _item(post: Post, number: str, place: int, scenario: Scenario, clock: VirtualClock) -> Item:
    seconds, created = post.random.between(119, 3, 90), int(clock.wall() * 1000)
    item: Item = {
        scenario.id_key: number,
        "video_name": words(post.random, post.tag)[0][:80],
        "status": "UNPARSE",
        "duration": seconds if scenario.item_numbers else str(seconds),
        "size": None,
        "fps": None,
        "width": 576,
        "height": 1024,
        "create_time": created if scenario.item_numbers else str(created),
        "video_url": _url(post, scenario),
        "resolution_label": None,
    }
    every = scenario.url_missing_every
    if every and place % every == every - 1:
        how = place // every % 3
        if how == 2:
            del item["video_url"]
        else:
            item["video_url"] = ("", None)[how]
    return item


def task_id_of(number: int, namespace: str) -> str:
    """The task id of a server's import: counted from 0, in a form that no other service makes."""
    return str(uuid5(NAMESPACE_URL, f"sandbox/import/{number}/{namespace}"))


def was_made_here(task_id: str, namespace: str) -> bool:
    """Whether a task id is one that a sandbox gave to an import under this namespace, or to a public one."""
    if task_id[14:15] != "5":  # Another version of UUID, or none.
        return False
    names = dict.fromkeys((namespace, "", "default"))
    return any(task_id == task_id_of(number, name) for name in names for number in range(MAX_IMPORTS))


_LOG = logging.getLogger("tagtrail.sandbox")
_LOCAL = ("127.0.0.1", "localhost", "::1")
_ANSWER_SECONDS = 10.0
# Time can be moved forward while somebody waits, so nobody waits longer than this without looking again.
_LOOK_SECONDS = 0.2


class Callbacks:
    """Sends an import's callbacks when their virtual time has come; nothing is sent again. `note` gets each."""

    def __init__(self, clock: VirtualClock, note: Callable[[dict[str, Any]], None]) -> None:
        self._clock, self._note = clock, note
        self._running: set[asyncio.Task[None]] = set()

    def start(self, job: Import, url: str, scenario: Scenario) -> None:
        """Send the callbacks of `job` to `url`, in the background."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in _LOCAL:
            _LOG.warning("no callback to host %s: the sandbox calls back to http://127.0.0.1 only", parts.hostname)
            self._note({"task_id": job.task_id, "refused": parts.hostname})
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
                async with asyncio.timeout(_ANSWER_SECONDS):
                    status = await _post(url, body)
            except (OSError, TimeoutError, ValueError) as error:
                _LOG.warning("a callback did not arrive: %s", error)
            self._note({"task_id": job.task_id, "body": body, "status": status})


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
