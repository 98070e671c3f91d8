"""Creators' profiles by their URLs, in one form each."""

from __future__ import annotations

import pytest

from blocks.errors import UsageError
from blocks.posts.identity import parse_creator_url
from tests.cases import each_case


@each_case(
    ("url", "expected"),
    [
        (
            "https://www.tiktok.com/@Harbour.Kiln?lang=en",
            ("tiktok", "harbour.kiln", "https://www.tiktok.com/@harbour.kiln"),
        ),
        ("instagram.com/Harbour_Kiln", ("instagram", "harbour_kiln", "https://www.instagram.com/harbour_kiln/")),
        (
            "https://www.instagram.com/harbour_kiln/reels/",
            ("instagram", "harbour_kiln", "https://www.instagram.com/harbour_kiln/"),
        ),
        (
            "https://www.youtube.com/@HarbourKiln/videos",
            ("youtube", "HarbourKiln", "https://www.youtube.com/@HarbourKiln"),
        ),
        (
            "https://www.youtube.com/channel/UCaaaaaaaaaaaaaaaaaaaaaa",
            (
                "youtube",
                "UCaaaaaaaaaaaaaaaaaaaaaa",
                "https://www.youtube.com/channel/UCaaaaaaaaaaaaaaaaaaaaaa",
            ),
        ),
        ("https://www.youtube.com/c/HarbourKiln", ("youtube", "HarbourKiln", "https://www.youtube.com/c/HarbourKiln")),
    ],
)
def test_profiles(url: str, expected: tuple[str, str, str]) -> None:
    assert parse_creator_url(url) == expected
    assert parse_creator_url(expected[2]) == expected


@each_case(
    "url",
    [
        "https://www.instagram.com/p/DQk1lnGlaz3/",
        "https://www.instagram.com/explore/",
        "https://www.instagram.com/",
        "https://x.com/HarbourKiln",
        "https://www.youtube.com/watch?v=k1lnV1deo_0",
        "https://www.tiktok.com/harbour",
        "https://www.instagram.com.evil.example/harbour/",
        "",
        "@harbour",
        None,
    ],
)
def test_what_is_no_profile_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="profile"):
        parse_creator_url(url)
