"""The same invented post, written in every shape of its platform, is the same row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from blocks.posts.payloads.mapping import map_post
from blocks.posts.record import PostRecord, PostRef
from tests.cases import each_case

Load, Asked, Mapped = Callable[[str], Any], Callable[[str], PostRef], Callable[[str], PostRecord]


def row(record: PostRecord) -> dict[str, Any]:
    """All that has to be the same; `extra` holds what only one shape has."""
    columns = asdict(record)
    del columns["shape"]
    columns["children"] = columns.pop("extra").get("children")
    return columns


@each_case(
    ("name", "other", "shape"),
    [
        ("video_graphql", "video_v1", "instagram_v1"),
        ("video_graphql", "video_flat_camel", "instagram_flat"),
        ("video_graphql", "video_flat_snake", "instagram_flat"),
        ("carousel_graphql", "carousel_v1", "instagram_v1"),
        ("carousel_graphql", "carousel_flat_camel", "instagram_flat"),
        ("image_graphql", "image_v1", "instagram_v1"),
        ("image_graphql", "image_flat_camel", "instagram_flat"),
        ("tiktok_item", "tiktok_item_struct", "tiktok_item_struct"),
        ("tiktok_slideshow_item", "tiktok_slideshow_item_struct", "tiktok_item_struct"),
    ],
)
def test_same_post_same_row(mapped: Mapped, name: str, other: str, shape: str) -> None:
    one, two = mapped(name), mapped(other)
    assert two.shape == shape != one.shape
    assert row(one) == row(two)
    for key in one.extra.keys() & two.extra.keys():
        assert one.extra[key] == two.extra[key], key


def _graphql(node: Any) -> dict[str, Any]:
    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [renamed(inner) for inner in value]
        return value.removeprefix("XDT") if isinstance(value, str) and value.startswith("XDTGraph") else value

    changed: dict[str, Any] = renamed(node)
    return changed


WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    "data.data": lambda node: {"data": {"data": {"xdt_shortcode_media": node}, "status": "ok"}},
    "data": lambda node: {"data": {"xdt_shortcode_media": node}},
    "graphql": lambda node: {"graphql": {"shortcode_media": node}},
    "without prefix": lambda node: {"shortcode_media": _graphql(node)},
    "bare": lambda node: node,
    "list": lambda node: [node],
    "list of wrapped": lambda node: [{"data": {"xdt_shortcode_media": node}}],
}


@each_case("wrapping", WRAPPINGS)
def test_what_stands_around_the_node_changes_nothing(load: Load, asked: Asked, mapped: Mapped, wrapping: str) -> None:
    node = load("video_graphql")["data"]["xdt_shortcode_media"]
    record = map_post(WRAPPINGS[wrapping](node), asked("video"))
    assert row(record) == row(mapped("video_graphql"))


@each_case("wrapping", ["bare", "list", "items", "data.items"])
def test_what_stands_around_a_v1_item_changes_nothing(load: Load, asked: Asked, mapped: Mapped, wrapping: str) -> None:
    item = load("video_v1")["data"]["xdt_api__v1__media__shortcode__web_info"]["items"][0]
    data: dict[str, Any] = {
        "bare": item,
        "list": [item],
        "items": {"items": [item]},
        "data.items": {"data": {"items": [item]}},
    }
    assert row(map_post(data[wrapping], asked("video"))) == row(mapped("video_v1"))


@each_case("wrapping", ["itemInfo", "itemStruct", "bare", "data", "list"])
def test_what_stands_around_an_item_struct_changes_nothing(
    load: Load, asked: Asked, mapped: Mapped, wrapping: str
) -> None:
    item = load("tiktok_item_struct")["itemInfo"]["itemStruct"]
    data: dict[str, Any] = {
        "itemInfo": {"itemInfo": {"itemStruct": item}, "statusCode": 0},
        "itemStruct": {"itemStruct": item},
        "bare": item,
        "data": {"data": {"itemInfo": {"itemStruct": item}}},
        "list": [item],
    }
    assert row(map_post(data[wrapping], asked("tiktok_item"))) == row(mapped("tiktok_item"))


@each_case(
    ("likes", "comments"),
    [
        ("edge_media_preview_like", "edge_media_to_parent_comment"),
        ("edge_liked_by", "edge_media_to_comment"),
        ("edge_liked_by", "edge_media_preview_comment"),
    ],
)
def test_likes_and_comments_stand_under_several_names(
    media: Callable[..., Any], asked: Asked, likes: str, comments: str
) -> None:
    changes: dict[str, Any] = dict.fromkeys(
        ("edge_media_preview_like", "edge_liked_by", "edge_media_to_parent_comment", "edge_media_preview_comment"), ...
    )
    node = media(**changes | {likes: {"count": 7}, comments: {"count": 3, "edges": []}})
    record = map_post(node, asked("video"))
    assert (record.likes, record.comments) == (7, 3)


def test_media_type_is_told_by_more_than_the_typename(media: Callable[..., Any], asked: Asked) -> None:
    def told(**changes: Any) -> str | None:
        return map_post(media(__typename=..., **changes), asked("video")).media_type

    assert told() == "video"
    assert told(is_video=...) == "video"
    assert told(is_video=..., product_type=...) == "video"
    still = {"video_url": ..., "video_duration": ..., "product_type": ...}
    assert told(is_video=False, **still) == "image"
    assert told(is_video=..., **still) is None
    assert told(is_video=False, edge_sidecar_to_children={"edges": [{"node": {}}]}) == "carousel"
