"""The v1 half of the API: imports and their status."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson

from deployments.sandbox.addresses import platform_of, read_address, read_profile
from deployments.sandbox.answers import Answer
from deployments.sandbox.catalog import Post
from deployments.sandbox.clock import IMPORT_SECONDS, STATUS_SECONDS
from deployments.sandbox.faults import ServedCall, inject
from deployments.sandbox.imports import Import
from deployments.sandbox.state import Request, State

MAX_URLS = 50
_IMPORTED = ("tiktok", "youtube", "instagram")
_DEFAULT_COUNT = {"tag": 2, "creator": 4}


class Refusal(Exception):
    """A request that is refused: `name` is one of `answers.REFUSALS`, `message` what is said of it."""

    def __init__(self, name: str, message: str) -> None:
        self.name, self.message = name, message
        super().__init__(message)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal("bad", "The body is not JSON.") from None
    if not isinstance(asked, dict):
        raise Refusal("bad", "The body is not an object.")
    return asked


def _namespace(asked: dict[str, Any], *, public: bool) -> tuple[str, int | None]:
    """`unique_id` (default "default") or `folder_id`; a public import has neither."""
    if public:
        return "", None
    name, folder = asked.get("unique_id"), asked.get("folder_id")
    if name is not None and folder is not None:
        raise Refusal("bad", "unique_id and folder_id exclude each other.")
    if folder is not None and (isinstance(folder, bool) or not isinstance(folder, int) or folder < -2 or folder == 0):
        raise Refusal("bad", "folder_id is not valid.")
    if name is not None and not isinstance(name, str):
        raise Refusal("bad", "unique_id is not a string.")
    return ("default" if name in (None, "") else name), folder


def _count(asked: dict[str, Any], kind: str) -> int:
    count = asked.get("scraper_cnt")
    if count is None:
        return _DEFAULT_COUNT[kind]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise Refusal("bad", "scraper_cnt must be a positive integer.")
    return count


def _tag_posts(state: State, asked: dict[str, Any]) -> tuple[list[str], list[Post], int]:
    tags = asked.get("hash_tags")
    if not isinstance(tags, list) or not tags:
        raise Refusal("missing", "hash_tags is required.")
    for tag in tags:
        if not isinstance(tag, str) or not tag or any(letter.isspace() or letter in "#＃" for letter in tag):
            raise Refusal("bad", "hash_tags holds a term that is empty or has a space or a # in it.")
    count, scenario = _count(asked, "tag"), state.scenario
    posts: dict[str, Post] = {}
    for tag in tags:
        newest = state.catalog.newest(
            scenario.platforms,
            count + scenario.surplus_posts,
            tag=tag,
            limit=scenario.stock,
            shared_every=scenario.shared_every,
        )
        posts.update((post.key, post) for post in newest)
    return [f"hashtag:{tag.casefold()}" for tag in tags], list(posts.values()), count


def _url_posts(state: State, asked: dict[str, Any]) -> tuple[list[str], list[Post], int]:
    urls: list[Any] = []
    for name in ("video_urls", "tiktok_post_urls"):
        listed = asked.get(name)
        if listed is not None and not isinstance(listed, list):
            raise Refusal("bad", f"{name} is not a list.")
        urls += listed if listed is not None else []
    if not urls:
        raise Refusal("missing", "video_urls is required.")
    if len(urls) > MAX_URLS:
        raise Refusal("bad", f"video_urls holds more than {MAX_URLS} URLs.")
    if len({platform_of(url) if isinstance(url, str) else None for url in urls}) > 1:
        raise Refusal("bad", "All URLs must be of the same platform.")
    posts: dict[str, Post] = {}
    for url in urls:
        address = read_address(url) if isinstance(url, str) else None
        if address is None or address.platform not in _IMPORTED:
            raise Refusal("bad", "video_urls holds a URL that is not supported.")
        posts[address.key] = state.catalog.at(address)
    return [f"url:{key}" for key in posts], list(posts.values()), len(urls)


def _creator_posts(state: State, asked: dict[str, Any]) -> tuple[list[str], list[Post], int]:
    url = asked.get("username")
    if not isinstance(url, str) or not url:
        raise Refusal("missing", "username is required.")
    profile = read_profile(url)
    if profile is None:
        raise Refusal("bad", "username must be a profile URL of TikTok, Instagram or YouTube.")
    platform, handle = profile
    count = _count(asked, "creator")
    posts = state.catalog.newest((platform,), count, creator=handle, limit=state.scenario.stock)
    return [f"creator:{platform}:{handle.casefold()}"], posts, count


_POSTS = {"tag": _tag_posts, "url": _url_posts, "creator": _creator_posts}


def submit(state: State, request: Request, kind: str, public: bool) -> Answer:
    """`POST /scraper_tag`, `/scraper_url`, `/scraper` and their public forms."""
    over = state.limited(request, "imports", 1, IMPORT_SECONDS, 1)
    try:
        asked = _fields(request.body)
        if over is not None:
            for target in _targets(asked):
                state.accounting.submissions[target][over.code] += 1
            return over
        namespace, folder_id = _namespace(asked, public=public)
        callback = next((asked[name] for name in ("callback", "callback_url") if asked.get(name)), None)
        if callback is not None and state.scenario.callbacks_refused:
            raise Refusal("bad", "callback is not a known parameter.")
        targets, posts, count = _POSTS[kind](state, asked)
    except Refusal as refusal:
        return state.writer.refusal(refusal.name, 1, message=refusal.message)

    def serve() -> Answer:
        empty = kind == "creator" and state.scenario.creators_stay_empty
        job = state.imports.accept(
            posts, state.scenario, namespace=namespace, folder_id=folder_id, public=public, empty=empty
        )
        _enter(state, request, job, kind, targets, count)
        if isinstance(callback, str):
            state.callbacks.start(job, callback, state.scenario)
        return state.writer.success({state.scenario.task_key: job.task_id})

    attempt = sum(state.accounting.submissions[targets[0]].values())
    answer = inject("submit", targets[0], attempt, ServedCall(state, 1, request.path, serve))
    for target in targets:
        state.accounting.submissions[target][answer.code] += 1
    return answer


def _targets(asked: dict[str, Any]) -> list[str]:
    tags = asked.get("hash_tags")
    return [f"hashtag:{tag.casefold()}" for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _enter(state: State, request: Request, job: Import, kind: str, targets: list[str], count: int) -> None:
    state.accounting.accepted.update(targets)
    state.accounting.imports.append(
        {
            "task_id": job.task_id,
            "kind": kind,
            "targets": targets,
            "requested": count,
            "posts": len(job.slots),
            "namespace": job.namespace,
            "folder_id": job.folder_id,
            "library": "public" if job.public else "private",
            "at": state.clock.wall(),
            "key": sha256(request.key.encode()).hexdigest()[:8],
        }
    )


def status(state: State, request: Request) -> Answer:
    """`GET /get_video_ids_by_task_id`: what was found so far, an empty list for whatever is not known."""
    over = state.limited(request, "status", 1, STATUS_SECONDS, 1)
    if over is not None:
        return over
    task_id = request.query.get("task_id", "")
    if not task_id:
        return state.writer.refusal("missing", 1, message="task_id is required.")
    job = state.imports.of_task(task_id)
    state.accounting.status_polls[task_id] += 1

    def serve() -> Answer:
        items = [] if job is None or not _may_see(job, request) else state.imports.listed(job, state.scenario)
        if not items and state.scenario.empty_is_refused:
            return state.writer.refusal("no_videos", 1)
        name = "videos" if state.scenario.id_list == "strings" else state.scenario.id_list
        data = {name: items} if name == "videos" else {"taskId": task_id, name: items}
        return state.writer.success(data)

    number = state.accounting.status_polls[task_id] - 1
    if job is not None:
        job.polls = number
    return inject("status", task_id, number, ServedCall(state, 1, request.path, serve))


def _may_see(job: Import, request: Request) -> bool:
    """Whether the poll names the import's namespace; a wrong one sees nothing, and is told nothing."""
    folder = request.query.get("folder_id")
    if job.public:
        return request.query.get("unique_id", "default") == "default" and folder is None
    if job.folder_id is not None:
        return folder is None or folder == str(job.folder_id)
    return request.query.get("unique_id", "default") == job.namespace and folder is None
