"""YouTube: its addresses, of videos and of channels, and its forms of payload."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from blocks.posts.payloads.youtube import FLAT, INVIDIOUS, ITEM, OBJECT
from blocks.posts.payloads.youtube_api import DATA_API, PLAYER
from blocks.posts.payloads.yt_dlp import YOUTUBE_INFO
from blocks.posts.platforms.spec import IdForm, PlatformSpec
from blocks.posts.record import PostRef
from blocks.posts.urls import Address, only, value_of, values_in, with_www

_KINDS = ("shorts", "embed", "live", "v", "vi", "e")
_WATCH = ("watch", "watch.php", "watch_popup", "movie", "ytscreeningroom")
_SHORT_HOSTS = with_www("youtu.be", "y2u.be")
"""Hosts whose paths are the id alone."""
_COUNTRIES = ("de", "es", "fr", "it", "jp", "nl", "pl", "uk")
_VIDEO_ID = re.compile(r"([A-Za-z0-9_-]{11})\Z")
_CHANNEL_ID = re.compile(r"UC[A-Za-z0-9_-]{22}\Z")
_CHANNEL_NAME = re.compile(r"[\w.\-·]{1,100}\Z")


def _url(post_id: str) -> str:
    return f"https://www.youtube.com/watch?v={post_id}"


def _read_address(address: Address) -> PostRef | None:
    parts = address.parts
    code = ""
    if address.host in _SHORT_HOSTS and parts and parts[0] not in (*_WATCH, *_KINDS):
        code = parts[0]
    elif len(parts) >= 2 and parts[0] in ("watch", *_KINDS):
        code = parts[1]
    elif not parts or (len(parts) == 1 and parts[0] in _WATCH):
        # Where there are two, YouTube takes the first. Old pages have their parameters behind the #.
        proper = [value_of(value) for name, value in parse_qsl(address.query)[:100] if name in ("v", "vi")]
        fragment = address.fragment.removeprefix("!").removeprefix("?")
        glued = values_in(address.query, "v", "vi") or values_in(fragment, "v")
        code = proper[0] if proper else only(glued)
    elif address.host == "studio.youtube.com" and parts[0] == "video":
        code = parts[1] if len(parts) >= 2 else ""
    elif re.match("p/.+/[0-9]+/", address.fragment):
        # A channel's old page with a player on it: /user/NAME#p/u/1/ID.
        code = address.fragment.partition("?")[0].rpartition("/")[2]
    # What the player shows besides videos has eleven letters too: a playlist, and whatever a channel sends just now.
    if not _VIDEO_ID.match(code) or code in ("videoseries", "live_stream"):
        return None
    return PostRef("youtube", code, _url(code))


def _read_profile(parts: list[str]) -> tuple[str, str] | None:
    if len(parts) == 1 and parts[0][:1] == "@" and _CHANNEL_NAME.match(parts[0][1:]):
        return parts[0][1:], f"https://www.youtube.com/{parts[0]}"
    if len(parts) == 2:
        kind, name = parts
        if kind == "channel" and _CHANNEL_ID.match(name):
            return name, f"https://www.youtube.com/channel/{name}"
        if kind in ("c", "user") and _CHANNEL_NAME.match(name):
            return name, f"https://www.youtube.com/{kind}/{name}"
    return None


YOUTUBE = PlatformSpec(
    name="youtube",
    label="YouTube",
    hosts=(
        *("youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be", "www.youtu.be"),
        *("youtube-nocookie.com", "www.youtube-nocookie.com"),
    ),
    other_hosts=(
        *with_www("youtubekids.com", "youtubeeducation.com", "y2u.be", "youtube.googleapis.com", "yewtu.be"),
        *with_www("piped.video"),
        *("gaming.youtube.com", "studio.youtube.com", *(f"{country}.youtube.com" for country in _COUNTRIES)),
    ),
    leading_hosts=("consent.youtube.com", "consent.google.com", "accounts.youtube.com", "accounts.google.com"),
    leading_pages=frozenset(
        {"account", "attribution_link", "consent", "das_captcha", "login", "logout", "oembed", "redirect", "signin"}
        | {"supported_browsers", "verify_age", "verify_controversy"}
    ),
    read_address=_read_address,
    example="https://www.youtube.com/watch?v=ID",
    post_url=lambda post_id, _shortcode: _url(post_id),
    read_profile=_read_profile,
    profile_example="https://www.youtube.com/@USER",
    profile_address=r"youtube\.com/(?:@|channel/|c/|user/)",
    metadata_path="/youtube/video/metadata",
    # What the API's documentation grants, per account.
    calls_per_hour={"rapid": 12.0},
    shapes=(ITEM, OBJECT, DATA_API, FLAT, INVIDIOUS, PLAYER, YOUTUBE_INFO),
    documented={"rapid": "youtube_object"},
    ids=IdForm(
        whole=_VIDEO_ID,
        alone=_VIDEO_ID,
        in_words=re.compile(r"(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{11}(?![A-Za-z0-9_-])"),
        is_number=False,
    ),
    mentions="any script",
)
