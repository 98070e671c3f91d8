"""The rest of v1: the library of imported videos, as lists and one by one."""

from __future__ import annotations

from typing import Any

import orjson

from deployments.sandbox.addresses import import_url
from deployments.sandbox.answers import Answer
from deployments.sandbox.imports import Import, Slot
from deployments.sandbox.people import person, words
from deployments.sandbox.state import Request, State
from deployments.sandbox.stock import numbers_of

_PUBLIC_DETAIL_SECONDS = 2.0


def _item(state: State, slot: Slot) -> dict[str, Any]:
    return {
        "video_no": slot.video_no,
        "video_name": slot.item["video_name"],
        "duration": int(slot.item["duration"]),
        "size": 3_000_000 + slot.post.seed % 900_000,
        "status": "PARSE" if slot.parsed <= state.clock.now() else "UNPARSE",
        "create_time": int(slot.item["create_time"]),
        "bucket": "invented-resource",
        "blob": f"{slot.video_no}.mp4",
        "tags": ["api"],
    }


def _in_namespace(job: Import, asked: dict[str, Any]) -> bool:
    if asked.get("folder_id") is not None:
        return str(job.folder_id) == str(asked["folder_id"])
    return asked.get("unique_id") is None or job.namespace == asked["unique_id"]


def list_videos(state: State, request: Request) -> Answer:
    """`POST /list_videos`: pages of the private library."""
    try:
        asked = orjson.loads(request.body) if request.body else {}
    except orjson.JSONDecodeError:
        return state.writer.refusal("bad", 1)
    page, size = (asked.get("page", 1), asked.get("size", 200)) if isinstance(asked, dict) else (0, 0)
    if not isinstance(page, int) or not isinstance(size, int) or page < 1 or size < 1:
        return state.writer.refusal("bad", 1)
    numbers = asked.get("video_nos") if asked.get("video_no") is None else [asked["video_no"]]
    found = []
    for job, slot in state.imports.library.values():
        if job.public or not state.imports.is_listed(job, slot) or not _in_namespace(job, asked):
            continue
        item = _item(state, slot)
        wanted = numbers is None or slot.video_no in numbers
        if wanted and asked.get("status") in (None, item["status"]):
            found.append(item)
    data = {
        "current_page": page,
        "page_size": size,
        "total_count": len(found),
        "videos": found[(page - 1) * size : page * size],
    }
    return state.writer.success(data)


def get_metadata(state: State, request: Request) -> Answer:
    """`GET /get_metadata`: one private video; an unknown one is a success with data null."""
    number = request.query.get("video_no", "")
    if not number:
        return state.writer.refusal("missing", 1)
    found = state.imports.library.get(number)
    if found is None or found[0].public or not state.imports.is_listed(*found):
        return state.writer.success(None)
    item = _item(state, found[1]) | {"resolution_label": "720P", "fps": 30, "width": 1280, "height": 720}
    return state.writer.success(item)


def public_detail(state: State, request: Request) -> Answer:
    """`GET /get_public_video_detail`: one public video with its platform's URL and counts, all as text."""
    over = state.limited(request, "public_detail", 1, _PUBLIC_DETAIL_SECONDS, 1)
    if over is not None:
        return over
    number = request.query.get("video_no", "")
    found = state.imports.library.get(number)
    if found is None or not found[0].public or not state.imports.is_listed(*found):
        return state.writer.refusal("not_found", 1)
    slot = found[1]
    post, numbers = slot.post, numbers_of(slot.post, state.calendar)
    caption, tags, _ = words(post.dice, post.tag)
    item = _item(state, slot)
    data = {
        "duration": str(item["duration"]),
        "status": item["status"],
        "video_no": number,
        "video_name": caption,
        "create_time": str(item["create_time"]),
        "video_url": import_url(post.platform, post.post_id, post.code),
        "like_count": str(numbers.likes),
        "share_count": str(numbers.shares),
        "comment_count": str(numbers.comments),
        "view_count": str(numbers.plays),
        "collect_count": str(numbers.saves),
        "blogger_id": person(post.handle).handle,
        "text_language": "en",
        "music_name": "original sound",
        "hash_tag": "".join(f"#{tag}" for tag in tags),
        "publish_time": str(numbers.posted_at),
    }
    return state.writer.success(data)
