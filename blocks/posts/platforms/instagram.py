"""Instagram: its addresses, the arithmetic between shortcodes and numeric ids, and its forms of payload."""

from __future__ import annotations

import re
from dataclasses import replace

from blocks.posts.payloads.instagram import GRAPHQL, V1
from blocks.posts.payloads.instagram_flat import FLAT, INSTAGRAPI
from blocks.posts.payloads.yt_dlp import INSTAGRAM_INFO
from blocks.posts.platforms.spec import NUMBERS, PlatformSpec
from blocks.posts.record import PostRef
from blocks.posts.urls import Address, short_link, with_www

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_PUBLIC_LENGTH = 11
"""Ids are 64-bit numbers, six bits a letter: a public code has at most eleven letters."""
_PRIVATE_LENGTH = 28
"""A post of a private account has its public code with 28 more letters behind it (39 in all for posts of today)."""

_KINDS = ("p", "reel", "reels", "tv")
_PAGES = frozenset(
    {*_KINDS, "about", "accounts", "api", "developer", "direct", "explore", "graphql", "legal", "oauth", "press"}
    | {"privacy", "share", "stories", "terms", "web", "challenge", "emails", "session", "static", "topics", "locations"}
)
_USER = re.compile(r"[A-Za-z0-9_.]{1,30}\Z")
_REELS_PAGES = frozenset(
    {"audio", "create", "explore", "hashtag", "location", "locations", "saved", "tagged", "templates", "trending"}
    | {"videos"}
)


def shortcode_to_id(shortcode: str) -> str:
    """The numeric id that an Instagram shortcode stands for, as text.

    A shortcode is the id in base 64, most significant letter first. One of a private account's post has a token
    of 28 letters behind it, which stands for nothing (as yt-dlp and gallery-dl read it). Codes of a length between
    the two are nobody's.

    Raises:
        ValueError: the text has a length that no shortcode has, holds something that none holds, or stands for 0.
    """
    public = public_shortcode(shortcode)
    if not 1 <= len(public) <= _PUBLIC_LENGTH:
        raise ValueError("a shortcode has 1 to 11 letters, and with a private post's token 29 to 39")
    if any(letter not in _VALUE for letter in shortcode):
        raise ValueError("a shortcode holds letters, digits, '-' and '_' only")
    number = 0
    for letter in public:
        number = number * 64 + _VALUE[letter]
    if number == 0:
        raise ValueError("a shortcode stands for a number above zero")
    return str(number)


def public_shortcode(shortcode: str) -> str:
    """The code that names the post: without the token of 28 letters where there is one, else as it is."""
    return shortcode[:-_PRIVATE_LENGTH] if len(shortcode) > _PRIVATE_LENGTH else shortcode


def id_to_shortcode(post_id: str | int) -> str:
    """The public Instagram shortcode of a numeric id; what follows a `_` (the owner's id) is left out.

    Raises:
        ValueError: no whole number above zero.
    """
    digits = str(post_id).partition("_")[0]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and int(digits) > 0):
        raise ValueError("an Instagram id is a whole number above zero")
    number, letters = int(digits), ""
    while number:
        number, value = divmod(number, 64)
        letters = _ALPHABET[value] + letters
    return letters


def _url(shortcode: str) -> str:
    return f"https://www.instagram.com/p/{shortcode}/"


def _read_address(address: Address) -> PostRef | None:
    code = _code_in(address)
    if code is None:
        return None
    public = public_shortcode(code)
    return PostRef("instagram", shortcode_to_id(code), _url(public), shortcode=public)


def _code_in(address: Address) -> str | None:
    """The shortcode as it stands in the URL, with a private post's token."""
    parts = address.parts
    if parts[:1] == ["share"]:
        raise short_link("an Instagram share link")
    if len(parts) >= 3 and parts[0] not in _PAGES and parts[1] in _KINDS:
        parts = parts[1:]
    if parts[:2] == ["reels", "videos"]:
        parts = parts[1:]
    elif len(parts) < 2 or parts[0] not in _KINDS or (parts[0].startswith("reel") and parts[1] in _REELS_PAGES):
        return None
    if len(parts) < 2:
        return None
    code = parts[1]
    try:
        shortcode_to_id(code)
    except ValueError:
        return None
    return code


def _private_url(address: Address) -> str | None:
    """The URL with the token of 28 letters. Rows keep the public form, which names the post."""
    code = _code_in(address)
    return _url(code) if code is not None and code != public_shortcode(code) else None


def _read_profile(parts: list[str]) -> tuple[str, str] | None:
    if len(parts) != 1 or parts[0].lower() in _PAGES:
        return None
    handle = parts[0].lower()
    return (handle, f"https://www.instagram.com/{handle}/") if _USER.match(handle) else None


def _urls_to_try(ref: PostRef, _given: str, private: str | None) -> list[str]:
    """That its `/p/` form is taken is not documented (contract §5.1). A private post opens by its long code alone."""
    post = private or ref.url
    return [post, post.replace("/p/", "/reel/")]


def _form_of(url: str) -> str:
    return "reel" if "/reel/" in url or "/reels/" in url else "post" if "/p/" in url else "other"


def _as_stored(ref: PostRef, _author: str | None) -> PostRef:
    code = public_shortcode(ref.shortcode or id_to_shortcode(ref.post_id))
    return replace(ref, shortcode=code, url=ref.url if ref.shortcode in (None, code) else _url(code))


INSTAGRAM = PlatformSpec(
    name="instagram",
    label="Instagram",
    hosts=("instagram.com", "www.instagram.com", "m.instagram.com", "instagr.am", "www.instagr.am"),
    other_hosts=(
        *with_www("ddinstagram.com", "kkinstagram.com", "vxinstagram.com", "instagramez.com"),
        *("d.ddinstagram.com", "g.ddinstagram.com", "d.vxinstagram.com", "api.instagram.com"),
    ),
    leading_hosts=("l.instagram.com",),
    leading_pages=frozenset(
        {"accounts", "age_check", "auth_platform", "challenge", "consent", "flx", "l.php", "linkshim", "oauth"}
        | {"oembed"}
    ),
    read_address=_read_address,
    example="https://www.instagram.com/p/CODE/",
    post_url=lambda post_id, shortcode: _url(shortcode or post_id),
    private_url=_private_url,
    read_profile=_read_profile,
    profile_example="https://www.instagram.com/USER/",
    profile_address=r"(?:instagram\.com|instagr\.am)/(?:stories/)?",
    may_be_profile=lambda name: _read_profile([name]) is not None,
    metadata_path="/instagram/video/metadata",
    is_found_by_hashtag=True,
    urls_to_try=_urls_to_try,
    form_of=_form_of,
    shapes=(GRAPHQL, V1, FLAT, INSTAGRAPI, INSTAGRAM_INFO),
    documented={"apify": "instagram_graphql"},
    # The id of the v1 API is POST_OWNER.
    ids=replace(NUMBERS, whole=re.compile(r"([0-9]{1,20})(?:_.*)?\Z", re.DOTALL)),
    id_of_code=shortcode_to_id,
    as_stored=_as_stored,
)
