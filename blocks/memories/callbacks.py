"""Callbacks of the service, of every generation, as one plain value; a hint about a task, never the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID, uuid5

import orjson

from blocks.completion import Callback

MOST_BYTES: Final = 16_384
"""A callback is a few hundred bytes; one that brings a caption or a transcript along, a few thousand."""

_NAMESPACE: Final = UUID("3f0e6c1e-6c5b-5d2c-8a43-7461677472a2")
_LONGEST_ID: Final = 200
_LONGEST_STATUS: Final = 64
_LONGEST_MESSAGE: Final = 500

# Field names of all generations: imports (taskId), videos (videoId), uploads (videoNo), the v2 webhook (task_id).
_TASK: Final = ("taskId", "task_id")
_VIDEO: Final = ("videoId", "video_id", "videoNo", "video_no")
_DONE: Final = ("0", "200", "0000")
"""Codes that mean success where a number stands for the status: captions, the v2 webhook, either as text."""


class BadCallback(ValueError):
    """What came is no callback about a task; the message says why, and repeats nothing of it."""


def address(base_url: str, secret: str) -> str | None:
    """Where the service calls back: the secret is the last part of the path. None if either is missing."""
    return f"{base_url.rstrip('/')}/{secret}" if base_url and secret else None


def read_callback(body: bytes, scrub: Callable[[bytes], bytes] = bytes) -> Callback:
    """Read the body of a callback; its message goes through `scrub` before it is cut to its length.

    Raises:
        BadCallback: not JSON, not an object, or without a task or a status.
    """
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadCallback("this is not JSON") from None
    if not isinstance(said, dict):
        raise BadCallback("this is not a JSON object")
    task_id = _identity(said, _TASK)
    if task_id is None:
        raise BadCallback("it names no task")
    video_no = _identity(said, _VIDEO)
    status = _status(said)
    if status is None:
        raise BadCallback("it has no status")
    message = said.get("message")
    return Callback(
        event_id=str(uuid5(_NAMESPACE, orjson.dumps([task_id, video_no, status]).decode())),
        task_id=task_id,
        status=status,
        video_no=video_no,
        message=scrub(message.encode()).decode()[:_LONGEST_MESSAGE] if isinstance(message, str) else None,
    )


def _identity(said: dict[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = said.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.strip():
            value = value.strip()
            if len(value) > _LONGEST_ID or not value.isprintable():
                raise BadCallback(f"its {name} cannot be one")
            return value
    return None


def _status(said: dict[str, Any]) -> str | None:
    """The status: a word as it stands, a number (of captions) or the v2 webhook's code as one of two words."""
    for name in ("status", "code"):
        value = said.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            continue
        word = str(value).strip().upper()
        if word.lstrip("-").isdecimal():
            return "SUCCEEDED" if word in _DONE else "FAILED"
        if word:
            if len(word) > _LONGEST_STATUS or not word.isprintable():
                raise BadCallback("its status cannot be one")
            return word
    return None
