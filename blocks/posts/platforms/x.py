"""X: its addresses, those of Twitter and of sites that embed posts, and its forms of payload."""

from __future__ import annotations

import re

from blocks.posts.payloads.x import FLAT, TWEET
from blocks.posts.payloads.x_api import API_V1, API_V2, GRAPHQL, SYNDICATION
from blocks.posts.payloads.yt_dlp import X_INFO
from blocks.posts.platforms.spec import PlatformSpec
from blocks.posts.record import PostRef
from blocks.posts.urls import POST_NUMBER, Address, only, values_in, with_www

_ONION = "twitter3e4tixl4xyajtrzo62zg5vztmjuricljdp2c5kshju4avyoid.onion"
_OTHER_HOSTS = (
    *with_www("fxtwitter.com", "vxtwitter.com", "fixupx.com", "fixvx.com", "twittpr.com"),
    *("d.fxtwitter.com", "d.vxtwitter.com", "d.fixupx.com", "d.fixvx.com", "c.vxtwitter.com"),
    *("api.fxtwitter.com", "api.vxtwitter.com", "g.fxtwitter.com", "g.fixupx.com"),
    *("nitter.net", "nitter.poast.org", "nitter.tiekoetter.com", "nitter.space", "xcancel.com"),
    *("pro.x.com", "pro.twitter.com", "platform.x.com", "platform.twitter.com", "cdn.syndication.twimg.com"),
    *(*with_www(_ONION), f"mobile.{_ONION}"),
)
_KINDS = ("status", "statuses")
_USER = re.compile(r"[A-Za-z0-9_]{1,20}\Z")
_MEDIA_ENDING = re.compile(r"\.(?:mp4|jpe?g|png|webp|gif|txt)\Z")
_PAGES = frozenset(
    {"compose", "explore", "hashtag", "home", "i", "intent", "login", "messages", "notifications", "privacy", "search"}
    | {"settings", "share", "tos"}
)


def _url(post_id: str) -> str:
    return f"https://x.com/i/status/{post_id}"


def _read_address(address: Address) -> PostRef | None:
    parts = address.parts
    number = ""
    if parts[:2] == ["i", "web"]:
        parts = parts[1:]
    if len(parts) >= 3 and parts[1] in _KINDS and _USER.match(parts[0]):
        number = parts[2]
    elif len(parts) == 2 and parts[0] in _KINDS:
        number = parts[1]
    elif parts[:2] == ["i", "videos"] and len(parts) >= 3:
        number = parts[3] if parts[2] == "tweet" and len(parts) >= 4 else parts[2]
    elif parts[:4] == ["i", "cards", "tfw", "v1"] and len(parts) >= 5:
        number = parts[4]
    elif parts[:1] == ["intent"] and parts[1:] in (["like"], ["favorite"], ["retweet"]):
        number = only(values_in(address.query, "tweet_id"))
    elif address.host.startswith(("platform.", "cdn.")) and parts in (["embed", "Tweet.html"], ["tweet-result"]):
        number = only(values_in(address.query, "id"))
    if address.host in _OTHER_HOSTS:
        # Sites that show a post's picture or video by itself.
        number = _MEDIA_ENDING.sub("", number)
    return PostRef("x", number, _url(number)) if POST_NUMBER.match(number) else None


def _named_url(address: Address, ref: PostRef) -> str:
    """With the user's name where the URL had it."""
    parts = address.parts
    if len(parts) >= 3 and parts[1] in _KINDS and parts[0] != "i":
        return f"https://x.com/{parts[0]}/status/{ref.post_id}"
    return ref.url


X = PlatformSpec(
    name="x",
    label="X",
    hosts=(
        *("x.com", "www.x.com", "mobile.x.com", "m.x.com"),
        *("twitter.com", "www.twitter.com", "mobile.twitter.com", "m.twitter.com"),
    ),
    other_hosts=_OTHER_HOSTS,
    leading_hosts=("publish.twitter.com", "publish.x.com"),
    leading_pages=frozenset(
        {"account", "i/flow", "i/redirect", "intent", "login", "logout", "oauth", "share", "signup"}
    ),
    read_address=_read_address,
    example="https://x.com/USER/status/ID",
    post_url=lambda post_id, _shortcode: _url(post_id),
    named_url=_named_url,
    profile_address=r"(?:x|twitter)\.com/",
    may_be_profile=lambda name: name not in _PAGES,
    metadata_path="/twitter/video/metadata",
    imports_urls=False,
    urls_to_try=lambda _ref, given, _private: [given],
    shapes=(TWEET, GRAPHQL, API_V1, API_V2, SYNDICATION, FLAT, X_INFO),
    documented={"apify": "x_tweet"},
    favourites="likes",
    engagement=("likes", "comments", "shares", "saves"),
    tags="twitter",
    mentions="twitter",
)
