"""Which post a URL names, and the URLs and numbers by which the sandbox names its own posts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PLACE = {letter: place for place, letter in enumerate(ALPHABET)}

_HOSTS = {
    "instagram.com": "instagram",
    "tiktok.com": "tiktok",
    "youtube.com": "youtube",
    "youtu.be": "youtube",
    "x.com": "x",
    "twitter.com": "x",
}
_INSTAGRAM = re.compile(r"/(?:[A-Za-z0-9._]+/)?(p|reel|reels|tv)/([A-Za-z0-9_-]{5,64})/?$")
_TIKTOK_HANDLE = re.compile(r"/@([A-Za-z0-9._-]*)/(?:video|photo)/(\d{5,25})/?$")
_TIKTOK_PLAYER = re.compile(r"/(?:player/v1|v|embed(?:/v2)?)/(\d{5,25})(?:\.html)?/?$")
_YOUTUBE = re.compile(r"/(?:shorts|embed|live|v)/([A-Za-z0-9_-]{11})/?$")
_X = re.compile(r"/(?:i/(?:web/)?|([A-Za-z0-9_]{1,30})/)status(?:es)?/(\d{5,25})(?:/.*)?$")
_PROFILE = {
    "instagram": re.compile(r"/([A-Za-z0-9._]{1,60})/?$"),
    "tiktok": re.compile(r"/@([A-Za-z0-9._-]{1,60})/?$"),
    "youtube": re.compile(r"/(?:@|c/|channel/|user/)([A-Za-z0-9._-]{1,60})/?$"),
}


@dataclass(frozen=True, slots=True)
class Address:
    """A post as its URL names it.

    `form` says how it was written. TikTok: "player", "handle", or "placeholder" where "_" or nothing stands for the
    handle; Instagram: the word before the code.
    """

    platform: str
    post_id: str
    code: str | None = None
    handle: str | None = None
    form: str = ""

    @property
    def key(self) -> str:
        return f"{self.platform}:{self.post_id}"


def _split(url: str) -> tuple[str | None, str, str]:
    text = url.strip()
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None, "", ""
    if parts.scheme not in ("http", "https"):
        return None, "", ""
    for prefix in ("www.", "m.", "mobile."):
        host = host.removeprefix(prefix)
    return _HOSTS.get(host), parts.path, parts.query if host != "youtu.be" else f"v={parts.path.strip('/')}"


def platform_of(url: str) -> str | None:
    """The platform on whose host the URL lies, or None."""
    return _split(url)[0]


def read_address(url: str) -> Address | None:
    """The post that `url` names, or None where it names none."""
    platform, path, query = _split(url)
    if platform == "instagram" and (found := _INSTAGRAM.search(path)):
        return Address("instagram", str(number_of_code(found[2])), code=found[2], form=found[1])
    if platform == "tiktok":
        if found := _TIKTOK_HANDLE.search(path):
            handle = None if found[1] in ("", "_") else found[1]
            return Address("tiktok", found[2], handle=handle, form="handle" if handle else "placeholder")
        if found := _TIKTOK_PLAYER.search(path):
            return Address("tiktok", found[1], form="player")
    if platform == "youtube":
        found = _YOUTUBE.search(path)
        code = found[1] if found else next(iter(parse_qs(query).get("v", [])), "")
        if re.fullmatch(r"[A-Za-z0-9_-]{11}", code):
            return Address("youtube", code)
    if platform == "x" and (found := _X.search(path)):
        return Address("x", found[2], handle=found[1])
    return None


def read_profile(url: str) -> tuple[str, str] | None:
    """The platform and handle of a profile URL (TikTok, Instagram, YouTube), or None."""
    platform, path, _ = _split(url)
    if platform in _PROFILE and (found := _PROFILE[platform].fullmatch(path)):
        return platform, found[1]
    return None


def number_of_code(code: str) -> int:
    """Instagram's number of a short code; codes of private posts carry a tail after the first 11 letters."""
    number = 0
    for letter in code[:11] if len(code) > 20 else code:
        number = number * 64 + _PLACE[letter]
    return number


def code_of_number(number: int) -> str:
    """Instagram's short code of a number."""
    letters = ""
    while number:
        number, place = divmod(number, 64)
        letters = ALPHABET[place] + letters
    return letters or "A"


def import_url(platform: str, post_id: str, code: str | None) -> str:
    """The URL as an import lists it (TikTok: the player's, which has no handle)."""
    if platform == "instagram":
        return f"https://www.instagram.com/p/{code}/"
    if platform == "tiktok":
        return f"https://www.tiktok.com/player/v1/{post_id}"
    if platform == "youtube":
        return f"https://www.youtube.com/watch?v={post_id}"
    return f"https://x.com/i/status/{post_id}"
