"""The same invented posts in the forms of other services and of the platforms' own APIs.

How much each form tells stands in shape_matrix.md; here, that what it tells is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from blocks.posts.payloads.locate import locate
from blocks.posts.payloads.synonyms import is_count, leaves_in, unread
from blocks.posts.platforms.registry import all_shapes
from blocks.posts.record import PostRecord, PostRef
from tests.cases import each_case

NAMES = sorted(path.stem for path in (Path(__file__).parent / "invented").glob("*.json"))

Load, Asked, Mapped = Callable[[str], Any], Callable[[str], PostRef], Callable[[str], PostRecord]

MORE = {"comments": 12}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "video_instagrapi": ("video_graphql", "instagram_instagrapi", {}),
    "carousel_instagrapi": ("carousel_graphql", "instagram_instagrapi", {}),
    "video_typed_keys": ("video_graphql", "instagram_v1", {}),
    "video_metrics": ("video_graphql", "instagram_v1", {"shares": 7, "saves": 11}),
    "video_yt_dlp": ("video_graphql", "instagram_yt_dlp", {}),
    "tiktok_item_aweme": ("tiktok_item", "tiktok_aweme", {}),
    "tiktok_slideshow_aweme": ("tiktok_slideshow_item", "tiktok_aweme", {}),
    "tiktok_item_tikwm": ("tiktok_item", "tiktok_tikwm", {}),
    # What these three call views are views.
    "tiktok_item_channel": ("tiktok_item", "tiktok_flat", {"views": 4_300_000_000, "coauthors": ["studio.nord"]}),
    "tiktok_item_research": ("tiktok_item", "tiktok_flat", {"views": 4_300_000_000}),
    "tiktok_item_yt_dlp": ("tiktok_item", "tiktok_yt_dlp", {"views": 4_300_000_000}),
    "youtube_data_api": ("youtube_item", "youtube_data_api", MORE),
    "youtube_stats": (
        "youtube_object",
        "youtube_flat",
        MORE | {"author_verified": True, "author_followers": 6_930_000},
    ),
    "youtube_invidious": ("youtube_item", "youtube_invidious", {}),
    "youtube_player": ("youtube_item", "youtube_player", {}),
    "youtube_yt_dlp": ("youtube_item", "youtube_yt_dlp", MORE),
    "x_graphql": ("x_tweet", "x_graphql", {}),
    "x_graphql_plain": ("x_tweet", "x_graphql", {}),
    "x_v1": ("x_tweet", "x_v1", {}),
    "x_v2": ("x_tweet", "x_v2", {}),
    "x_syndication": ("x_tweet", "x_syndication", {}),
    "x_flat": ("x_tweet", "x_flat", {}),
    "x_yt_dlp": ("x_tweet", "x_yt_dlp", {}),
}
APART = ("shape", "extra", "null_reasons", "comment_rows")


@each_case("name", FAMILIES)
def test_what_a_form_tells_is_what_the_others_tell(mapped: Mapped, name: str) -> None:
    base, shape, more = FAMILIES[name]
    record, expected = mapped(name), asdict(mapped(base)) | more
    assert record.shape == shape
    told = {key: value for key, value in asdict(record).items() if key not in APART and value is not None}
    assert told == {key: expected[key] for key in told}


def test_every_table_has_an_invented_payload(mapped: Mapped) -> None:
    others = ("video_graphql", "video_v1", "video_flat_camel", "tiktok_item", "tiktok_item_struct", "youtube_item")
    seen = {shape for _, shape, _ in FAMILIES.values()} | {mapped(name).shape for name in others}
    assert {table.name for table in all_shapes()} == seen | {"youtube_object", "x_tweet"}


COUNT_LIKE = re.compile(
    r"count|view|(?<!dis)play|like|share|save|comment|reply|replies|bookmark|favou?rite|retweet|collect|digg|quote|num(?!ber)"
)
NOBODYS = {
    # Counts that no column and no key of `extra` is for: other people's screens, other networks, nothing any more.
    "tiktok_item_aweme": ["statistics.whatsapp_share_count"],
    "youtube_data_api": ["statistics.favoriteCount"],
}


@each_case("name", NAMES)
def test_the_counts_that_no_table_reads_are_known(load: Load, asked: Asked, mapped: Mapped, name: str) -> None:
    found = locate(load(name), asked(name))
    tables = (*found.shape.columns.values(), *found.shape.extra.values())
    read = {path for paths in tables for path in paths}
    counts = [leaf.path for leaf in leaves_in(found.node) if is_count(leaf) and COUNT_LIKE.search(leaf.name)]
    assert [path for path in counts if path not in read] == NOBODYS.get(name, [])
    record = mapped(name)
    assert not {column for column in unread(found.node, found.shape) if getattr(record, column) is None}
