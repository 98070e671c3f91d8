"""Whose numbers a payload holds: the asked post's, wherever they stand, and nobody else's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from blocks.errors import PayloadError, PostGone, UnknownShape, WrongPost
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads import locate as locating
from blocks.posts.payloads.locate import locate
from blocks.posts.payloads.mapping import map_post
from blocks.posts.record import PostRef
from tests.cases import each_case

REEL = parse_post_url("https://www.instagram.com/p/DQk1lnGlaz3/")
CLIP = parse_post_url("https://www.tiktok.com/@harbour.kiln/video/7560000000000000123")
VIDEO = parse_post_url("https://www.youtube.com/watch?v=k1lnV1deo_0")
STATUS = parse_post_url("https://x.com/harbour/status/1989000000000000001")

ITEM = {"caption": "clay", "likesCount": 5, "commentsCount": 2, "ownerUsername": "fern", "type": "Video"}
OTHER = "https://www.instagram.com/p/DQother0000/"
TWEET = {"text": "clay", "likeCount": 5, "viewCount": 9, "createdAt": "Sun Nov 16 03:42:05 +0000 2025"}
AWEME = {"desc": "clay", "create_time": 1_762_000_000, "statistics": {"digg_count": 5, "play_count": 9}}
PLAYER = {"title": "t", "description": "d", "lengthSeconds": "12", "viewCount": "99", "channel": {"name": "F"}}


@each_case(
    "own",
    [
        {"url": REEL.url},
        {"url": "https://instagram.com/fern/reel/DQk1lnGlaz3/?igsh=1"},
        {"permalink": REEL.url, "id": "17900000000000001"},
        {"postUrl": REEL.url},
        {"shortCode": "DQk1lnGlaz3", "id": "17900000000000001"},
        {"id": 3757363670205967607},
        {"id": "3757363670205967607_4100200", "inputUrl": REEL.url},
        {"id": None, "url": REEL.url},
    ],
)
def test_an_item_is_known_by_its_id_its_code_or_its_own_address(own: dict[str, Any]) -> None:
    assert map_post([ITEM | own], REEL).likes == 5


@each_case(
    "own",
    [
        {"url": OTHER},
        {"url": OTHER, "id": "3757363670205967607"},
        {"url": REEL.url, "shortCode": "DQother0000"},
        {"url": REEL.url, "inputUrl": OTHER},
        {"inputUrl": OTHER},
        # An impossible id makes it nobody's, whatever else stands there.
        {"id": -1, "url": REEL.url},
        {"id": 0, "url": REEL.url},
        {"id": "", "url": REEL.url},
        {"id": "mock", "url": REEL.url},
        {"id": -1.0, "url": REEL.url},
        {"id": -(10**30), "url": REEL.url},
        {"type": "mock_post", "id": "3757363670205967607"},
        {"pk": "-1", "shortCode": "DQk1lnGlaz3"},
        # A comment tells the address of the post that it stands under.
        {"id": "18", "postUrl": REEL.url},
    ],
)
def test_an_item_of_another_post_or_of_none_is_refused(own: dict[str, Any]) -> None:
    with pytest.raises(WrongPost):
        map_post([ITEM | own], REEL)


@each_case("own", [{}, {"inputUrl": REEL.url}, {"query": REEL.url}, {"url": "https://cdn.example.invalid/x.mp4"}])
def test_what_only_repeats_the_question_confirms_nothing(own: dict[str, Any]) -> None:
    with pytest.raises(UnknownShape):
        map_post([ITEM | own], REEL)


def test_counts_that_repeat_the_asked_id_stay_those_of_the_post_around_them() -> None:
    counts = {"aweme_id": CLIP.post_id, "digg_count": 5, "play_count": 9, "share_count": 1}
    elsewhere = {"share_info": {"share_url": "https://www.tiktok.com/@moss/video/7560000000000000999"}}
    assert map_post({**AWEME, "aweme_id": CLIP.post_id, "statistics": counts}, CLIP).likes == 5
    with pytest.raises(WrongPost):
        map_post({**AWEME, "aweme_id": CLIP.post_id, "statistics": counts, **elsewhere}, CLIP)


def test_a_placeholder_for_no_result_has_no_numbers() -> None:
    item = {**TWEET, "type": "mock_tweet", "id": -1, "url": "https://x.com/other/status/1846000000000000001"}
    for placeholder in (item, {**item, "url": STATUS.url}, {**item, "id": STATUS.post_id}, {**item, "type": "tweet"}):
        with pytest.raises(WrongPost):
            map_post([placeholder], STATUS)


def test_a_number_that_lost_its_last_digits_is_neither_the_asked_one_nor_another() -> None:
    rounded = {**TWEET, "id": 1_989_000_000_000_000_000}
    assert map_post({**rounded, "id_str": STATUS.post_id}, STATUS).likes == 5
    assert map_post({**rounded, "url": STATUS.url}, STATUS).likes == 5
    with pytest.raises(UnknownShape):
        map_post(rounded, STATUS)
    with pytest.raises(WrongPost):
        map_post({**rounded, "id": 1_989_000_000_000_010_000}, STATUS)
    # As text it has lost nothing.
    with pytest.raises(WrongPost):
        map_post({**rounded, "id": "1989000000000000000"}, STATUS)


@each_case(
    "comments",
    [
        [{"cid": "1", "aweme_id": CLIP.post_id, "text": "t", "digg_count": 4, "create_time": 1_762_000_000}],
        [{"videoWebUrl": CLIP.url, "cid": "1", "text": "t", "diggCount": 4, "uniqueId": "x"}],
        {"comments": [{"id": CLIP.post_id, "text": "t", "diggCount": 4, "createTime": 1_762_000_000}], "total": 9},
    ],
)
def test_the_likes_of_a_comment_are_not_the_posts(comments: Any) -> None:
    with pytest.raises(UnknownShape):
        map_post(comments, CLIP)


@each_case(
    "keys",
    [
        ("media_or_ad",),
        ("node",),
        ("__bbox", "result", "data", "media"),
        ("response", "body", "output", "value"),
        ("threaded.conversation", "0"),
        ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"),
    ],
)
def test_below_unknown_keys_the_node_that_names_the_post_is_found(keys: tuple[str, ...]) -> None:
    asked, other = {**ITEM, "id": REEL.post_id}, {**ITEM, "shortCode": "DQother0000", "likesCount": 77}
    for node in (asked, [other, asked], {"first": other, "second": {"it": asked}}):
        data: Any = node
        for key in reversed(keys):
            data = {key: data, "status": "ok", "others": [{**other, "likesCount": 99}]}
        assert map_post(data, REEL).likes == 5
    with pytest.raises(PayloadError):
        map_post({keys[0]: other}, REEL)


def test_of_several_nodes_that_name_the_post_the_fullest_counts() -> None:
    aweme = {**AWEME, "aweme_id": CLIP.post_id, "author": {"unique_id": "fern"}}
    aweme["statistics"] = {**AWEME["statistics"], "aweme_id": CLIP.post_id}  # type: ignore[dict-item]
    wrapped = {"id": CLIP.post_id, "url": CLIP.url, "desc": "clay", "result": {"aweme_detail": aweme}}
    record = map_post(wrapped, CLIP)
    assert (record.shape, record.plays, record.author_username) == ("tiktok_aweme", 9, "fern")


def test_the_asked_post_quoted_by_another_has_its_own_numbers() -> None:
    outer = {**TWEET, "id": "1989000000000000999", "quotedTweet": {**TWEET, "id": STATUS.post_id, "likeCount": 77}}
    assert map_post([outer], STATUS).likes == 77


def test_a_form_that_comes_without_identity_must_be_alone_and_nobody_elses() -> None:
    assert map_post({"data": PLAYER}, VIDEO).views == 99
    refused = (
        [PLAYER, PLAYER],
        {"url": "https://youtu.be/otherV1deo0", "data": PLAYER},
        {**PLAYER, "inputUrl": "https://youtu.be/otherV1deo0"},
        {**PLAYER, "relatedVideos": [{**PLAYER, "videoId": "otherV1deo0"}]},
        {key: value for key, value in PLAYER.items() if key != "viewCount"},
    )
    for data in refused:
        with pytest.raises(PayloadError):
            map_post(data, VIDEO)


@each_case(
    ("asked", "data"),
    [
        (STATUS, {"data": {"tweetResult": {"result": {"__typename": "TweetUnavailable", "reason": "Suspended"}}}}),
        (STATUS, {"__typename": "TweetTombstone", "tombstone": {"text": {"text": "This Post is unavailable."}}}),
        (STATUS, {"errors": [{"value": "1", "detail": "Could not find tweet with id: [1].", "title": "Not Found"}]}),
        (VIDEO, {"responseContext": {}, "playabilityStatus": {"status": "ERROR", "reason": "Video unavailable"}}),
        (
            VIDEO,
            {
                "playabilityStatus": {
                    "status": "ERROR",
                    "reason": "This video is no longer available because the YouTube account associated with this "
                    "video has been terminated.",
                }
            },
        ),
        (
            VIDEO,
            {"playabilityStatus": {"status": "LOGIN_REQUIRED", "reason": "This is a private video. Please log in"}},
        ),
        (
            VIDEO,
            {
                "playabilityStatus": {"status": "ERROR", "reason": "Video unavailable"},
                "videoDetails": {"videoId": VIDEO.post_id},
            },
        ),
        (VIDEO, {"error": "This video has been removed by the uploader"}),
        (VIDEO, {"error": "This video has been removed for violating YouTube's Terms of Service"}),
        (VIDEO, {"error": "This video is not available: the uploader has closed their YouTube account."}),
        (STATUS, {"errors": [{"code": 144, "message": "No status found with that ID."}]}),
        (CLIP, {"aweme_detail": None, "filter_detail": {"aweme_id": CLIP.post_id, "notice": "Video unavailable"}}),
    ],
)
def test_marks_of_the_platforms_say_that_the_post_is_gone(asked: PostRef, data: Any) -> None:
    with pytest.raises(PostGone):
        map_post(data, asked)


@each_case(
    ("asked", "data"),
    [
        (STATUS, {"data": {"tweetResult": {}}}),
        (STATUS, {"data": {"tweetResult": {"result": {"__typename": "TweetUnavailable", "reason": "NsfwLoggedOut"}}}}),
        (STATUS, {"__typename": "TweetTombstone", "tombstone": {"text": {"text": "Age-restricted adult content."}}}),
        (VIDEO, {"playabilityStatus": {"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm you are not a bot"}}),
        (VIDEO, {"playabilityStatus": {"status": "UNPLAYABLE", "reason": "Video unavailable in your country"}}),
        (VIDEO, {"items": []}),
        (VIDEO, {"error": "Your account has been terminated"}),
        (VIDEO, {"error": "Video not available: the terms of service of this API were not accepted"}),
        (CLIP, {"aweme_detail": None, "status_code": 0}),
    ],
)
def test_what_is_there_but_not_for_whoever_asked_can_be_tried_again(asked: PostRef, data: Any) -> None:
    with pytest.raises(UnknownShape):
        map_post(data, asked)


def test_a_mark_beside_another_posts_numbers_is_not_about_the_asked_one() -> None:
    with pytest.raises(WrongPost):
        map_post([{"error": "Post not found"}, {**ITEM, "url": OTHER}], REEL)


def _work(data: Any, **bounds: int) -> int:
    """How many calls of Python functions it takes to find that the asked post is not there."""
    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        locate(data, REEL, **bounds)
    except PayloadError:
        pass
    finally:
        sys.setprofile(None)
    return calls


def _nested(levels: int) -> Any:
    node: Any = dict(ITEM)
    for _ in range(levels):
        node = {**ITEM, "inner": node, "again": [node]}
    return node


MANY: dict[str, Callable[[int], Any]] = {
    "items": lambda size: [{**ITEM, "url": OTHER} for _ in range(size)],
    "empty objects": lambda size: [{} for _ in range(size)],
    "errors": lambda size: {"errors": [{"message": "not found " * 50} for _ in range(size)]},
    "keys": lambda size: {f"k{number}": {"caption": "x"} for number in range(size)},
    "a chain": lambda size: _chain(size),
    "typed keys": lambda size: {"node": {f"1l{number}like_count": {"1lx_y": 1} for number in range(size)}},
}


def _chain(size: int) -> Any:
    node: Any = {"caption": "x"}
    for _ in range(size):
        node = {"a": node}
    return node


@each_case("kind", MANY)
def test_the_search_takes_linear_time(kind: str) -> None:
    small, large = _work(MANY[kind](100)), _work(MANY[kind](200))
    assert large < 2.3 * small + 500


def test_the_search_is_bounded_however_large_the_answer_is() -> None:
    bounds = {"max_places": 200}
    items = [{**ITEM, "url": OTHER}]
    assert _work(items * 2_000, **bounds) < 1.1 * _work(items * 300, **bounds)
    # Each level twice in the next one: 2^8 nodes, and 2^12.
    assert _work(_nested(12), **bounds) < 1.5 * _work(_nested(8), **bounds)


def test_the_search_is_bounded_in_depth() -> None:
    def wrapped(levels: int) -> Any:
        node: Any = {**ITEM, "url": REEL.url}
        for _ in range(levels):
            node = {"a": node}
        return node

    assert map_post(wrapped(locating.MAX_DEPTH), REEL).likes == 5
    for levels in (locating.MAX_DEPTH + 1, 5_000):
        with pytest.raises(UnknownShape):
            map_post(wrapped(levels), REEL)
