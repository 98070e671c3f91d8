"""What is sent: the documented fields, and wrong input refused with one sentence before anything leaves."""

from __future__ import annotations

from typing import Any

import pytest

from blocks import network
from blocks.errors import NotAPostUrl, UsageError
from blocks.memories import requests
from blocks.posts.identity import parse_post_url
from tests.cases import each_case

INSTAGRAM = [f"https://www.instagram.com/p/C{chr(65 + n % 26)}{chr(65 + n // 26)}jXyZ0123/" for n in range(52)]
PLAYER = "https://www.tiktok.com/player/v1/7400000000000000123"
OLD = "m.tiktok.com/v/7400000000000000123.html"
HANDLE = "https://www.tiktok.com/@some.one/video/7400000000000000123"
NOBODY = "https://www.tiktok.com/@_/video/7400000000000000123"
EMPTY = "https://www.tiktok.com/@/video/7400000000000000123"
INSTAGRAM_FORMS = [f"https://www.instagram.com/{form}/CAbcdEfGh12/" for form in ("p", "reel")]


@each_case(
    ("where", "path", "more"),
    [
        ({}, "/scraper_tag", {"unique_id": "default"}),
        ({"namespace": "spring"}, "/scraper_tag", {"unique_id": "spring"}),
        ({"library": "public"}, "/scraper_tag_public", {}),
        ({"library": "public", "namespace": "default"}, "/scraper_tag_public", {}),
        ({"library": "private"}, "/scraper_tag", {"unique_id": "default"}),
        ({"callback_url": "https://here.example/x"}, "/scraper_tag", {"unique_id": "default", "callback": "https://here.example/x"}),
    ],
)  # fmt: skip
def test_hashtag_import(where: Any, path: str, more: dict[str, Any]) -> None:
    assert requests.hashtag_import(" #Dior ", 5, where) == (path, {"hash_tags": ["Dior"], "scraper_cnt": 5} | more)


def test_url_import_sends_each_post_once_in_its_canonical_form() -> None:
    typed = ["instagram.com/reel/CAbcdEfGh12/?igsh=x", "https://www.instagram.com/p/CAbcdEfGh12/", INSTAGRAM[0]]
    path, fields = requests.url_import(typed, {"callback_url": "https://here.example/x"})
    assert path == "/scraper_url"
    assert fields == {
        "video_urls": ["https://www.instagram.com/p/CAbcdEfGh12/", INSTAGRAM[0]],
        "unique_id": "default",
        "callback_url": "https://here.example/x",
    }
    assert requests.url_import(typed, {"library": "public"})[0] == "/scraper_url_public"


def test_fifty_urls_are_taken_and_one_more_is_not() -> None:
    assert len(set(INSTAGRAM)) == 52
    assert len(requests.url_import(INSTAGRAM[:50], {})[1]["video_urls"]) == 50
    assert len(requests.url_import(INSTAGRAM[:50] + INSTAGRAM[:9], {})[1]["video_urls"]) == 50
    with pytest.raises(UsageError, match="1 to 50 post URLs, and these are 51"):
        requests.url_import(INSTAGRAM[:51], {})


def test_creator_import() -> None:
    assert requests.creator_import("instagram.com/Some.One", 3, {"namespace": "n"}) == (
        "/scraper",
        {"username": "https://www.instagram.com/some.one/", "scraper_cnt": 3, "unique_id": "n"},
    )
    assert requests.creator_import("https://www.tiktok.com/@some", 1, {"library": "public"})[0] == "/scraper_public"


@each_case("tag", ["", "  ", "#", "two words", "two\nlines", "a#b", "##", "\t"])
def test_wrong_hashtags(tag: str) -> None:
    with pytest.raises(UsageError):
        requests.hashtag_import(tag, 5, {})


@each_case("count", [0, -1, True, 2.0, "5", None])
def test_wrong_counts(count: Any) -> None:
    for build in (requests.hashtag_import, requests.creator_import):
        with pytest.raises(UsageError, match="whole number of 1 or more"):
            build("https://www.tiktok.com/@some" if build is requests.creator_import else "dior", count, {})


@each_case(
    ("urls", "sentence"),
    [
        ([], "1 to 50 post URLs, and these are 0"),
        ([INSTAGRAM[0], HANDLE], "one platform, and these are of instagram and tiktok"),
        (["https://x.com/some/status/1234567890"], "no posts of X"),
        ("https://www.instagram.com/p/CAbcdEfGh12/", "a list of post URLs, not one text"),
        (None, "a list of post URLs, not NoneType"),
        (7, "a list of post URLs, not int"),
        ([None], "text, not NoneType"),
    ],
)
def test_wrong_urls(urls: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        requests.url_import(urls, {})


@each_case("url", ["https://www.instagram.com/someone/", "https://instagram.com.evil.example/p/CAbcdEfGh12/", ""])
def test_urls_that_name_no_post(url: str) -> None:
    with pytest.raises(NotAPostUrl):
        requests.url_import([INSTAGRAM[0], url], {})


@each_case("url", [HANDLE, "@someone", "https://example.com/@someone", "https://x.com/someone", ""])
def test_wrong_creators(url: str) -> None:
    with pytest.raises(UsageError):
        requests.creator_import(url, 5, {})


@each_case(
    ("where", "sentence"),
    [
        ({"namespace": " "}, "the namespace is empty"),
        ({"library": "Public"}, 'unknown library "Public"'),
        ({"callback_url": "here.example"}, "starts with https://"),
        ({"callback_url": ""}, "starts with https://"),
        ({"callback_url": 5}, "starts with https://"),
        ({"namespace": None}, "the namespace is empty"),
        ({"namespace": 5}, "the namespace is empty"),
        ({"library": "public", "namespace": "spring"}, "public library knows no namespaces"),
    ],
)
def test_wrong_places(where: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        requests.hashtag_import("dior", 5, where)


@each_case(
    ("word", "sentence"),
    [
        ("unique_id", 'there is no "unique_id"; an import takes namespace, library, callback_url'),
        ("folder_id", 'there is no "folder_id"'),
    ],
)
def test_a_word_that_means_nothing_here_is_not_passed_over(word: str, sentence: str) -> None:
    where: Any = {"library": "private", word: "my-project"}
    for build in (
        lambda: requests.hashtag_import("dior", 5, where),
        lambda: requests.url_import([INSTAGRAM[0]], where),
        lambda: requests.creator_import("https://www.tiktok.com/@some", 5, where),
    ):
        with pytest.raises(UsageError) as caught:
            build()
        assert sentence in str(caught.value)


def test_urls_may_come_from_anything_that_gives_them() -> None:
    assert requests.url_import((url for url in INSTAGRAM[:2]), {})[1]["video_urls"] == INSTAGRAM[:2]  # type: ignore[arg-type]


def test_status_path() -> None:
    base = "/get_video_ids_by_task_id?task_id="
    assert requests.status_path("a_b", "default") == f"{base}a_b&unique_id=default"
    assert requests.status_path("a&b=/", "früh ling") == f"{base}a%26b%3D%2F&unique_id=fr%C3%BCh+ling"
    assert requests.status_path("a", None) == f"{base}a"
    wrong: list[tuple[Any, str]] = [(" ", "default"), ("a", ""), (None, "n"), (7, "n")]
    for task_id, namespace in wrong:
        with pytest.raises(UsageError):
            requests.status_path(task_id, namespace)


@each_case(
    ("key", "sentence"),
    [
        ("", "MEMORIES_API_KEY is not set: "),
        (" \n", "MEMORIES_API_KEY is not set: "),
        ("Bearer sk-mavi-x", "leave that word out"),
        ("bearer\tsk-mavi-x", "leave that word out"),
        ("sk-mavi x", "copy the key again"),
        ("sk-mavi-x\n", "copy the key again"),
        ("sk-mavi-x\r\nx-evil: 1", "copy the key again"),
        ("sk-mavi-\u200bx", "copy the key again"),
        ("sk-mavi-\x00", "copy the key again"),
    ],
)
def test_wrong_keys(key: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        requests.checked_key(key)
    assert "mavi" not in str(caught.value)


def test_base_urls() -> None:
    assert requests.checked_base_url("X", " https://a.example/v1/ ") == "https://a.example/v1"
    for wrong in ("", "a.example", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example?x=1",
                  "https://a.example/#x", "https://a.example:0x", "https://[::1"):  # fmt: skip
        with pytest.raises(UsageError, match="MEMORIES_V1_BASE_URL"):
            requests.checked_base_url("MEMORIES_V1_BASE_URL", wrong)


HERE = [
    "http://127.0.0.1:9/v1",
    "http://localhost/v1",
    "http://[::1]:9/v1",
    "http://127.8.0.1/v1",
    "HTTP://LOCALHOST/v1",
]
ELSEWHERE = [
    "http://api.memories.ai/serve/api/v1",
    "http://10.0.0.7:8080/v1",
    "http://0.0.0.0/v1",
    "http://127.0.0.1.example.com/v1",
    "http://a.localhost/v1",
    "HTTP://api.example/v1",
]


@each_case("url", HERE)
def test_a_key_goes_in_clear_to_this_machine(url: str) -> None:
    assert requests.checked_base_url("X", url)


@each_case("url", ELSEWHERE)
def test_a_key_goes_in_clear_nowhere_else_unless_it_is_meant(url: str) -> None:
    with pytest.raises(UsageError, match=r"MEMORIES_V1_BASE_URL sends the key unencrypted to .*TAGTRAIL_ALLOW_HTTP=1"):
        requests.checked_base_url("MEMORIES_V1_BASE_URL", url)
    assert requests.checked_base_url("X", url, allow_http=True) == url


@each_case("seconds", [0, -1, float("nan"), float("inf")])
def test_wrong_timeouts(seconds: float) -> None:
    with pytest.raises(UsageError, match="timeout"):
        requests.checked_timeout(seconds)


def test_unknown_channel() -> None:
    assert requests.checked_channel("memories.ai") == "memories.ai"
    with pytest.raises(UsageError, match=r"apify, rapid, memories\.ai"):
        requests.checked_channel("auto")  # type: ignore[arg-type]


@each_case(
    ("known_by", "source", "forms"),
    [
        (HANDLE, None, [HANDLE, PLAYER]),
        (HANDLE, PLAYER, [PLAYER, HANDLE]),
        (HANDLE, HANDLE + "?lang=en", [HANDLE + "?lang=en", PLAYER]),
        (PLAYER, PLAYER, [PLAYER, NOBODY]),
        (PLAYER, None, [PLAYER, NOBODY]),
        (PLAYER, HANDLE, [HANDLE, PLAYER]),
        (PLAYER, OLD, [f"https://{OLD}", PLAYER, NOBODY]),
        (PLAYER, EMPTY, [EMPTY, PLAYER]),
        ("instagram.com/reel/CAbcdEfGh12", "instagram.com/reel/CAbcdEfGh12", INSTAGRAM_FORMS),
        ("instagram.com/p/CAbcdEfGh12", None, INSTAGRAM_FORMS),
        ("instagram.com/p/CAbcdEfGh12", "no address at all", INSTAGRAM_FORMS),
        ("instagram.com/p/CAbcdEfGh12", "instagram.com/p/DAbcdEfGh12", INSTAGRAM_FORMS),
        ("https://youtu.be/abcdefghi12", "https://youtu.be/abcdefghi12", ["https://www.youtube.com/watch?v=abcdefghi12"]),
        ("https://x.com/some/status/123456", "https://x.com/some/status/123456", ["https://x.com/some/status/123456"]),
        ("https://x.com/some/status/123456", None, ["https://x.com/i/status/123456"]),
    ],
)  # fmt: skip
def test_url_forms(known_by: str, source: str | None, forms: list[str]) -> None:
    assert requests.url_forms(parse_post_url(known_by), source) == forms


LONG = "CAbcdEfGh12" + "aB-_" * 7
"""The code of a post of a private account: it opens with all of its letters only."""


@each_case(
    ("source", "code"),
    [
        (f"reel/{LONG}/?igsh=x", LONG),
        (f"some.one/p/{LONG}", LONG),
        ("p/CAbcdEfGh12/", "CAbcdEfGh12"),
        (None, "CAbcdEfGh12"),
    ],
)
@each_case("known_by", ["p/CAbcdEfGh12/", f"p/{LONG}/"])
def test_a_private_post_is_asked_for_by_its_long_code(known_by: str, source: str | None, code: str) -> None:
    host = "https://www.instagram.com/"
    given = None if source is None else host + source
    assert requests.url_forms(parse_post_url(host + known_by), given) == [f"{host}p/{code}/", f"{host}reel/{code}/"]


def test_private_posts_are_imported_by_their_long_codes() -> None:
    host = "https://www.instagram.com/"
    urls = [f"{host}p/CAbcdEfGh12/", f"{host}reel/{LONG}/?igsh=x", f"{host}p/CAbcdEfGh13/"]
    _, body = requests.url_import(urls, {"namespace": "default", "library": "private"})
    assert body["video_urls"] == [f"{host}p/{LONG}/", f"{host}p/CAbcdEfGh13/"]


def test_a_form_that_was_refused_where_another_was_served_comes_last_from_then_on() -> None:
    taken, ref = requests.FormsTaken(), parse_post_url(PLAYER)
    assert taken.in_order(ref, "apify", PLAYER) == [PLAYER, NOBODY]
    taken.served("tiktok", "apify", [PLAYER, NOBODY])
    assert taken.in_order(ref, "apify", PLAYER) == [NOBODY, PLAYER]
    assert taken.in_order(ref, "rapid", PLAYER) == [PLAYER, NOBODY], "each channel is another provider"
    assert (taken.takes("tiktok", "apify", NOBODY), taken.takes("tiktok", "apify", PLAYER)) == (True, False)
    taken.served("tiktok", "apify", [PLAYER])
    assert taken.in_order(ref, "apify", PLAYER) == [PLAYER, NOBODY]
    taken.served("tiktok", "apify", [PLAYER, NOBODY])
    assert taken.in_order(ref, "apify", PLAYER) == [PLAYER, NOBODY], "one post does not undo what served others"


def test_proxies_of_the_environment_are_used_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert network.proxy_for("https", "api.example") is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    monkeypatch.setenv("NO_PROXY", "inner.example")
    assert network.proxy_for("https", "api.example") == "http://proxy.example:3128"
    assert network.proxy_for("http", "api.example") == "http://all.example:1"
    assert network.proxy_for("https", "inner.example") is None
    for here in ("127.0.0.1", "localhost", "::1"):
        assert network.proxy_for("http", here) is None
