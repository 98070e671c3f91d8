"""No payload makes the mapper raise anything but its three errors, nor the scrubbing anything at all."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import PayloadError, PostGone, UnknownShape, WrongPost
from blocks.posts.payloads.mapping import NULLABLE, map_post
from blocks.posts.payloads.pseudonyms import scrub_comments
from blocks.posts.platforms.registry import all_shapes
from blocks.posts.record import PostRecord, PostRef
from tests.cases import each_case

Load, Asked = Callable[[str], Any], Callable[[str], PostRef]

KEY = b"a key of this test"
NAMES = (
    *("video_graphql", "video_v1", "video_flat_camel", "video_flat_snake", "carousel_graphql", "carousel_v1"),
    *("carousel_flat_camel", "image_graphql", "tiktok_item", "tiktok_item_struct", "tiktok_slideshow_item"),
    *("youtube_item", "youtube_object", "x_tweet"),
)
COUNTS = ("plays", "views", "likes", "comments", "shares", "saves", "author_followers")

known_keys = st.sampled_from(
    sorted(
        {
            step
            for shape in all_shapes()
            for paths in shape.columns.values()
            for path in paths
            for step in path.split(".")
        }
        | {step for shape in all_shapes() for mark in shape.marks for step in mark.split(".")}
        | {
            "data",
            "items",
            "error",
            "errorCode",
            "status",
            "statusCode",
            "message",
            "comments",
            "edges",
            "node",
            "user",
        }
        | {
            "xdt_shortcode_media",
            "itemInfo",
            "itemStruct",
            "xdt_api__v1__media__shortcode__web_info",
            "replies",
            "owner",
        }
    )
)
any_text = st.text(st.characters(exclude_categories=()), max_size=12)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(),
    any_text,
    st.sampled_from(["", "0", "-1", "XDTGraphVideo", "Sidecar", "2025-11-01", "not_found", "12:34", "ok", "fail"]),
)
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known_keys | any_text, inner, max_size=5),
    max_leaves=15,
)


def check(record: PostRecord, asked: PostRef) -> None:
    """What holds for every record, whatever it was made from."""
    assert (record.platform, record.post_id) == (asked.platform, asked.post_id)
    assert set(record.null_reasons) == {column for column in NULLABLE if getattr(record, column) is None}
    for column in COUNTS:
        value = getattr(record, column)
        assert value is None or (type(value) is int and 0 <= value < 2**63), column
    assert type(record.likes_hidden) is bool
    assert record.likes is None or not record.likes_hidden
    if record.platform == "instagram" and record.media_type == "image":
        assert record.plays is record.views is record.duration_seconds is None
    for row in record.comment_rows:
        assert row.comment_id
    assert len({row.comment_id for row in record.comment_rows}) == len(record.comment_rows)
    # orjson refuses lone surrogates and numbers beyond 64 bits, as databases do.
    wire = orjson.dumps([record, record.extra])
    assert b"\\u0000" not in wire


def map_or_refuse(payload: Any, asked: PostRef) -> PostRecord | None:
    """The payload's record, or None where the mapper refuses it in one of its three ways."""
    try:
        record = map_post(payload, asked)
    except PayloadError as error:
        assert type(error) in (UnknownShape, PostGone, WrongPost)  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
        return None
    check(record, asked)
    return record


def map_scrubbed(data: Any, asked: PostRef, policy: Literal["pseudonymise", "drop"] = "pseudonymise") -> None:
    record = map_or_refuse(scrub_comments(data, policy, KEY), asked)
    authors = {row.author for row in record.comment_rows} - {None} if record is not None else set()
    assert all(author is not None and author.startswith("anon-") for author in authors)


def try_it(data: Any, asked: PostRef) -> None:
    map_or_refuse(data, asked)
    map_scrubbed(data, asked, "pseudonymise")
    map_scrubbed(data, asked, "drop")


@given(data=any_json, name=st.sampled_from(NAMES))
def test_any_json(asked: Asked, data: Any, name: str) -> None:
    try_it(data, asked(name))


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        found.extend(places(value, (*path, key)))
    return found


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with the node at the path replaced, or taken away for `...`; what is not on the way there is shared."""
    key, *further = path
    data = copy.copy(data)
    if further:
        data[key] = changed(data[key], tuple(further), value)
    elif value is ...:
        del data[key]
    else:
        data[key] = value
    return data


@given(draw=st.data(), name=st.sampled_from(NAMES))
def test_valid_payloads_with_nodes_replaced_or_gone(load: Load, asked: Asked, draw: st.DataObject, name: str) -> None:
    data = load(name)
    for _ in range(draw.draw(st.integers(min_value=1, max_value=4))):
        spots = places(data)
        if not spots:
            break
        data = changed(data, draw.draw(st.sampled_from(spots)), draw.draw(st.just(...) | any_json))
    try_it(data, asked(name))


ODD_ONES = (..., None, -1, "\x00", {"count": None})


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        data = data[step]
    return data


@each_case("name", NAMES)
def test_every_node_once_as_something_else(load: Load, asked: Asked, name: str) -> None:
    """An object or a list as each odd one, in whose place much else is looked for; a value as one of them."""
    data, ref = load(name), asked(name)
    for number, path in enumerate(places(data)):
        odd_ones = ODD_ONES if isinstance(at(data, path), dict | list) else (ODD_ONES[number % len(ODD_ONES)],)
        for value in odd_ones:
            map_scrubbed(changed(data, path, value), ref)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_every_node_as_each_odd_one(load: Load, asked: Asked, name: str) -> None:
    data, ref = load(name), asked(name)
    for path in places(data):
        for value in ODD_ONES:
            try_it(changed(data, path, value), ref)


def test_depth_does_not_matter(asked: Asked) -> None:
    node: Any = {"edges": []}
    for _ in range(2000):
        node = {"data": [{"comments": [{"replies": node}], "items": node}]}
    try_it(node, asked("video"))


def test_the_payloads_are_json(load: Load) -> None:
    for name in NAMES:
        json.dumps(load(name), allow_nan=False)
