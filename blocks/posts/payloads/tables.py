"""All forms of payload that are known, by platform. A new form is a table in one of these lists, and nothing else."""

from __future__ import annotations

from blocks.posts.payloads.instagram import GRAPHQL, V1
from blocks.posts.payloads.instagram_flat import FLAT, INSTAGRAPI
from blocks.posts.payloads.shape import Shape, with_alternatives
from blocks.posts.payloads.tiktok import ITEM, ITEM_STRUCT
from blocks.posts.payloads.tiktok_app import AWEME, TIKWM
from blocks.posts.payloads.tiktok_app import FLAT as TIKTOK_FLAT
from blocks.posts.payloads.x import FLAT as X_FLAT
from blocks.posts.payloads.x import TWEET
from blocks.posts.payloads.x_api import API_V1, API_V2, SYNDICATION
from blocks.posts.payloads.x_api import GRAPHQL as X_GRAPHQL
from blocks.posts.payloads.youtube import FLAT as YOUTUBE_FLAT
from blocks.posts.payloads.youtube import INVIDIOUS, OBJECT
from blocks.posts.payloads.youtube import ITEM as YOUTUBE_ITEM
from blocks.posts.payloads.youtube_api import DATA_API, PLAYER
from blocks.posts.payloads.yt_dlp import INSTAGRAM_INFO, TIKTOK_INFO, X_INFO, YOUTUBE_INFO

TABLES: tuple[Shape, ...] = (
    *(GRAPHQL, V1, FLAT, INSTAGRAPI, INSTAGRAM_INFO),
    *(ITEM, ITEM_STRUCT, AWEME, TIKWM, TIKTOK_FLAT, TIKTOK_INFO),
    *(YOUTUBE_ITEM, OBJECT, DATA_API, YOUTUBE_FLAT, INVIDIOUS, PLAYER, YOUTUBE_INFO),
    *(TWEET, X_GRAPHQL, API_V1, API_V2, SYNDICATION, X_FLAT, X_INFO),
)
"""Each form as its table says it."""

SHAPES: tuple[Shape, ...] = with_alternatives(TABLES)
"""The same, each followed by the platform's others; the one with most marks wins, at a tie the first."""
