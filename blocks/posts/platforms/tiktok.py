"""TikTok: its addresses with and without the author's handle, and its forms of payload."""

from __future__ import annotations

import re
from dataclasses import replace

from blocks.posts.payloads.tiktok import ITEM, ITEM_STRUCT
from blocks.posts.payloads.tiktok_app import AWEME, FLAT, TIKWM
from blocks.posts.payloads.yt_dlp import TIKTOK_INFO
from blocks.posts.platforms.spec import PlatformSpec
from blocks.posts.record import PostRef
from blocks.posts.urls import POST_NUMBER, Address, only, short_link, values_in, with_www

_NO_HANDLE = "_"
"""Stands for a handle that is not known; no user's name, for TikTok's have two letters or more."""

_HANDLE = re.compile(r"[A-Za-z0-9_.]{2,24}\Z")


def _url(post_id: str, handle: str | None) -> str:
    """With the handle where it is known, else the player's form, which needs none."""
    if handle is None:
        return f"https://www.tiktok.com/player/v1/{post_id}"
    return f"https://www.tiktok.com/@{handle}/video/{post_id}"


def _is_handle(text: str) -> bool:
    """Whether the text can be a TikTok user name (ASCII letters, digits, `_`, `.`; 2 to 24 of them)."""
    return _HANDLE.match(text) is not None


def _read_address(address: Address) -> PostRef | None:
    parts = address.parts
    if address.host in ("vm.tiktok.com", "vt.tiktok.com") or parts[:1] == ["t"]:
        raise short_link("a TikTok short link")
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
        number = only(values_in(address.query, "item_id", "shareId"))
    if not POST_NUMBER.match(number):
        return None
    if handle is not None and not _is_handle(handle):
        handle = None
    return PostRef("tiktok", number, _url(number, handle), handle=handle)


def _read_profile(parts: list[str]) -> tuple[str, str] | None:
    if len(parts) != 1 or parts[0][:1] != "@" or not _is_handle(parts[0][1:]):
        return None
    handle = parts[0][1:].lower()
    return handle, f"https://www.tiktok.com/@{handle}"


def other_form(ref: PostRef) -> str:
    """The other URL under which the post is known: the player's for one with a handle, and the other way round.

    Where no handle is known a placeholder stands in its place: TikTok's own pages open by the number alone, whatever
    stands there; nothing says that the API does as much.
    """
    player = _url(ref.post_id, None)
    return _url(ref.post_id, ref.handle or _NO_HANDLE) if ref.url == player else player


def _urls_to_try(ref: PostRef, given: str, _private: str | None) -> list[str]:
    """As given, for the handle is in it; that the player's form is taken is not documented (contract §3.3). A
    placeholder for the handle comes last, and only where the handle is not known."""
    urls = [given, ref.url]
    other = other_form(ref)
    if not (_form_of(other) == "placeholder" and any(_form_of(url) == "handle" for url in urls)):
        urls.append(other)
    return urls


def _form_of(url: str) -> str:
    if "/@/" in url or f"/@{_NO_HANDLE}/" in url:
        return "placeholder"
    return "player" if "/player/" in url else "handle" if "/@" in url else "other"


def _as_stored(ref: PostRef, author: str | None) -> PostRef:
    return replace(ref, url=_url(ref.post_id, author)) if author is not None and _is_handle(author) else ref


TIKTOK = PlatformSpec(
    name="tiktok",
    label="TikTok",
    hosts=("tiktok.com", "www.tiktok.com", "m.tiktok.com", "vm.tiktok.com", "vt.tiktok.com"),
    other_hosts=(
        *with_www("tiktokv.com", "tiktokv.us", "vxtiktok.com", "tnktok.com", "tfxktok.com"),
        *("m.tiktokv.com", "t.tiktok.com", "lite.tiktok.com", "d.tnktok.com", "a.tnktok.com"),
    ),
    leading_pages=frozenset({"consent", "link", "login", "logout", "oembed", "redirect", "share", "signup"}),
    read_address=_read_address,
    example="https://www.tiktok.com/@USER/video/ID",
    post_url=lambda post_id, _shortcode: _url(post_id, None),
    handle_url="https://www.tiktok.com/@{handle}/",
    read_profile=_read_profile,
    profile_example="https://www.tiktok.com/@USER",
    profile_address=r"tiktok\.com/@",
    metadata_path="/tiktok/video/metadata",
    is_found_by_hashtag=True,
    urls_to_try=_urls_to_try,
    form_of=_form_of,
    shapes=(ITEM, ITEM_STRUCT, AWEME, TIKWM, FLAT, TIKTOK_INFO),
    documented={"apify": "tiktok_item", "rapid": "tiktok_item_struct", "memories.ai": "tiktok_item_struct"},
    favourites="saves",
    engagement=("likes", "comments", "shares", "saves"),
    as_stored=_as_stored,
    tags="glued",
)
