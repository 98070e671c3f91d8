"""A post's identity from its URL alone: platform, id and canonical URL, for all forms that the platforms use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from blocks.errors import NotAPostUrl, UsageError
from blocks.posts.addresses import (
    id_to_shortcode,
    instagram_url,
    is_tiktok_handle,
    public_shortcode,
    shortcode_to_id,
    tiktok_url,
    x_url,
    youtube_url,
)
from blocks.posts.hosts import HOSTS, LEADS_TO, OTHER_HOSTS, REDIRECTING, REDIRECTS, SHELLS, YOUTUBE_SHORT
from blocks.posts.record import Platform, PostRef
from blocks.posts.urls import GIVE_ANY, Address, bare, in_place_of_path, shown, split_url

__all__ = [
    "id_to_shortcode",
    "item_key",
    "other_tiktok_form",
    "parse_creator_url",
    "parse_post_url",
    "platform_of",
    "private_instagram_url",
    "shortcode_to_id",
    "shown",
    "url_to_ask",
]

NO_HANDLE = "_"
"""Stands for a handle that is not known; no user's name, for TikTok's have two letters or more."""

_MOST_PAGES = 3
"""So many such pages may stand in each other."""

_GIVE = {
    "instagram": "https://www.instagram.com/p/CODE/",
    "tiktok": "https://www.tiktok.com/@USER/video/ID",
    "youtube": "https://www.youtube.com/watch?v=ID",
    "x": "https://x.com/USER/status/ID",
}

_NUMBER = re.compile(r"[1-9][0-9]{0,19}\Z")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}\Z")
_INSTAGRAM_KINDS = ("p", "reel", "reels", "tv")
_INSTAGRAM_PAGES = frozenset(
    {
        *_INSTAGRAM_KINDS,
        "about",
        "accounts",
        "api",
        "developer",
        "direct",
        "explore",
        "graphql",
        "legal",
        "oauth",
        "press",
    }
    | {"privacy", "share", "stories", "terms", "web", "challenge", "emails", "session", "static", "topics", "locations"}
)
_INSTAGRAM_USER = re.compile(r"[A-Za-z0-9_.]{1,30}\Z")
_REELS_PAGES = frozenset(
    {
        "audio",
        "create",
        "explore",
        "hashtag",
        "location",
        "locations",
        "saved",
        "tagged",
        "templates",
        "trending",
        "videos",
    }
)
_YOUTUBE_KINDS = ("shorts", "embed", "live", "v", "vi", "e")
_YOUTUBE_WATCH = ("watch", "watch.php", "watch_popup", "movie", "ytscreeningroom")
_MEDIA_ENDING = re.compile(r"\.(?:mp4|jpe?g|png|webp|gif|txt)\Z")
_X_KINDS = ("status", "statuses")
_X_USER = re.compile(r"[A-Za-z0-9_]{1,20}\Z")
_CHANNEL_ID = re.compile(r"UC[A-Za-z0-9_-]{22}\Z")
_YOUTUBE_NAME = re.compile(r"[\w.\-·]{1,100}\Z")
_PROFILE_TABS = frozenset(
    {"about", "community", "featured", "live", "playlists", "posts", "reels", "shorts", "streams", "tagged", "videos"}
)


class _Named(NamedTuple):
    ref: PostRef
    address: Address
    """The address that names it, which may have stood in another one."""
    in_path: bool
    """Whether the address's path names it by itself."""


def platform_of(url: str) -> Platform | None:
    """The platform whose host the URL names, whether or not it is a post's; None for any other host or no URL."""
    try:
        return HOSTS.get(split_url(url).host)
    except NotAPostUrl:
        return None


def parse_post_url(url: str) -> PostRef:
    """Turn any URL of a post into its identity, without asking anybody.

    Host and scheme may be in any case or missing (scheme), query strings, fragments and trailing slashes are
    ignored where they name no post. A page that asks for a login or a consent, or that leads somewhere, names the post
    of the same platform that it leads to. `handle` is set for TikTok only, `shortcode` for Instagram only.

    Raises:
        NotAPostUrl: it names no post, or several; the message says what was wrong and what to give.
    """
    address = split_url(url)
    platform = _platform(address)
    if platform is None:
        raise NotAPostUrl(f'"{shown(url.strip())}" is on no known platform; {GIVE_ANY}')
    named = _named(address, platform)
    if named is None:
        raise NotAPostUrl(f'"{shown(url.strip())}" names no post; give an address such as {_GIVE[platform]}')
    return named.ref


def _platform(address: Address) -> Platform | None:
    return HOSTS.get(address.host) or OTHER_HOSTS.get(address.host) or REDIRECTS.get(address.host)


def _named(address: Address, platform: Platform, pages: int = 0) -> _Named | None:
    """The post that an address names: by its path, behind its `#`, or by where it leads."""
    read = _READERS[platform]
    if address.host not in REDIRECTS:
        if ref := read(address):
            return _Named(ref, address, in_path=read(address._replace(query="", fragment="")) == ref)
        path = "/".join(address.parts)
        if path in SHELLS and address.fragment.startswith(("/", "!/")):
            behind = in_place_of_path(address, address.fragment.removeprefix("!"))
            return _Named(ref, behind, in_path=False) if (ref := read(behind)) else None
        if not any(f"{path}/".startswith(f"{page}/") for page in REDIRECTING[platform]):
            return None
    if pages == _MOST_PAGES:
        return None
    found = {}
    for name, value in parse_qsl(address.query)[:100]:
        if name.lower() not in LEADS_TO:
            continue
        try:
            relative = value.startswith("/") and not value.startswith("//")
            behind = in_place_of_path(address, value) if relative else split_url(value)
            if _platform(behind) == platform and (named := _named(behind, platform, pages + 1)):
                found[named.ref.post_id] = named._replace(in_path=False)
        except NotAPostUrl:
            continue
    return found.popitem()[1] if len(found) == 1 else None


def private_instagram_url(given: str | None) -> str | None:
    """The URL with the token of 28 letters, where a URL as given has one: a private account's post opens by it alone.

    None for all other URLs, and for what is no URL of a post. Rows keep the public form, which names the post.
    """
    try:
        address = split_url(given)
        named = _named(address, "instagram") if _platform(address) == "instagram" else None
        code = None if named is None else _instagram_code(named.address)
    except NotAPostUrl:
        return None
    return instagram_url(code) if code is not None and code != public_shortcode(code) else None


def url_to_ask(ref: PostRef, given: str | None) -> str:
    """The URL by which a post is asked for: as it was given where that is a plain one of the platform's own site.

    For all others (login pages, other sites, punctuation around it) the canonical one, on X with the user's name where
    the URL had it.
    """
    if given is None:
        return ref.url
    try:
        address = split_url(given)
        named = _named(address, ref.platform) if _platform(address) == ref.platform else None
    except NotAPostUrl:
        return ref.url
    if named is None or named.ref.post_id != ref.post_id:
        return ref.url
    if named.in_path and address.as_given and HOSTS.get(address.host) == ref.platform:
        given = given.strip()
        return given if "://" in given.partition("?")[0] else f"https://{given.removeprefix('//')}"
    if ref.platform == "x" and len(parts := named.address.parts) >= 3 and parts[1] in _X_KINDS and parts[0] != "i":
        return f"https://x.com/{parts[0]}/status/{ref.post_id}"
    return named.ref.url


def _instagram(address: Address) -> PostRef | None:
    code = _instagram_code(address)
    if code is None:
        return None
    public = public_shortcode(code)
    return PostRef("instagram", shortcode_to_id(code), instagram_url(public), shortcode=public)


def _instagram_code(address: Address) -> str | None:
    """The shortcode as it stands in the URL, with a private post's token."""
    parts = address.parts
    if parts[:1] == ["share"]:
        raise _short_link("an Instagram share link")
    if len(parts) >= 3 and parts[0] not in _INSTAGRAM_PAGES and parts[1] in _INSTAGRAM_KINDS:
        parts = parts[1:]
    if parts[:2] == ["reels", "videos"]:
        parts = parts[1:]
    elif (
        len(parts) < 2 or parts[0] not in _INSTAGRAM_KINDS or (parts[0].startswith("reel") and parts[1] in _REELS_PAGES)
    ):
        return None
    if len(parts) < 2:
        return None
    code = parts[1]
    try:
        shortcode_to_id(code)
    except ValueError:
        return None
    return code


def _tiktok(address: Address) -> PostRef | None:
    parts = address.parts
    if address.host in ("vm.tiktok.com", "vt.tiktok.com") or parts[:1] == ["t"]:
        raise _short_link("a TikTok short link")
    handle, number = None, ""
    if parts[:3] == ["node", "share", "video"]:
        parts = [*parts[3:4], "video", *parts[4:]]
    if len(parts) >= 3 and parts[0].startswith("@") and parts[1] in ("video", "photo"):
        handle, number = parts[0][1:], parts[2]
    elif len(parts) >= 3 and parts[:2] == ["player", "v1"]:
        number = parts[2]
    elif len(parts) >= 2 and parts[0] == "v":
        number = parts[1].removesuffix(".html")
    elif len(parts) >= 2 and parts[0] == "embed":
        number = parts[2] if len(parts) >= 3 and re.fullmatch(r"v[0-9]", parts[1]) else parts[1]
    elif len(parts) >= 3 and parts[-3] == "share" and parts[-2] in ("video", "photo", "item"):
        number = parts[-1].removesuffix(".html")
    elif parts in (["foryou"], ["trending"]):
        number = _only(_values(address.query, "item_id", "shareId"))
    if not _NUMBER.match(number):
        return None
    if handle is not None and not is_tiktok_handle(handle):
        handle = None
    return PostRef("tiktok", number, tiktok_url(number, handle), handle=handle)


def _youtube(address: Address) -> PostRef | None:
    parts = address.parts
    code = ""
    if address.host in YOUTUBE_SHORT and parts and parts[0] not in (*_YOUTUBE_WATCH, *_YOUTUBE_KINDS):
        code = parts[0]
    elif len(parts) >= 2 and parts[0] in ("watch", *_YOUTUBE_KINDS):
        code = parts[1]
    elif not parts or (len(parts) == 1 and parts[0] in _YOUTUBE_WATCH):
        # Where there are two, YouTube takes the first. Old pages have their parameters behind the #.
        proper = [_value(value) for name, value in parse_qsl(address.query)[:100] if name in ("v", "vi")]
        glued = _values(address.query, "v", "vi") or _values(address.fragment.removeprefix("!").removeprefix("?"), "v")
        code = proper[0] if proper else _only(glued)
    elif address.host == "studio.youtube.com" and parts[0] == "video":
        code = parts[1] if len(parts) >= 2 else ""
    elif re.match("p/.+/[0-9]+/", address.fragment):
        # A channel's old page with a player on it: /user/NAME#p/u/1/ID.
        code = address.fragment.partition("?")[0].rpartition("/")[2]
    # What the player shows besides videos has eleven letters too: a playlist, and whatever a channel sends just now.
    if not _VIDEO_ID.match(code) or code in ("videoseries", "live_stream"):
        return None
    return PostRef("youtube", code, youtube_url(code))


def _x(address: Address) -> PostRef | None:
    parts = address.parts
    number = ""
    if parts[:2] == ["i", "web"]:
        parts = parts[1:]
    if len(parts) >= 3 and parts[1] in _X_KINDS and _X_USER.match(parts[0]):
        number = parts[2]
    elif len(parts) == 2 and parts[0] in _X_KINDS:
        number = parts[1]
    elif parts[:2] == ["i", "videos"] and len(parts) >= 3:
        number = parts[3] if parts[2] == "tweet" and len(parts) >= 4 else parts[2]
    elif parts[:4] == ["i", "cards", "tfw", "v1"] and len(parts) >= 5:
        number = parts[4]
    elif parts[:1] == ["intent"] and parts[1:] in (["like"], ["favorite"], ["retweet"]):
        number = _only(_values(address.query, "tweet_id"))
    elif address.host.startswith(("platform.", "cdn.")) and parts in (["embed", "Tweet.html"], ["tweet-result"]):
        number = _only(_values(address.query, "id"))
    if address.host in OTHER_HOSTS:
        # Sites that show a post's picture or video by itself.
        number = _MEDIA_ENDING.sub("", number)
    return PostRef("x", number, x_url(number)) if _NUMBER.match(number) else None


_READERS = {"instagram": _instagram, "tiktok": _tiktok, "youtube": _youtube, "x": _x}


def _values(query: str, *names: str) -> set[str]:
    """The values of these parameters, also where parameters are glued together by `?` or `;`."""
    pieces = [unquote(piece).partition("=") for piece in re.split("[&;?]", query)]
    return {_value(value) for name, _, value in pieces if name in names and value}


def _value(value: str) -> str:
    return bare(re.split("[&?#;]", value)[0]).rstrip("/")


def _only(values: Iterable[str]) -> str:
    """The one value that there is; '' where there is none or several."""
    values = list(values)
    return values[0] if len(values) == 1 else ""


def _short_link(what: str) -> NotAPostUrl:
    return NotAPostUrl(f"{what} does not say which post it means; open it and give the address that it leads to")


def item_key(ref: PostRef) -> str:
    """`platform:post_id`, the key of a post in ledgers and failure rows."""
    return f"{ref.platform}:{ref.post_id}"


def other_tiktok_form(ref: PostRef) -> str | None:
    """The other URL under which TikTok knows the post: the player's for one with a handle, and the other way round.

    Where no handle is known a placeholder stands in its place: TikTok's own pages open by the number alone, whatever
    stands there; nothing says that the API does as much. None for other platforms.
    """
    if ref.platform != "tiktok":
        return None
    player = tiktok_url(ref.post_id, None)
    return tiktok_url(ref.post_id, ref.handle or NO_HANDLE) if ref.url == player else player


def parse_creator_url(url: str) -> tuple[Platform, str, str]:
    """Turn a profile's URL into (platform, handle, canonical profile URL).

    The handle is without `@`; TikTok's and Instagram's are lower-cased, for they mean the same in any case. A
    YouTube channel is named by its handle, its `UC…` id, or the name behind `/c/` or `/user/`.

    Raises:
        UsageError: no profile of TikTok, Instagram or YouTube.
    """
    try:
        address = split_url(url)
    except NotAPostUrl:
        raise UsageError(f'"{shown(str(url).strip())}" is no creator\'s profile; {_GIVE_CREATOR}') from None
    platform = HOSTS.get(address.host)
    found = _profile(platform, address.parts) if platform else None
    if platform is None or found is None:
        raise UsageError(f'"{shown(url.strip())}" is no creator\'s profile; {_GIVE_CREATOR}')
    return platform, *found


_GIVE_CREATOR = (
    "give the address of a profile, such as https://www.tiktok.com/@USER, https://www.instagram.com/USER/ or "
    "https://www.youtube.com/@USER"
)


def _profile(platform: Platform, parts: list[str]) -> tuple[str, str] | None:
    if len(parts) >= 2 and parts[-1] in _PROFILE_TABS:
        parts = parts[:-1]
    if platform == "tiktok" and len(parts) == 1 and parts[0][:1] == "@" and is_tiktok_handle(parts[0][1:]):
        handle = parts[0][1:].lower()
        return handle, f"https://www.tiktok.com/@{handle}"
    if platform == "instagram" and len(parts) == 1 and parts[0].lower() not in _INSTAGRAM_PAGES:
        handle = parts[0].lower()
        return (handle, f"https://www.instagram.com/{handle}/") if _INSTAGRAM_USER.match(handle) else None
    if platform == "youtube" and len(parts) == 1 and parts[0][:1] == "@" and _YOUTUBE_NAME.match(parts[0][1:]):
        return parts[0][1:], f"https://www.youtube.com/{parts[0]}"
    if platform == "youtube" and len(parts) == 2:
        kind, name = parts
        if kind == "channel" and _CHANNEL_ID.match(name):
            return name, f"https://www.youtube.com/channel/{name}"
        if kind in ("c", "user") and _YOUTUBE_NAME.match(name):
            return name, f"https://www.youtube.com/{kind}/{name}"
    return None
