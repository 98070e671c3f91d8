"""A post's identity from its URL alone: platform, id and canonical URL, for all forms that the platforms use."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from blocks.memories.errors import NotAPostUrl, UsageError
from blocks.memories.posts.addresses import (
    id_to_shortcode,
    instagram_url,
    is_tiktok_handle,
    public_shortcode,
    shortcode_to_id,
    tiktok_url,
    x_url,
    youtube_url,
)
from blocks.memories.posts.record import Platform, PostRef

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
]

_LONGEST_URL = 2048

NO_HANDLE = "_"
"""Stands for a handle that is not known; no user's name, for TikTok's have two letters or more."""

_HOSTS: dict[str, Platform] = {
    **dict.fromkeys(
        ("instagram.com", "www.instagram.com", "m.instagram.com", "instagr.am", "www.instagr.am"), "instagram"
    ),
    **dict.fromkeys(("tiktok.com", "www.tiktok.com", "m.tiktok.com", "vm.tiktok.com", "vt.tiktok.com"), "tiktok"),
    **dict.fromkeys(("youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be"), "youtube"),
    **dict.fromkeys(("youtube-nocookie.com", "www.youtube-nocookie.com", "www.youtu.be"), "youtube"),
    **dict.fromkeys(("x.com", "www.x.com", "mobile.x.com", "m.x.com"), "x"),
    **dict.fromkeys(("twitter.com", "www.twitter.com", "mobile.twitter.com", "m.twitter.com"), "x"),
}

_GIVE = {
    "instagram": "https://www.instagram.com/p/CODE/",
    "tiktok": "https://www.tiktok.com/@USER/video/ID",
    "youtube": "https://www.youtube.com/watch?v=ID",
    "x": "https://x.com/USER/status/ID",
}
_GIVE_ANY = "give the address of a post on Instagram, TikTok, YouTube or X"

_NUMBER = re.compile(r"[1-9][0-9]{0,19}\Z")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}\Z")
_HOST = re.compile(r"[a-z0-9.-]+\Z")
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
_X_USER = re.compile(r"[A-Za-z0-9_]{1,20}\Z")
_CHANNEL_ID = re.compile(r"UC[A-Za-z0-9_-]{22}\Z")
_YOUTUBE_NAME = re.compile(r"[\w.\-·]{1,100}\Z")
_PROFILE_TABS = frozenset(
    {"about", "community", "featured", "live", "playlists", "posts", "reels", "shorts", "streams", "tagged", "videos"}
)


class _Address(NamedTuple):
    host: str
    parts: list[str]
    """Segments of the path, percent-decoded, without empty ones."""
    query: str


def shown(url: str) -> str:
    """The URL as an error may show it: short, and without anything that is no plain character."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in url[:80])
    return f"{plain}…" if len(url) > 80 else plain


def _split(url: object) -> _Address:
    """Take a URL apart, strictly.

    Raises:
        NotAPostUrl: no text, too long, or anything that makes it unclear which host is meant.
    """
    if not isinstance(url, str):
        raise NotAPostUrl(f"a post's address is text, not {type(url).__name__}; {_GIVE_ANY}")
    text = url.strip()
    if not text:
        raise NotAPostUrl(f"the address is empty; {_GIVE_ANY}")
    if len(text) > _LONGEST_URL:
        raise NotAPostUrl(f"the address has {len(text)} characters, more than any post's; {_GIVE_ANY}")
    if any(letter.isspace() or not letter.isprintable() for letter in text) or "\\" in text:
        raise NotAPostUrl(f'"{shown(text)}" holds spaces, backslashes or control characters; give one plain address')
    scheme, mark, rest = text.partition("://")
    if not mark or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        rest = text.removeprefix("//")
    elif scheme.lower() not in ("http", "https"):
        raise NotAPostUrl(f'"{shown(text)}" is no web address; give one that starts with https://')
    try:
        split = urlsplit(f"https://{rest}")
    except ValueError:
        raise NotAPostUrl(f'"{shown(text)}" cannot be read as an address; {_GIVE_ANY}') from None
    host = split.netloc.lower()
    if not split.netloc.isascii() or not _HOST.match(host):
        raise NotAPostUrl(
            f'"{shown(text)}" has a host with a user name, a port or foreign characters; give the plain address'
        )
    return _Address(host, [unquote(part) for part in split.path.split("/") if part], split.query)


def platform_of(url: str) -> Platform | None:
    """The platform whose host the URL names, whether or not it is a post's; None for any other host or no URL."""
    try:
        return _HOSTS.get(_split(url).host)
    except NotAPostUrl:
        return None


def parse_post_url(url: str) -> PostRef:
    """Turn any URL of a post into its identity, without asking anybody.

    Host and scheme may be in any case or missing (scheme), query strings, fragments and trailing slashes are
    ignored. `handle` is set for TikTok only, `shortcode` for Instagram only.

    Raises:
        NotAPostUrl: it names no post; the message says what was wrong and what to give.
    """
    address = _split(url)
    platform = _HOSTS.get(address.host)
    if platform is None:
        raise NotAPostUrl(f'"{shown(url.strip())}" is on no known platform; {_GIVE_ANY}')
    ref = _READERS[platform](address)
    if ref is None:
        raise NotAPostUrl(f'"{shown(url.strip())}" names no post; give an address such as {_GIVE[platform]}')
    return ref


def private_instagram_url(given: str | None) -> str | None:
    """The URL with the token of 28 letters, where a URL as given has one: a private account's post opens by it alone.

    None for all other URLs, and for what is no URL of a post. Rows keep the public form, which names the post.
    """
    try:
        address = _split(given)
        code = _instagram_code(address) if _HOSTS.get(address.host) == "instagram" else None
    except NotAPostUrl:
        return None
    return instagram_url(code) if code is not None and code != public_shortcode(code) else None


def _instagram(address: _Address) -> PostRef | None:
    code = _instagram_code(address)
    if code is None:
        return None
    public = public_shortcode(code)
    return PostRef("instagram", shortcode_to_id(code), instagram_url(public), shortcode=public)


def _instagram_code(address: _Address) -> str | None:
    """The shortcode as it stands in the URL, with a private post's token."""
    parts = address.parts
    if parts[:1] == ["share"]:
        raise _short_link("an Instagram share link")
    if len(parts) >= 3 and parts[0] not in _INSTAGRAM_PAGES and parts[1] in _INSTAGRAM_KINDS:
        parts = parts[1:]
    # /reels/audio/ID is the page of a sound, not of a post.
    if len(parts) < 2 or parts[0] not in _INSTAGRAM_KINDS or parts[:2] in (["reels", "audio"], ["reel", "audio"]):
        return None
    code = parts[1]
    try:
        shortcode_to_id(code)
    except ValueError:
        return None
    return code


def _tiktok(address: _Address) -> PostRef | None:
    parts = address.parts
    if address.host in ("vm.tiktok.com", "vt.tiktok.com") or parts[:1] == ["t"]:
        raise _short_link("a TikTok short link")
    handle, number = None, ""
    if len(parts) >= 3 and parts[0].startswith("@") and parts[1] in ("video", "photo"):
        handle, number = parts[0][1:], parts[2]
    elif len(parts) >= 3 and parts[:2] == ["player", "v1"]:
        number = parts[2]
    elif len(parts) >= 2 and parts[0] == "v":
        number = parts[1].removesuffix(".html")
    elif len(parts) >= 2 and parts[0] == "embed":
        number = parts[2] if len(parts) >= 3 and re.fullmatch(r"v[0-9]", parts[1]) else parts[1]
    elif parts[-3:-1] == ["share", "video"]:
        number = parts[-1].removesuffix(".html")
    if not _NUMBER.match(number):
        return None
    if handle is not None and not is_tiktok_handle(handle):
        handle = None
    return PostRef("tiktok", number, tiktok_url(number, handle), handle=handle)


def _youtube(address: _Address) -> PostRef | None:
    parts = address.parts
    if address.host.endswith("youtu.be"):
        code = parts[0] if parts else ""
    elif parts == ["watch"]:
        try:
            code = parse_qs(address.query, max_num_fields=100).get("v", [""])[0]
        except ValueError:
            return None
    elif len(parts) >= 2 and parts[0] in ("shorts", "embed", "live", "v", "e"):
        code = parts[1]
    else:
        return None
    # What the player shows besides videos has eleven letters too: a playlist, and whatever a channel sends just now.
    if not _VIDEO_ID.match(code) or (parts[:1] == ["embed"] and code in ("videoseries", "live_stream")):
        return None
    return PostRef("youtube", code, youtube_url(code))


def _x(address: _Address) -> PostRef | None:
    parts = address.parts
    if parts[:2] == ["i", "web"]:
        parts = parts[1:]
    if len(parts) < 3 or parts[1] not in ("status", "statuses") or not _X_USER.match(parts[0]):
        return None
    return PostRef("x", parts[2], x_url(parts[2])) if _NUMBER.match(parts[2]) else None


_READERS = {"instagram": _instagram, "tiktok": _tiktok, "youtube": _youtube, "x": _x}


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
        address = _split(url)
    except NotAPostUrl:
        raise UsageError(f'"{shown(str(url).strip())}" is no creator\'s profile; {_GIVE_CREATOR}') from None
    platform = _HOSTS.get(address.host)
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
