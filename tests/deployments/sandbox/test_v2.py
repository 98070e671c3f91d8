"""Metadata over real sockets: every platform, every channel, every kind of post."""

from __future__ import annotations

import pytest

from deployments.sandbox.addresses import code_of_number, number_of_code, read_address


def _media(api, url: str):
    return api.metadata(url).json()["data"]["data"]["xdt_shortcode_media"]


def _instagram(api, count: int = 24):
    return [_media(api, url) for url in api.urls(2 * count) if "instagram" in url]


@pytest.mark.parametrize(
    "url",
    [
        "https://www.instagram.com/p/DABCDEFGHIj/",
        "https://instagram.com/reel/DABCDEFGHIj",
        "https://m.instagram.com/reels/DABCDEFGHIj/?utm=1",
        "https://www.instagram.com/tv/DABCDEFGHIj/",
        "https://www.instagram.com/pippa.fogbrook.3/reel/DABCDEFGHIj/",
        "instagram.com/p/DABCDEFGHIj/",
    ],
)
def test_every_form_of_an_instagram_url_gives_one_post(api, url):
    media = _media(api, url)
    assert media["shortcode"] == "DABCDEFGHIj"
    assert media["id"] == str(number_of_code("DABCDEFGHIj"))
    assert media == _media(api, "https://www.instagram.com/p/DABCDEFGHIj/")


def test_a_private_posts_long_code_keeps_its_number(api):
    media = _media(api, "https://www.instagram.com/p/DABCDEFGHIjKLMNOPQRSTUVWXYZ0/")
    assert media["shortcode"] == "DABCDEFGHIjKLMNOPQRSTUVWXYZ0"
    assert media["id"] == str(number_of_code("DABCDEFGHIj"))


def test_codes_and_numbers_are_each_others_inverse():
    assert code_of_number(number_of_code("DABCDEFGHIj")) == "DABCDEFGHIj"
    assert number_of_code("B") == 1
    assert number_of_code("BA") == 64
    assert number_of_code("_") == 63


def test_instagram_shows_every_kind_of_post(api):
    all_media = _instagram(api)
    kinds = {media["__typename"] for media in all_media}
    assert {"XDTGraphVideo", "XDTGraphImage", "XDTGraphSidecar", "GraphVideo"} == kinds

    def some(condition) -> bool:
        return any(condition(media) for media in all_media)

    assert some(lambda m: m["like_and_view_counts_disabled"] and m["edge_media_preview_like"]["count"] == -1)
    assert some(lambda m: m["edge_media_to_caption"]["edges"] == [])
    assert some(lambda m: m.get("video_view_count") == 0 and m.get("video_play_count", 0) > 0)
    assert some(lambda m: m["edge_media_to_tagged_user"]["edges"] and m["location"])
    assert some(lambda m: m["coauthor_producers"])
    assert some(lambda m: m.get("is_paid_partnership") and m["edge_media_to_sponsor_user"]["edges"])
    assert some(lambda m: m["comments_disabled"])
    assert some(lambda m: m.get("has_audio") is False)
    assert some(lambda m: m["is_video"] and "video_play_count" not in m and "edge_media_to_comment" in m)
    assert some(lambda m: m.get("edge_media_to_parent_comment", {}).get("edges"))
    images = [m for m in all_media if m["__typename"] == "XDTGraphImage"]
    assert all("video_play_count" not in m and "video_view_count" not in m for m in images)


def test_instagrams_times_have_their_own_types(api):
    media = next(m for m in _instagram(api) if m.get("edge_media_to_parent_comment", {}).get("edges"))
    assert isinstance(media["taken_at_timestamp"], int)
    assert isinstance(media["edge_media_to_caption"]["edges"][0]["node"]["created_at"], str)
    assert isinstance(media["edge_media_to_parent_comment"]["edges"][0]["node"]["created_at"], int)


def test_captions_name_the_hashtag_and_come_in_many_scripts(api):
    texts = [
        m["edge_media_to_caption"]["edges"][0]["node"]["text"]
        for m in _instagram(api)
        if m["edge_media_to_caption"]["edges"]
    ]
    assert all("#kites" in text for text in texts)
    joined = "".join(texts)
    assert any(ord(letter) > 0xFFFF for letter in joined)
    assert any("぀" <= letter <= "鿿" for letter in joined)


def test_tiktok_is_a_list_through_apify_and_an_object_through_the_others(api):
    url = next(url for url in api.urls(4) if "tiktok" in url)
    (item,) = api.metadata(url, "apify").json()["data"]
    post_id = url.rsplit("/", 1)[1]
    assert item["id"] == post_id
    assert item["webVideoUrl"] == f"https://www.tiktok.com/@{item['authorMeta']['name']}/video/{post_id}"
    for channel in ("rapid", "memories.ai"):
        struct = api.metadata(url, channel).json()["data"]["itemInfo"]["itemStruct"]
        assert struct["id"] == post_id
        assert struct["stats"]["playCount"] == item["playCount"]
        assert struct["author"]["uniqueId"] == item["authorMeta"]["name"]


def test_more_plays_than_32_bits_can_count_are_a_scenario_of_their_own(api, start):
    extreme = start("extremes")
    for caller, wanted in ((api, False), (extreme, True)):
        plays = [caller.metadata(url).json()["data"][0]["playCount"] for url in caller.urls(16) if "tiktok" in url]
        plays += [media.get("video_play_count", 0) for media in _instagram(caller, 8)]
        assert (max(plays) > 2**31) is wanted
        assert 0 in plays


def test_tiktok_shows_its_quirks(api):
    items = [api.metadata(url).json()["data"][0] for url in api.urls(32) if "tiktok" in url]
    assert any(item["isSlideshow"] and item["videoMeta"]["duration"] == 0 for item in items)
    assert any({"name": ""} in item["hashtags"] for item in items)
    assert any(item["playCount"] == 0 and item["diggCount"] > 0 for item in items)
    assert any(item["isSponsored"] for item in items)
    assert any(item["text"] == "" for item in items)


def test_both_forms_of_a_tiktok_url_give_one_post(api):
    by_handle = api.metadata("https://www.tiktok.com/@pippa.fogbrook.3/video/7300000000000000777").json()
    by_player = api.metadata("https://www.tiktok.com/player/v1/7300000000000000777").json()
    assert by_handle["data"][0]["authorMeta"]["name"] == "pippa.fogbrook.3"
    assert by_player["data"] == by_handle["data"]


def test_youtube_and_x(api):
    (item,) = api.metadata("https://www.youtube.com/shorts/abcdefghij-").json()["data"]
    assert item["id"] == "abcdefghij-"
    plain = api.metadata("https://youtu.be/abcdefghij-", "rapid").json()["data"]
    assert plain["viewCount"] == str(item["viewCount"])
    assert plain["channel"]["name"] == item["channelName"]
    (tweet,) = api.metadata("https://twitter.com/anyone_invented/status/1900000000000000123").json()["data"]
    assert (tweet["type"], tweet["id"]) == ("tweet", "1900000000000000123")
    assert tweet["createdAt"].split()[4] == "+0000"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"video_url": "https://www.tiktok.com/player/v1/7300000000000000777"},
        {"video_url": "https://www.tiktok.com/player/v1/7300000000000000777", "channel": "instaloader"},
        {"video_url": "https://www.instagram.com/p/DABCDEFGHIj/", "channel": "apify"},
        {"video_url": "https://www.tiktok.com/@only.profile", "channel": "apify"},
        {"video_url": "https://www.tiktok.com.evil.example/player/v1/7300000000000000777", "channel": "apify"},
        ["x"],
    ],
)
def test_wrong_requests_are_refused_with_a_whole_number(api, body):
    answer = api.http.post(f"{api.server.v2_base_url}/tiktok/video/metadata", json=body)
    assert answer.status_code == 400
    assert answer.json() == {"code": 400, "msg": "Invalid request parameters", "data": None}


def test_numbers_stand_still_for_a_while_and_grow_with_the_days(start):
    api = start(limits=False)
    url = next(url for url in api.urls(4) if "tiktok" in url)
    first, second = (api.metadata(url).json()["data"][0] for _ in range(2))
    assert first == second
    api.server.advance(3 * 86400)
    third = api.metadata(url).json()["data"][0]
    assert third["playCount"] > first["playCount"]
    assert third["diggCount"] >= first["diggCount"]
    assert third["createTime"] == first["createTime"]


def test_posts_are_never_of_the_future(start):
    api = start(limits=False, time_scale=1000)
    api.server.advance(86400)
    times = [m["taken_at_timestamp"] for m in _instagram(api, 12)]
    assert max(times) <= api.server.sandbox.state.clock.wall() + 1
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://instagram.com.evil.example/p/DABCDEFGHIj/",
        "https://www.instagram.com/pippa/",
        "ftp://www.instagram.com/p/DABCDEFGHIj/",
        "https://www.youtube.com/watch?v=short",
        "http://[broken",
        "",
    ],
)
def test_what_names_no_post(url):
    assert read_address(url) is None
