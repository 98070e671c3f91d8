"""What names a person or a post in a text, and what only looks like it."""

from __future__ import annotations

import time
import unicodedata

from blocks.database.store.erased_names import Names, Naming, folded
from tests.cases import each_case


def person(name: str, *platforms: str) -> Naming:
    naming = Names(platforms=platforms or ("instagram", "tiktok", "youtube", "x"), people={name}).naming()
    assert naming is not None
    return naming


@each_case(
    "text",
    [
        "@loom.works",
        "asked by @Loom.Works.",
        "https://www.instagram.com/loom.works/",
        "instagram.com/LOOM.works?igsh=1",
        "https://www.instagram.com/loom.works/reel/DKr4Zt0sQ1x/",
        "https://www.tiktok.com/@loom.works",
        "https://www.tiktok.com/%40loom.works/video/7300000000000000077",
        "https://www.youtube.com/user/loom.works",
        "https://twitter.com/loom.works/status/1",
        {"imports": [{"wanted": {"creator": "Loom.Works"}}]},
        {"creators": ["@loom.works"]},
    ],
)
def test_a_profile_names_a_person(text: object) -> None:
    assert person("loom.works").found_in(text)


@each_case(
    ("name", "told"),
    [
        ("auto", {"channel": "auto"}),
        ("lvmh", {"hashtags": ["lvmh"], "imports": [{"wanted": {"hashtag": "LVMH"}}]}),
        ("lvmh", "https://www.instagram.com/explore/tags/lvmh/"),
        ("instagram", {"platforms": {"instagram": 3}, "url": "https://www.instagram.com/p/DKr4Zt0sQ1x/"}),
        ("tiktok", "https://www.tiktok.com/player/v1/7300000000000000077"),
        ("private", {"library": "private"}),
        ("default", "collection default"),
        ("p", "https://www.instagram.com/p/DKr4Zt0sQ1x/"),
        ("i", "https://x.com/i/status/1900000000000000001"),
        ("watch", "https://www.youtube.com/watch?v=abcdefghijk"),
        ("loom", "https://www.tiktok.com/@loom.works and @loom.works and mail@loom"),
        ("works", "https://www.instagram.com/loom.works/"),
        ("other", "https://netflix.com/other"),
    ],
)
def test_an_everyday_word_names_nobody(name: str, told: object) -> None:
    naming = person(name)
    assert not naming.found_in(told)
    assert naming.without(told) == told


def test_a_name_is_theirs_on_their_platform() -> None:
    assert not person("loom", "tiktok").found_in("https://www.instagram.com/loom/")
    assert person("loom", "instagram").found_in("https://www.instagram.com/loom/")


@each_case("written", ["ÄrzteTV", "ärztetv", unicodedata.normalize("NFD", "Ärztetv"), "%C3%84rzteTV"])
def test_names_compare_beyond_ascii(written: str) -> None:
    assert person("ärztetv").found_in(f"https://www.youtube.com/@{written}")
    assert folded("@ÄRZTETV") == folded("ärztetv")


def test_ids_and_codes_are_found_as_whole_words_and_short_ones_in_addresses() -> None:
    naming = Names(codes={"7300000000000000077", "DKr4Zt0sQ1x", "20"}, author_ids={"55500011", "12"}).naming()
    assert naming is not None
    for told in (
        "tiktok:7300000000000000077",
        "…/p/DKr4Zt0sQ1x/",
        {"id": 7300000000000000077},
        "by 55500011",
        "/status/20?s=1",
    ):
        assert naming.found_in(told)
    for told in ("73000000000000000771", "dkr4zt0sq1x", {"seen": 20, "new": 12}, "20 posts, 12 new", "/status/200"):
        assert not naming.found_in(told)


def test_only_the_text_that_names_them_goes() -> None:
    told = {"urls": ["https://www.instagram.com/p/DKr4Zt0sQ1x/", "https://youtu.be/abcdefghijk"], "n": 2, "x": None}
    naming = Names(codes={"DKr4Zt0sQ1x"}).naming()
    assert naming is not None
    assert naming.without(told) == {"urls": ["erased", "https://youtu.be/abcdefghijk"], "n": 2, "x": None}
    assert Names().naming() is None


def test_a_creator_of_many_posts_is_looked_for_quickly() -> None:
    naming = Names(codes={str(7_300_000_000_000_000_000 + number) for number in range(20_000)}).naming()
    assert naming is not None
    began = time.thread_time()
    assert not any(naming.found_in(f"https://www.tiktok.com/@a/video/{number}") for number in range(20_000))
    # One pattern of all words takes a minute of this thread's own time.
    assert time.thread_time() - began < 20
