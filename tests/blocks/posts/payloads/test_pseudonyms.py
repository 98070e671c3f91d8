"""What is kept of commenters: in every shape, nothing that names them, and all that is the post's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from blocks.posts.payloads.mapping import map_post
from blocks.posts.payloads.pseudonyms import scrub_comments
from blocks.posts.record import PostRef
from tests.cases import each_case

Load, Asked = Callable[[str], Any], Callable[[str], PostRef]

KEY = b"a key of this test"
WITH_COMMENTS = (
    "video_graphql",
    "video_v1",
    "video_flat_camel",
    "video_flat_snake",
    "tiktok_item",
    "tiktok_item_struct",
)
NAMES = ("fern.potter", "oslo_ovens", "Oslo Ovens", '"Fern"', "fern.jpg", "f.jpg", "9001", "9002", "9003")


def written(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


def without_comment_texts(data: Any) -> str:
    """The payload as text, without the texts of comments, which are kept whatever they say."""
    return written(data).replace("@fern.potter thanks", "")


@each_case("name", WITH_COMMENTS)
def test_no_commenter_is_left_in_the_payload(load: Load, asked: Asked, name: str) -> None:
    data = load(name)
    before = written(data)
    scrubbed = scrub_comments(data, "pseudonymise", KEY)
    assert written(data) == before
    assert any(one in before for one in NAMES)
    left = without_comment_texts(scrubbed)
    assert [one for one in NAMES if one in left] == []

    record, plain = map_post(scrubbed, asked(name)), map_post(data, asked(name))
    assert [row.comment_id for row in record.comment_rows] == [row.comment_id for row in plain.comment_rows]
    for row, was in zip(record.comment_rows, plain.comment_rows, strict=True):
        assert row.author is not None
        assert row.author.startswith("anon-")
        assert len(row.author) == len("anon-") + 16
        assert (row.text, row.likes, row.created_at) == (was.text, was.likes, was.created_at)


@each_case("name", WITH_COMMENTS)
@each_case("policy", ["pseudonymise", "drop"])
def test_the_post_itself_is_not_touched(load: Load, asked: Asked, name: str, policy: Any) -> None:
    record = map_post(scrub_comments(load(name), policy, KEY), asked(name))
    plain = map_post(load(name), asked(name))
    record.comment_rows = plain.comment_rows = []
    assert record == plain


@each_case("name", WITH_COMMENTS)
def test_drop_leaves_no_comment_and_all_counts(load: Load, asked: Asked, name: str) -> None:
    scrubbed = scrub_comments(load(name), "drop", KEY)
    assert map_post(scrubbed, asked(name)).comment_rows == []
    left = written(scrubbed)
    assert [text for text in ("Beautiful!", "How hot?", "thanks", "wow", *NAMES) if text in left] == []


def test_keep_keeps_all(load: Load) -> None:
    data = load("video_graphql")
    assert scrub_comments(data, "keep", KEY) is data


def test_one_person_has_one_pseudonym_in_every_shape(load: Load, asked: Asked) -> None:
    rows = [
        tuple(row.author for row in map_post(scrub_comments(load(name), "pseudonymise", KEY), asked(name)).comment_rows)
        for name in ("video_graphql", "video_v1", "video_flat_camel", "video_flat_snake")
    ]
    assert len(set(rows)) == 1
    assert len(set(rows[0])) == 3
    other = scrub_comments(load("video_graphql"), "pseudonymise", b"another key")
    assert {row.author for row in map_post(other, asked("video")).comment_rows}.isdisjoint(rows[0])


def test_the_hash_is_the_documented_one() -> None:
    data = {"comments": [{"id": "1", "username": "@Fern.Potter"}, {"id": "2", "username": "fern.potter"}]}
    one, two = scrub_comments(data, "pseudonymise", b"key")["comments"]
    # printf fern.potter | openssl dgst -sha256 -hmac key
    assert one["username"] == two["username"] == "anon-ba3d369275e7c37b"


@each_case("name", WITH_COMMENTS)
@each_case("policy", ["pseudonymise", "drop"])
def test_twice_is_once(load: Load, name: str, policy: Any) -> None:
    once = scrub_comments(load(name), policy, KEY)
    assert scrub_comments(once, policy, KEY) == once


def test_keys_that_nobody_knows_let_no_name_through() -> None:
    comment = {
        "id": "1",
        "text": "hello",
        "display_name_v2": "Fern Potter",
        "badge": {"label": "Fern Potter"},
        "mentioned": ["Fern Potter"],
        "user_number": 9001,
        "user": {"username": "fern.potter", "display_name_v2": "Fern Potter", "nested": {"id": 9001}},
        "author": "Fern Potter",
        "likes_count": 4,
        "edge_liked_by": {"count": 3, "edges": [{"node": {"username": "oslo_ovens"}}]},
        "replies": {"count": 1, "edges": [{"cursor": "9001", "node": {"id": "2", "text": "hi", "uid": 9001}}]},
    }
    (scrubbed,) = scrub_comments({"comments": [comment]}, "pseudonymise", KEY)["comments"]
    assert [one for one in ("Fern", "fern", "9001", "oslo") if one in written(scrubbed)] == []
    assert scrubbed["id"] == "1"
    assert scrubbed["text"] == "hello"
    assert scrubbed["likes_count"] == 4
    assert scrubbed["edge_liked_by"] == {"count": 3}
    assert scrubbed["replies"]["edges"][0]["node"]["text"] == "hi"


def test_a_count_called_comments_stays() -> None:
    assert scrub_comments({"comments": 7, "nested": [{"comments": "7"}]}, "pseudonymise", KEY) == {
        "comments": 7,
        "nested": [{"comments": "7"}],
    }


@each_case("policy", ["keep", "pseudonymise", "drop"])
def test_counts_that_came_as_text_stay(media: Callable[..., Any], asked: Asked, policy: Any) -> None:
    comment = {"node": {"id": "1", "text": "hi", "owner": {"username": "fern.potter"}, "edge_liked_by": {"count": "5"}}}
    for edges in ([], [comment]):
        node = media(
            edge_media_to_parent_comment={"count": "487", "edges": edges},
            edge_media_preview_comment={"count": 3, "edges": []},
        )
        record = map_post(scrub_comments(node, policy, KEY), asked("video"))
        assert record.comments == 487
        assert [row.likes for row in record.comment_rows] == ([] if policy == "drop" else [5] * len(edges))


def test_only_numbers_stay_of_texts_called_counts() -> None:
    comment = {
        "id": "1",
        "likesCount": "4",
        "likeCount": "Fern Potter",
        "account": "9001",
        "edge_liked_by": {"count": "Fern"},
    }
    container = {"count": "1", "total_count": "Fern Potter", "account": "9001", "edges": [{"node": comment}]}
    scrubbed = scrub_comments({"comments": container}, "pseudonymise", KEY)["comments"]
    kept = {"id": "1", "likesCount": "4", "edge_liked_by": {"count": None}}
    assert scrubbed == {"count": "1", "edges": [{"node": kept}]}
    assert scrub_comments({"comments": container}, "drop", KEY)["comments"] == {"count": "1", "edges": []}


@each_case("policy", ["pseudonymise", "drop"])
def test_where_nobody_commented_the_payload_itself_comes_back(load: Load, policy: Any) -> None:
    for name in ("image_graphql", "carousel_v1", "youtube_item", "x_tweet"):
        data = load(name)
        assert scrub_comments(data, policy, KEY) is data
    empty = {"edge_media_to_comment": {"count": 3, "page_info": {"end_cursor": "abc"}, "edges": []}}
    assert scrub_comments(empty, policy, KEY) is empty
    as_text = {"edge_media_to_comment": {"count": "3", "edges": []}}
    assert scrub_comments(as_text, policy, KEY) is as_text


@each_case(
    "container",
    [
        {"0": {"id": "1", "username": "fern.potter"}},
        {"id": "1", "username": "fern.potter"},
        {"count": 1, "edges": {"node": {"username": "fern.potter"}}},
        ["fern.potter"],
        [["fern.potter"]],
    ],
)
def test_comments_in_an_unknown_form_are_not_kept(container: Any) -> None:
    for policy in ("pseudonymise", "drop"):
        scrubbed = scrub_comments({"comments": container, "caption": "x"}, policy, KEY)  # type: ignore[arg-type]
        assert "fern" not in written(scrubbed)
        assert scrubbed["caption"] == "x"


def deep(levels: int) -> Iterator[Any]:
    for start in ([], {}):
        node: Any = start
        for _ in range(levels):
            node = {"comments": [{"replies": [node]}]} if isinstance(start, dict) else [node]
        yield node


def test_depth_does_not_matter() -> None:
    for node in deep(3000):
        for policy in ("pseudonymise", "drop"):
            scrub_comments(node, policy, KEY)  # type: ignore[arg-type]
