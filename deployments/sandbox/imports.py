"""Imports on the server: which posts each one holds, when they appear, and how a poll lists them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from deployments.sandbox.addresses import import_url
from deployments.sandbox.catalog import Post
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.people import words
from deployments.sandbox.scenarios import Scenario
from deployments.sandbox.seeded_random import SeededRandom, seed_of

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
    """All imports that were accepted, and the library of videos that they fill."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._by_task: dict[str, Import] = {}
        self.library: dict[str, tuple[Import, Slot]] = {}

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
        if not job.stays_empty:
            self.library.update((slot.video_no, (job, slot)) for slot in job.slots)
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
            turn = SeededRandom(job.polls)
            items = [item for _, item in sorted(enumerate(items), key=lambda pair: turn.bits(pair[0]))]
        if scenario.id_list != "videos":
            return [str(item[scenario.id_key]) for item in items]
        return items

    def is_listed(self, job: Import, slot: Slot) -> bool:
        return not job.stays_empty and slot.appears <= self._clock.now()


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
