"""Callbacks of every generation become one plain value; the same news has the same id in all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blocks.memories.callbacks import BadCallback, address, read_callback
from blocks.memories.redaction import Scrubber
from tests.cases import each_case


def read(**body: Any) -> Any:
    return read_callback(json.dumps(body).encode())


@each_case(
    ("body", "status", "kind"),
    [
        ({"taskId": "t", "status": "SUCCEEDED"}, "SUCCEEDED", "succeeded"),
        ({"message": "Video has been downloaded...", "taskId": "t", "status": "SUCCEEDED"}, "SUCCEEDED", "succeeded"),
        ({"taskId": "t", "status": "FAILED"}, "FAILED", "failed"),
        ({"task_id": "t", "status": "failed "}, "FAILED", "failed"),
        ({"code": 200, "message": "SUCCESS", "data": {}, "task_id": "t"}, "SUCCEEDED", "succeeded"),
        ({"code": "0000", "message": "SUCCESS", "data": None, "task_id": "t"}, "SUCCEEDED", "succeeded"),
        ({"code": 500, "message": "no", "task_id": "t"}, "FAILED", "failed"),
        ({"status": 0, "task_id": "t", "data": {"text": "x", "token": 1}}, "SUCCEEDED", "succeeded"),
        ({"status": -1, "task_id": "t"}, "FAILED", "failed"),
        ({"taskId": "t", "status": "SIMMERING"}, "SIMMERING", "other"),
        ({"taskId": "t", "videoId": "VI1", "status": "INDEXING_SUCCEEDED"}, "INDEXING_SUCCEEDED", "indexed"),
        ({"task_id": "t", "video_no": "VI1", "status": "PARSE"}, "PARSE", "indexed"),
        ({"taskId": "t", "videoId": "VI1", "status": "FAILED"}, "FAILED", "other"),
        ({"taskId": "t", "status": "INDEXING_SUCCEEDED"}, "INDEXING_SUCCEEDED", "other"),
    ],
)
def test_every_generation_is_read(body: dict[str, Any], status: str, kind: str) -> None:
    found = read(**body)
    assert (found.task_id, found.status, found.kind) == ("t", status, kind)


def test_the_same_news_has_the_same_id_and_other_news_another() -> None:
    old = read(taskId="t", status="SUCCEEDED")
    assert old.event_id == read(message="Video has been downloaded...", taskId="t", status="SUCCEEDED").event_id
    assert old.event_id == read(code=200, task_id="t").event_id
    others = [
        read(taskId="t", status="FAILED"),
        read(taskId="u", status="SUCCEEDED"),
        read(taskId="t", videoId="SUCCEEDED", status="SUCCEEDED"),
        read(taskId="t", videoId="VI1", status="INDEXING_SUCCEEDED"),
        read(taskId="t", videoId="VI2", status="INDEXING_SUCCEEDED"),
    ]
    assert len({one.event_id for one in (old, *others)}) == 6


@each_case(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"taskId=t&status=SUCCEEDED", "not JSON"),
        (b'{"taskId": "t", "status": "SUCC', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"status": "SUCCEEDED"}', "names no task"),
        (b'{"videoNo": "VI1", "status": "PARSE"}', "names no task"),
        (b'{"taskId": " ", "status": "SUCCEEDED"}', "names no task"),
        (b'{"taskId": {}, "status": "SUCCEEDED"}', "names no task"),
        (b'{"taskId": "t"}', "no status"),
        (b'{"taskId": "t", "status": null}', "no status"),
        (b'{"taskId": "t", "status": true}', "no status"),
        (b'{"taskId": "a\\nb", "status": "SUCCEEDED"}', "taskId cannot be one"),
        (b'{"taskId": "a\\u0000b", "status": "SUCCEEDED"}', "taskId cannot be one"),
        (b'{"taskId": "' + b"x" * 201 + b'", "status": "SUCCEEDED"}', "taskId cannot be one"),
        (b'{"taskId": "t", "status": "' + b"x" * 65 + b'"}', "status cannot be one"),
    ],
)
def test_what_is_no_callback_says_why_and_repeats_nothing(body: bytes, why: str) -> None:
    with pytest.raises(BadCallback, match=why) as caught:
        read_callback(body)
    assert "SUCC" not in str(caught.value)


def test_a_message_is_kept_and_bounded() -> None:
    assert read(taskId="t", status="FAILED", message="x" * 900).message == "x" * 500
    assert read(taskId="t", status="FAILED", message={"no": "text"}).message is None


def test_a_message_is_scrubbed_before_it_is_cut() -> None:
    secret = "invented-and-long-enough"
    body = {"taskId": "t", "status": "FAILED", "message": "é" * 490 + secret}
    scrub = Scrubber("", f"https://hooks.example/in/{secret}")
    # A sign may come escaped, which a search in the bytes of the body would not find.
    for plain in (json.dumps(body), json.dumps(body).replace("invented", "\\u0069nvented")):
        assert read_callback(plain.encode(), scrub).message == "é" * 490 + "[callback]"


def test_the_address_needs_both_parts() -> None:
    assert address("https://hooks.example/in/", "s") == "https://hooks.example/in/s"
    assert address("https://hooks.example/in", "") is None
    assert address("", "s") is None
