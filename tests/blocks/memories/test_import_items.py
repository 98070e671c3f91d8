"""The items of an import in all variants, the task id that starts them, and flags that say too little."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import BadKey, BadParameters, MemoriesError, NotFound, ServerFault, Unreadable
from blocks.memories import responses
from blocks.memories.responses import ImportItemSeen
from tests.cases import each_case


def items(data: Any) -> list[ImportItemSeen]:
    return responses.import_items(data, endpoint="/status", body=b"{}")


def item(no: str | None = None, url: str | None = None, status: str | None = None, name: str | None = None) -> Any:
    return ImportItemSeen(no, url, status, name)


URL = "https://www.tiktok.com/player/v1/7400000000000000123"


@each_case(
    ("data", "expected"),
    [
        (None, []),
        ({}, []),
        ([], []),
        ({"videos": []}, []),
        ({"videos": None}, []),
        ({"taskId": "t"}, []),
        ({"taskId": "t", "video_ids": []}, []),
        ({"taskId": "t", "video_ids": ["PI-1", "PI-2"]}, [item("PI-1"), item("PI-2")]),
        ({"videoIds": ["PI-1", 600000000000000017]}, [item("PI-1"), item("600000000000000017")]),
        ({"video_ids": [URL]}, [item(None, URL)]),
        (["VI1"], [item("VI1")]),
        ([{"videoNo": "VI1", "videoUrl": URL}], [item("VI1", URL)]),
        (
            {"videos": [{"video_no": "VI1", "video_name": "n", "status": "PARSE", "duration": "13", "video_url": URL}]},
            [item("VI1", URL, "PARSE", "n")],
        ),
        ({"videos": [{"video_no": 17, "video_url": "", "status": "UNPARSE"}]}, [item("17", None, "UNPARSE")]),
        ({"videos": [{"video_id": "VI1", "video_url": "null", "status": "null"}]}, [item("VI1")]),
        ({"videos": [{"videoId": " VI1 ", "video_url": None}]}, [item("VI1")]),
        ({"videos": [{"video_no": "", "videoNo": "VI1"}]}, [item("VI1")]),
        ({"videos": [{"video_no": "VI1", "status": 3, "video_name": {"x": 1}}]}, [item("VI1", None, "3")]),
        ({"videos": [{"video_no": None, "video_url": URL}]}, [item(None, URL)]),
        ({"videos": ["VI2", "VI1", "VI2"]}, [item("VI2"), item("VI1")]),
        (
            {"videos": [{"video_no": "VI1", "status": "UNPARSE"}, {"video_no": "VI1", "status": "PARSE"}]},
            [item("VI1", None, "UNPARSE"), item("VI1", None, "PARSE")],
        ),
        (
            {"videos": [{"video_no": "VI1", "video_url": URL}], "video_ids": ["VI1", "VI2"]},
            [item("VI1", URL), item("VI2")],
        ),
        ({"videos": [], "video_ids": ["VI1"]}, [item("VI1")]),
        ({"videos": ["", None, {"video_no": ""}]}, []),
    ],
)
def test_items_in_every_variant(data: Any, expected: list[ImportItemSeen]) -> None:
    assert items(data) == expected


@each_case(
    "data",
    [
        "VI1",
        7,
        True,
        {"rows": []},
        {"videos": "VI1"},
        {"videos": {"video_no": "VI1"}},
    ],
)
def test_an_unknown_shape_is_not_taken_for_nothing(data: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        items(data)
    assert caught.value.body == b"{}"


@each_case(
    "one",
    [
        {"status": "FAILED", "cause": "decode error"},
        {},
        True,
        1.5,
        6e29,
        ["VI1"],
        {"video_url": {"href": URL}},
        {"video_no": ["VI1"]},
        {"number": "VI1"},
    ],
)
def test_an_odd_item_hides_none_of_the_others(one: Any) -> None:
    good = [{"video_no": "VI1", "video_url": URL}, "VI2"]
    seen = items({"videos": [good[0], one, good[1], one]})
    assert [item for item in seen if item.odd is None] == [item("VI1", URL), item("VI2")]
    [odd] = [item for item in seen if item.odd is not None]
    assert odd.odd is not None
    assert json.loads(odd.odd) == one


def test_what_can_be_read_of_an_item_is_taken() -> None:
    assert items([{"video_no": 1.5, "video_url": URL}, {"video_no": "VI1", "video_url": {"href": URL}}]) == [
        item(None, URL),
        item("VI1"),
    ]
    assert items([{"video_no": "VI\x1b[2J1\x00", "video_url": URL + "\u009b"}]) == [item("VI[2J1", URL)]


def test_task_ids() -> None:
    where: dict[str, Any] = {"endpoint": "/scraper_tag", "body": b"raw"}
    assert responses.task_id_of({"taskId": "31b0-uuid_md5"}, **where) == "31b0-uuid_md5"
    assert responses.task_id_of({"task_id": 17}, **where) == "17"
    assert responses.task_id_of({"taskId": "31b0\x00-uuid\x1b"}, **where) == "31b0-uuid"
    for digits in ("123456789012345678901234567890", "18446744073709551616", "9" * 400):
        body = b'{"code":"0000","data":{"taskId":%s}}' % digits.encode()
        assert responses.task_id_of(json.loads(body, parse_int=float)["data"], endpoint="/", body=body) == digits
    for data in (None, {}, [], "x", {"taskId": 1.5}, {"taskId": ""}, {"taskId": None}, {"taskId": ["x"]}):
        with pytest.raises(Unreadable) as caught:
            responses.task_id_of(data, **where)
        assert caught.value.body == b"raw"


def test_only_a_plain_refusal_can_mean_that_there_are_no_videos_yet() -> None:
    assert responses.means_no_videos(BadParameters("no videos found"))
    assert responses.means_no_videos(NotFound("No video found for this task"))
    assert not responses.means_no_videos(NotFound("task not found"))
    assert not responses.means_no_videos(BadKey("no videos found"))
    assert not responses.means_no_videos(ServerFault("no videos found"))


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["0000", "0001", "success"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ITEM = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("video_no", "videoNo", "video_id", "video_url", "videoUrl", "status", "name"), JSON)
)


@given(st.one_of(JSON, st.fixed_dictionaries({"videos": st.lists(st.one_of(JSON, ITEM))})))
def test_no_list_makes_anything_but_items_or_our_own_errors(data: Any) -> None:
    try:
        seen = items(data)
    except Unreadable:
        return
    assert len(set(seen)) == len(seen)
    assert all(one.odd or one.video_no or one.video_url for one in seen)


@each_case(
    "said",
    [
        {"failed": False, "data": None},
        {"failed": False, "success": False, "data": {"a": 0}},
        {"code": "E77", "failed": False, "success": True, "data": {"a": 0}},
        {"code": "000", "failed": False, "data": {"a": 0}},
        {"code": "000", "success": True, "failed": True, "data": {"a": 0}},
    ],
)
def test_flags_that_say_too_little_are_no_success(said: dict[str, Any]) -> None:
    with pytest.raises(MemoriesError):
        responses.open_envelope(json.dumps(said).encode(), http_status=200, endpoint="/scraper_tag")
