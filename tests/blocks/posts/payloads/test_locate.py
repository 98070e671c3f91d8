"""Which post a payload is about, when it is gone, and what is of no known shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from blocks.errors import PayloadError, PostGone, UnknownShape, WrongPost
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.mapping import map_post
from blocks.posts.record import PostRef
from tests.cases import each_case

Load, Asked, Media = Callable[[str], Any], Callable[[str], PostRef], Callable[..., Any]

NULL_MEDIA = {"data": {"xdt_shortcode_media": None}, "extensions": {"is_final": True}, "status": "ok"}


@each_case(
    "data",
    [
        None,
        NULL_MEDIA,
        {"xdt_shortcode_media": None},
        {"data": NULL_MEDIA},
        [NULL_MEDIA],
        {"graphql": {"shortcode_media": None}},
        {"data": {"xdt_api__v1__media__shortcode__web_info": None}},
        [
            {
                "url": "https://www.instagram.com/p/DQk1lnGlaz3/",
                "error": "not_found",
                "errorDescription": "Post does not exist",
            }
        ],
        [{"errorCode": "POST_NOT_FOUND_OR_PRIVATE", "error": "Post not found or private"}],
        {"message": "Media not found or unavailable", "status": "fail"},
        [{"error": "POST_NOT_FOUND"}],
        [{"errorCode": "VideoNotFound"}],
        [{"error": "The post you asked for does not exist"}],
        [{"error": "Post https://www.instagram.com/p/some-run-1/ was not found"}],
        [{"error": "This video is private"}],
        [{"errorDescription": "Private video"}],
        [{"errorDescription": "The author deleted this post"}],
        [{"errorDescription": "Tweet is no longer available"}],
        [{"errorDescription": "Sorry, this page has been removed"}],
        {"status": "fail", "message": "item doesn't exist"},
        {"detail": "Media not found or unavailable", "exc_type": "MediaNotFound"},
        {"error": "This video is unavailable"},
        {"message": "Sorry, this page isn't available."},
        {"response": {"body": {"xdt_shortcode_media": None}}},
    ],
)
def test_gone_is_what_says_so(asked: Asked, data: Any) -> None:
    with pytest.raises(PostGone):
        map_post(data, asked("video"))


@each_case("status", [10204, 10216, 10222])
def test_tiktok_says_it_by_number(asked: Asked, status: int) -> None:
    with pytest.raises(PostGone):
        map_post({"itemInfo": {}, "statusCode": status, "statusMsg": "item doesn't exist"}, asked("tiktok_item"))


@each_case(
    "data",
    [
        [],
        {},
        [{}],
        [[]],
        {"data": None},
        {"data": []},
        "text",
        5,
        True,
        {"message": "Please wait a few minutes before you try again.", "status": "fail"},
        {"data": {"xdt_shortcode_media": None}, "errors": [{"message": "execution error"}], "status": "ok"},
        {"data": {"xdt_shortcode_media": None}, "status": "fail"},
        [{"error": "no_items", "errorDescription": "Empty or private data for provided input"}],
        [{"error": "blocked", "requestErrorMessages": ["Request blocked - 403"]}],
        {"xdt_shortcode_media": {}},
        {"xdt_shortcode_media": "gone"},
        [{"error": "Actor run not found"}],
        [{"error": "API token not found"}],
        [{"error": "ACTOR_NOT_FOUND"}],
        {"error": "Could not connect: private proxy pool is exhausted"},
        {"errorDescription": "This actor version was removed, please upgrade"},
        {"status": "fail", "message": "login session not found"},
        {"error": "Dataset not found"},
        {"error": "Not found"},
        [{"error": "not_found", "errorDescription": "Actor run not found"}],
        [{"error": "Post not found by actor run 12"}],
        [{"error": "POST endpoint not found"}],
        [{"error": "Video transcript not found"}],
        [{"error": "Post not found, or the request was blocked: try again later"}],
        [{"error": "Could not open the page: element not found"}],
        [{"error": "not_found"}],
        {"error": "status 404 not found"},
        {"errorDescription": "Video service unavailable"},
        {"data": {"xdt_api__v1__media__shortcode__web_info": {"items": []}}, "status": "ok"},
        {"kind": "youtube#videoListResponse", "items": [], "pageInfo": {"totalResults": 0}},
        {"code": -1, "msg": "Url parsing is failed! Please check url."},
        {"detail": "Your account was suspended"},
        {"message": "This video is not available in your country"},
        # A mark that names another post says nothing of the asked one.
        [{"inputUrl": "https://www.instagram.com/p/DQother0000/", "error": "Post not found"}],
        # What somebody wrote is no mark, wherever it stands.
        {"feed": {"list": {"of": {"items": {"message": "my post was deleted"}}}}},
    ],
)
def test_what_does_not_say_so_can_be_tried_again(asked: Asked, data: Any) -> None:
    with pytest.raises(UnknownShape):
        map_post(data, asked("video"))


def test_an_unknown_shape_tells_its_keys(asked: Asked) -> None:
    with pytest.raises(UnknownShape) as caught:
        map_post({"zeta": 1, "alpha": {"inner": 2}}, asked("video"))
    assert caught.value.keys == ["alpha", "zeta"]
    with pytest.raises(UnknownShape) as caught:
        map_post({"data": {"users": {"harbour.kiln": {"likes": 5}}}}, asked("video"))
    assert caught.value.keys == ["data", "data.users"]
    with pytest.raises(UnknownShape) as caught:
        map_post({"data": {"polaris_media\x00": {}}, "status": "ok"}, asked("video"))
    assert caught.value.keys == ["data", "data.polaris_media\N{REPLACEMENT CHARACTER}", "status"]
    assert "polaris_media" in str(caught.value)


def test_a_payload_of_another_platform_has_no_shape(load: Load, asked: Asked) -> None:
    with pytest.raises(PayloadError):
        map_post(load("tiktok_item"), asked("video"))
    with pytest.raises(PayloadError):
        map_post(load("video_graphql"), asked("tiktok_item"))


@each_case(
    ("name", "url"),
    [
        ("video_graphql", "https://www.instagram.com/p/DQother0000/"),
        ("video_v1", "https://www.instagram.com/p/DQother0000/"),
        ("video_flat_camel", "https://www.instagram.com/p/DQother0000/"),
        ("tiktok_item", "https://www.tiktok.com/player/v1/7560000000000000124"),
        ("tiktok_item_struct", "https://www.tiktok.com/player/v1/7560000000000000124"),
        ("youtube_item", "https://youtu.be/otherV1deo0"),
        ("x_tweet", "https://x.com/i/status/1989000000000000002"),
    ],
)
def test_another_post_is_refused(load: Load, name: str, url: str) -> None:
    with pytest.raises(WrongPost, match="not about"):
        map_post(load(name), parse_post_url(url))


def test_a_node_without_identity_is_nobodys(load: Load, media: Media, asked: Asked) -> None:
    with pytest.raises(UnknownShape):
        map_post(media(id=..., shortcode=...), asked("video"))
    # But for the one form that is known to come without, if nothing else is in the answer.
    bare = load("youtube_object")
    del bare["id"]
    assert map_post(bare, asked("youtube")).views == 35_582_192
    assert map_post({"result": [bare]}, asked("youtube")).views == 35_582_192
    with pytest.raises(UnknownShape):
        map_post([bare, bare], asked("youtube"))
    with pytest.raises(WrongPost):
        map_post([bare, {**bare, "videoId": "otherV1deo0"}], asked("youtube"))
    item = load("youtube_item")
    for key in ("id", "url"):
        del item[0][key]
    with pytest.raises(UnknownShape):
        map_post(item, asked("youtube"))


@each_case(
    "changes",
    [
        {"id": "3757363670205967607_4100200", "shortcode": ...},
        {"id": 3757363670205967607, "shortcode": ...},
        {"id": ..., "shortcode": "DQk1lnGlaz3"},
        {"id": "17911111111111111", "shortcode": "DQk1lnGlaz3"},
        {"id": ..., "shortcode": "no such code!", "url": "https://instagram.com/reel/DQk1lnGlaz3/?igsh=1"},
    ],
)
def test_the_forms_in_which_the_identity_stands(media: Media, asked: Asked, changes: dict[str, Any]) -> None:
    assert map_post(media(**changes), asked("video")).post_id == "3757363670205967607"


def test_a_shortcode_of_another_post_is_enough_to_refuse(media: Media, asked: Asked) -> None:
    with pytest.raises(WrongPost):
        map_post(media(id=..., shortcode="DQother0000"), asked("video"))


def test_of_several_items_the_asked_one_is_taken(load: Load, asked: Asked) -> None:
    other = load("tiktok_slideshow_item")[0]
    record = map_post([other, load("tiktok_item")[0]], asked("tiktok_item"))
    assert record.plays == 4_300_000_000
    with pytest.raises(WrongPost):
        map_post([other, other], asked("tiktok_item"))


def test_a_record_names_the_public_code_whatever_was_asked_for(media: Media) -> None:
    private = "DQk1lnGlaz3" + "BfS3I2PpqsNkxElV9DXj61vzo5x0"
    url, post_id = f"https://www.instagram.com/p/{private}/", "3757363670205967607"
    # Rows may hold the long code from before.
    for asked in (parse_post_url(url), PostRef("instagram", post_id, url, private)):
        for node in (media(), media(shortcode=private)):
            record = map_post(node, asked)
            assert (record.shortcode, record.post_id) == ("DQk1lnGlaz3", post_id)
            assert record.url == "https://www.instagram.com/p/DQk1lnGlaz3/"


def test_a_tiktok_url_learns_its_handle_only_if_it_is_one(load: Load, asked: Asked) -> None:
    item = load("tiktok_item")
    item[0]["authorMeta"]["name"] = "no handle/../x"
    assert map_post(item, asked("tiktok_item")).url == "https://www.tiktok.com/player/v1/7560000000000000123"
