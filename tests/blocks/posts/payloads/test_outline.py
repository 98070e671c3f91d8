"""Outlines tell the form of a payload and nothing of what stands in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blocks.posts.payloads.outline import outline, outline_difference


def test_keys_and_no_values() -> None:
    data = {
        "a": {"b": 1, "hé llo": "x", "123": {"c": None}},
        "list": [{"d": 1}, {"e": [[{"f": 2}]]}],
        "comments": [{"g": 1}],
    }
    assert outline(data) == ["a", "a.*", "a.*.c", "a.b", "comments", "list", "list[].d", "list[].e", "list[].e[][].f"]
    assert outline([{"x": 1}]) == ["[].x"]
    assert outline(None) == outline("text") == []


def test_what_an_empty_list_or_a_null_takes_with_it_is_no_change() -> None:
    full = outline({"music": {"title": "x"}, "tags": [{"name": "x"}], "n": 1})
    bare = outline({"music": None, "tags": [], "n": 1})
    assert outline_difference(full, bare) == ([], [])
    assert outline_difference(bare, full) == ([], [])


def test_a_renamed_object_is_told_by_its_own_key() -> None:
    before = outline({"media": {"owner": {"id": 1, "name": 2}, "likes": 3}})
    now = outline({"media": {"user": {"id": 1, "name": 2}, "likes": 3}})
    assert outline_difference(before, now) == (["media.owner"], ["media.user"])


def test_the_same_payload_has_the_same_outline(load: Callable[[str], Any]) -> None:
    for name in ("video_graphql", "tiktok_item", "x_tweet"):
        paths = outline(load(name))
        assert paths == sorted(set(paths))
        assert outline_difference(paths, outline(load(name))) == ([], [])
