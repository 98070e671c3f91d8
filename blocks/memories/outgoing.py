"""What is sent to the API: paths and fields of every call, and wrong input refused before anything leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from blocks.memories.captions import normalise_hashtag
from blocks.memories.errors import UsageError
from blocks.memories.identity import other_tiktok_form, parse_creator_url, parse_post_url
from blocks.memories.posts.record import CHANNELS, Channel, Platform, PostRef

STATUS_PATH = "/get_video_ids_by_task_id"
METADATA_PATHS: dict[Platform, str] = {
    "instagram": "/instagram/video/metadata",
    "tiktok": "/tiktok/video/metadata",
    "youtube": "/youtube/video/metadata",
    "x": "/twitter/video/metadata",
}
MAX_URLS = 50
"""Post URLs of one import (contract §2.3)."""


class Where(TypedDict, total=False):
    """Where an import goes: `namespace` ("default") or `folder_id`, never both; `library` "private" or "public".

    `callback_url` is told when the import moves on; it usually holds a secret of the receiver's.
    """

    namespace: str
    folder_id: int | None
    library: str
    callback_url: str | None


def checked_key(key: str) -> str:
    """The API key, fit to be a header of its own.

    Raises:
        UsageError: it is missing, or no bare key; the message never holds it.
    """
    if not key.strip():
        raise UsageError(
            "MEMORIES_API_KEY is not set: put the key into the environment or .env, or save it in a block "
            "of the type memories-credentials"
        )
    if key.lower().startswith("bearer"):
        raise UsageError('MEMORIES_API_KEY starts with "Bearer": the key is sent bare, so leave that word out')
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("MEMORIES_API_KEY holds a space, a line break or a foreign character: copy the key again")
    return key


def checked_base_url(name: str, url: str) -> str:
    """A base URL without its trailing slash.

    Raises:
        UsageError: not http(s), no host, or with a user name, query or fragment.
    """
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise UsageError(f"{name} is no URL: give one such as https://api.memories.ai/serve/api/v1") from None
    if not usable or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(f"{name} has to be a plain https:// (or http://) URL without user name, query or fragment")
    return url.strip().rstrip("/")


def checked_timeout(seconds: float) -> float:
    """A time limit in seconds; UsageError where it is none."""
    if not 0 < seconds < 86_400:
        raise UsageError("the timeout has to be longer than 0 seconds and shorter than a day")
    return seconds


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host (HTTPS_PROXY, NO_PROXY, …), as offices need it.

    None for this machine itself, whatever the environment says: the sandbox is never behind a proxy.
    """
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _namespace(namespace: str, folder_id: int | None) -> dict[str, Any]:
    # The two forms of one thing: sending both is undefined (contract §9).
    if folder_id is None:
        if not namespace.strip():
            raise UsageError("the namespace is empty: name one, or leave it at default")
        return {"unique_id": namespace}
    if namespace != "default":
        raise UsageError("give a namespace or a folder id, not both")
    return {"folder_id": folder_id}


def _import(path: str, fields: dict[str, Any], callback_field: str, where: Where) -> tuple[str, dict[str, Any]]:
    library, callback_url = where.get("library", "private"), where.get("callback_url")
    if library not in ("private", "public"):
        raise UsageError(f'unknown library "{library}": it is private or public')
    named = _namespace(where.get("namespace", "default"), where.get("folder_id"))
    if callback_url is not None:
        if not callback_url.startswith(("http://", "https://")):
            raise UsageError("the callback has to be a URL that starts with https:// (or http://)")
        fields[callback_field] = callback_url
    # The public library knows no namespaces: it ignores either field (contract §2.2).
    return (f"{path}_public", fields) if library == "public" else (path, fields | named)


def _count(count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UsageError("the number of posts has to be a whole number of 1 or more")
    return count


def hashtag_import(hashtag: str, count: int, where: Where) -> tuple[str, dict[str, Any]]:
    """Path and fields of a hashtag import; the hashtag as typed, without `#` (contract §2.1)."""
    fields = {"hash_tags": [normalise_hashtag(hashtag)], "scraper_cnt": _count(count)}
    return _import("/scraper_tag", fields, "callback", where)


def url_import(urls: Sequence[str], where: Where) -> tuple[str, dict[str, Any]]:
    """Path and fields of an import of post URLs; each post once, in its canonical form (contract §2.3)."""
    if isinstance(urls, str):
        raise UsageError("give a list of post URLs, not one text")
    refs = [parse_post_url(url) for url in urls]
    platforms = sorted({ref.platform for ref in refs})
    if len(platforms) > 1:
        raise UsageError(f"one import takes the URLs of one platform, and these are of {' and '.join(platforms)}")
    if platforms == ["x"]:
        raise UsageError("the API imports no posts of X: enrich them by their URLs instead")
    posts = list(dict.fromkeys(ref.url for ref in refs))
    if not 1 <= len(posts) <= MAX_URLS:
        raise UsageError(f"one import takes 1 to {MAX_URLS} post URLs, and these are {len(posts)}")
    # No `quality`: the file is not wanted, and its default is the vendor's cheapest.
    return _import("/scraper_url", {"video_urls": posts}, "callback_url", where)


def creator_import(profile_url: str, count: int, where: Where) -> tuple[str, dict[str, Any]]:
    """Path and fields of a creator import; `username` is the profile's URL (contract §2.4)."""
    _platform, _handle, profile = parse_creator_url(profile_url)
    fields = {"username": profile, "scraper_cnt": _count(count)}
    return _import("/scraper", fields, "callback_url", where)


def status_path(task_id: str, namespace: str | None, folder_id: int | None) -> str:
    """Path and query of a status call; the namespace is the import's, the newest API knows none beside folders.

    None: a public import, which has none.
    """
    if not task_id.strip():
        raise UsageError("the import has no task id, so there is nothing to ask for")
    named: dict[str, Any] = {} if namespace is None else _namespace(namespace, folder_id)
    named.pop("folder_id", None)
    return f"{STATUS_PATH}?{urlencode({'task_id': task_id} | named)}"


def checked_channel(channel: Channel) -> Channel:
    """The channel itself.

    Raises:
        UsageError: no channel of the API.
    """
    if channel not in CHANNELS:
        raise UsageError(f'unknown channel "{channel}": it is one of {", ".join(CHANNELS)}')
    return channel


def url_forms(ref: PostRef, source_url: str | None) -> list[str]:
    """The URLs under which metadata of a post can be asked for, the one to try first in front; one or two.

    TikTok and X are asked for as the import gave the URL, for the handle is in it. Only TikTok has a second form
    (player or handle): whether its metadata endpoint takes the player's is not documented.
    """
    if ref.platform not in ("tiktok", "x"):
        return [ref.url]
    first = (source_url or "").strip() or ref.url
    if not first.startswith(("http://", "https://")):
        first = f"https://{first}"
    known = (ref.url, other_tiktok_form(ref)) if ref.platform == "tiktok" else ()
    second = next((url for url in known if url and tiktok_form(url) != tiktok_form(first)), None)
    return [first, second] if second else [first]


def tiktok_form(url: str) -> str:
    """Which of TikTok's URL forms this is: player, handle or other."""
    return "player" if "/player/" in url else "handle" if "/@" in url else "other"
