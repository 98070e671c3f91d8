"""Requests are checked before anything is sent or spent; equal requests are known by equal keys."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import NotAPostUrl, UsageError
from blocks.posts.record import CHANNELS
from flows.steps.run.request import (
    BATCH_POSTS,
    SMALL_RUN_POSTS,
    RunRequest,
    request_for_creators,
    request_for_hashtags,
    request_for_post_imports,
    request_for_sweep,
    request_for_urls,
)


def key(hashtag: str = "moss", posts: int = 5, **more: Any) -> str:
    [request] = request_for_hashtags([hashtag], posts, **more).imports
    return request.key


def test_each_hashtag_is_an_import_of_its_own_sent_as_typed_and_kept_without_regard_to_case() -> None:
    request = request_for_hashtags(["#LoomMoss", "＃fern", "loommoss", "Été"], 7)
    assert [(one.wanted, one.hashtag, one.requested) for one in request.imports] == [
        ({"hashtag": "LoomMoss"}, "loommoss", 7),
        ({"hashtag": "fern"}, "fern", 7),
        ({"hashtag": "Été"}, "été", 7),
    ]
    assert request.expected_posts == 21


def test_equal_requests_have_equal_keys_whatever_the_count_and_the_spelling() -> None:
    assert key("Moss") == key("#moss", 500) == key(" MOSS ", 1)
    assert key("e\u0301te\u0301") == key("été")
    others = {key(), key("moth"), key(namespace="n"), key(collection="c"), key(library="public", permanent=True)}
    assert len(others) == 5


def test_a_namespace_is_the_collections_name_unless_it_is_named() -> None:
    assert request_for_hashtags(["moss"], 1, collection=" study ").namespace == "study"
    assert request_for_hashtags(["moss"], 1, collection="study", namespace="other").namespace == "other"
    assert key(collection="a", namespace="n") == key(collection="b", namespace="n")


def test_posts_are_asked_for_once_in_whatever_form_their_urls_came() -> None:
    request = request_for_urls(
        [
            "https://www.instagram.com/p/CxYz012abcD/?igsh=x",
            " https://instagram.com/reel/CxYz012abcD ",
            "https://youtu.be/abcDEF12345",
        ]
    )
    assert [(ref.platform, typed) for ref, typed in request.posts] == [
        ("instagram", "https://www.instagram.com/p/CxYz012abcD/?igsh=x"),
        ("youtube", "https://youtu.be/abcDEF12345"),
    ]
    assert (request.expected_posts, request.imports) == (2, ())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hashtags": []}, "at least one hashtag"),
        ({"hashtags": "moss"}, "at least one hashtag"),
        ({"hashtags": ["two words"]}, "two words"),
        ({"hashtags": ["#"]}, "hashtag"),
        ({"posts_per_hashtag": 0}, "at least 1 post"),
        ({"channel": "carrier-pigeon"}, "auto, apify, rapid or memories.ai"),
        ({"library": "attic"}, "private or public"),
        ({"library": "public"}, "--permanent"),
        ({"collection": "  "}, "collection"),
        ({"collection": "x" * 201}, "collection"),
        ({"max_spend_usd": -1}, "max_spend_usd"),
        ({"max_spend_usd": float("nan")}, "max_spend_usd"),
        ({"max_spend_usd": float("inf")}, "max_spend_usd"),
        ({"max_spend_usd": 1e300}, "max_spend_usd"),
        ({"max_spend_usd": 1e-7}, "max_spend_usd"),
        ({"max_age_hours": -0.1}, "max_age_hours"),
        ({"reuse_hours": float("nan")}, "reuse_hours"),
        ({"posts_per_task": -1}, "posts_per_task"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    asked = {"hashtags": ["moss"], "posts_per_hashtag": 5} | changes
    with pytest.raises(UsageError, match=words) as caught:
        request_for_hashtags(asked.pop("hashtags"), asked.pop("posts_per_hashtag"), **asked)
    assert "\n" not in str(caught.value)


def test_urls_that_name_no_post_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one post URL"):
        request_for_urls([])
    with pytest.raises(NotAPostUrl):
        request_for_urls(["https://www.instagram.com/p/CxYz012abcD/", "https://example.com/p/1"])


def test_zero_is_a_cap_and_an_age_and_not_the_default() -> None:
    request = request_for_hashtags(["moss"], 1, max_spend_usd=0, max_age_hours=0, reuse_hours=0)
    assert (request.max_spend_usd, request.max_age_hours, request.reuse_hours) == (0, 0, 0)


def test_small_runs_have_a_task_for_each_post_and_large_ones_batches() -> None:
    assert request_for_hashtags(["moss"], SMALL_RUN_POSTS).batch_size() == 1
    assert request_for_hashtags(["moss"], SMALL_RUN_POSTS + 1).batch_size() == BATCH_POSTS
    assert request_for_hashtags(["moss", "fern"], SMALL_RUN_POSTS).batch_size() == BATCH_POSTS
    assert request_for_hashtags(["moss"], 10_000, posts_per_task=7).batch_size() == 7


def test_auto_tries_the_settings_order_and_a_named_channel_stands_alone() -> None:
    assert RunRequest(channel="auto").channels(CHANNELS) == CHANNELS
    assert RunRequest(channel="rapid").channels(CHANNELS) == ("rapid",)


def test_a_sweep_belongs_to_no_collection_and_requests_for_nothing_new() -> None:
    request = request_for_sweep(channel="auto", max_spend_usd=1, max_age_hours=12)
    assert (request.collection, request.imports, request.posts) == (None, (), ())


def test_posts_to_import_go_in_batches_of_one_platform_known_by_their_set() -> None:
    tiktok = [f"https://www.tiktok.com/@loom/video/75000000000000000{number:02}" for number in range(10, 62)]
    request = request_for_post_imports([*tiktok, "https://youtu.be/abcDEF12345"])
    assert [(one.kind, one.requested, one.hashtag) for one in request.imports] == [
        ("urls", 50, None), ("urls", 2, None), ("urls", 1, None),
    ]  # fmt: skip
    assert request.expected_posts == 53, "posts that are given and imported count once"
    keys = [one.key for one in request.imports]
    players = [f"https://www.tiktok.com/player/v1/{url.rpartition('/')[2]}" for url in reversed(tiktok)]
    again = request_for_post_imports(["https://www.youtube.com/shorts/abcDEF12345", *players])
    assert [one.key for one in again.imports] == keys, "neither order nor form matters"
    newer = request_for_post_imports([*tiktok, "https://www.tiktok.com/@loom/video/7600000000000000000"])
    assert newer.imports[0].key == keys[0]
    assert newer.imports[1].key != keys[1]
    assert request_for_post_imports(tiktok[:1], namespace="n").imports[0].key not in keys


def test_a_post_of_tiktok_given_in_two_forms_is_asked_for_by_the_one_with_the_handle() -> None:
    handle, player = (
        "https://www.tiktok.com/@loom/video/7500000000000000001",
        "tiktok.com/player/v1/7500000000000000001",
    )
    for urls in ([handle, player], [player, handle]):
        assert request_for_post_imports(urls).imports[0].wanted == {"urls": [handle]}


def test_creators_are_imported_each_by_itself_and_known_by_platform_and_handle() -> None:
    request = request_for_creators(["tiktok.com/@Loom", "https://www.tiktok.com/@loom/", "instagram.com/loom"], 7)
    assert [(one.kind, one.wanted, one.requested) for one in request.imports] == [
        ("creator", {"creator": "https://www.tiktok.com/@loom"}, 7),
        ("creator", {"creator": "https://www.instagram.com/loom/"}, 7),
    ]
    assert request.imports[0].key != request.imports[1].key
    assert request.imports[0].key == request_for_creators(["https://www.tiktok.com/@LOOM"], 500).imports[0].key


def test_all_wrong_addresses_are_named_in_one_sentence() -> None:
    good, bad = (
        "https://youtu.be/abcDEF12345",
        ["https://example.com/p/1", "nothing", "https://www.instagram.com/loom/"],
    )
    for make in (request_for_urls, request_for_post_imports):
        with pytest.raises(NotAPostUrl, match="3 of 4 addresses") as caught:
            make([good, *bad])
        assert all(url in str(caught.value) for url in bad)
        assert "\n" not in str(caught.value)
    many = [f"https://example.com/{number}" for number in range(30)]
    with pytest.raises(NotAPostUrl, match="and 20 more"):
        request_for_urls(many)
    with pytest.raises(UsageError, match="1 of these 2"):
        request_for_post_imports([good, "https://x.com/i/status/1900000000000000001"])
    with pytest.raises(UsageError, match="at least 1 post"):
        request_for_creators(["https://www.tiktok.com/@loom"], 0)
