"""All forms of payload that are known, by platform. A new form is a table in one of these lists, and nothing else."""

from __future__ import annotations

from blocks.memories.posts.instagram import GRAPHQL, V1
from blocks.memories.posts.instagram_flat import FLAT, INSTAGRAPI
from blocks.memories.posts.shape import Shape, with_alternatives
from blocks.memories.posts.tiktok import ITEM, ITEM_STRUCT
from blocks.memories.posts.tiktok_app import AWEME, TIKWM
from blocks.memories.posts.tiktok_app import FLAT as TIKTOK_FLAT
from blocks.memories.posts.x import FLAT as X_FLAT
from blocks.memories.posts.x import TWEET
from blocks.memories.posts.x_api import API_V1, API_V2, SYNDICATION
from blocks.memories.posts.x_api import GRAPHQL as X_GRAPHQL
from blocks.memories.posts.youtube import FLAT as YOUTUBE_FLAT
from blocks.memories.posts.youtube import INVIDIOUS, OBJECT
from blocks.memories.posts.youtube import ITEM as YOUTUBE_ITEM
from blocks.memories.posts.youtube_api import DATA_API, PLAYER
from blocks.memories.posts.yt_dlp import INSTAGRAM_INFO, TIKTOK_INFO, X_INFO, YOUTUBE_INFO

TABLES: tuple[Shape, ...] = (
    *(GRAPHQL, V1, FLAT, INSTAGRAPI, INSTAGRAM_INFO),
    *(ITEM, ITEM_STRUCT, AWEME, TIKWM, TIKTOK_FLAT, TIKTOK_INFO),
    *(YOUTUBE_ITEM, OBJECT, DATA_API, YOUTUBE_FLAT, INVIDIOUS, PLAYER, YOUTUBE_INFO),
    *(TWEET, X_GRAPHQL, API_V1, API_V2, SYNDICATION, X_FLAT, X_INFO),
)
"""Each form as its table says it."""

SHAPES: tuple[Shape, ...] = with_alternatives(TABLES)
"""The same, each followed by the platform's others; the one with most marks wins, at a tie the first."""
