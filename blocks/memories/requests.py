"""What is sent to the API: paths and fields of every call, and wrong input refused before anything leaves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict
from urllib.parse import urlencode, urlsplit

from blocks import network
from blocks.errors import UsageError
from blocks.posts.captions import normalise_hashtag
from blocks.posts.identity import item_key, parse_creator_url, parse_post_url, platform_of, private_url, url_to_ask
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import CHANNELS, Channel, Platform, PostRef
from blocks.posts.urls import shown

STATUS_PATH = "/get_video_ids_by_task_id"
MAX_URLS = 50
"""Post URLs of one import (contract §2.3)."""


class Where(TypedDict, total=False):
    """Where an import goes: `namespace` ("default"), `library` "private" or "public", which knows no namespaces.

    `callback_url` is called when the import moves on; it usually holds a secret of the receiver's.
    """

    namespace: str
    library: str
    callback_url: str | None


def hosts_of(*urls: str) -> tuple[str, ...]:
    """Host and port of base URLs, each once, in order; never what stands before an `@`."""
    return tuple(dict.fromkeys(urlsplit(url).netloc.rpartition("@")[2] for url in urls))


def is_encrypted_or_here(url: str) -> bool:
    """Whether what is sent to a URL is read by nobody on the way: https://, or a server on this machine.

    A name below `.localhost` is another machine's wherever a resolver does not know better.
    """
    parts = urlsplit(url.strip())
    host = parts.hostname or ""
    return parts.scheme == "https" or (network.is_here(host) and not host.endswith(".localhost"))


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


def account_name(key: str, named: str = "") -> str:
    """The name that was given (TAGTRAIL_ACCOUNT, or the block's field), else one made of the key.

    The latter is the first 16 hex digits of the key's SHA-256: it tells accounts apart and not the key.

    Raises:
        UsageError: what was given is no name of 1 to 32 letters, digits, `.`, `_` or `-`.
    """
    if named := named.strip():
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", named):
            raise UsageError(
                f"an account's name (TAGTRAIL_ACCOUNT) has 1 to 32 letters, digits, '.', '_' or '-', not {named!r}"
            )
        return named
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def checked_base_url(name: str, url: str, *, allow_http: bool = False) -> str:
    """A base URL without its trailing slash; `allow_http`: the key may go unencrypted to another machine.

    Raises:
        UsageError: not http(s), no host, with a user name, query or fragment, or http:// to another machine; or a
            variable of the environment about proxies and certificates on the way there cannot be used.
    """
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise UsageError(f"{name} is no URL: give one such as https://api.memories.ai/serve/api/v1") from None
    if not usable or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(f"{name} has to be a plain https:// (or http://) URL without user name, query or fragment")
    if not allow_http and not is_encrypted_or_here(url):
        raise UsageError(
            f"{name} sends the key unencrypted to {shown(parts.hostname or '')}: give an https:// URL, or set "
            "TAGTRAIL_ALLOW_HTTP=1 if that is meant; nothing was sent"
        )
    network.check(url.strip())
    return url.strip().rstrip("/")


def checked_timeout(seconds: float) -> float:
    """A time limit in seconds; UsageError where it is none."""
    if not 0 < seconds < 86_400:
        raise UsageError("the timeout has to be longer than 0 seconds and shorter than a day")
    return seconds


def _namespace(namespace: Any) -> dict[str, Any]:
    if not isinstance(namespace, str) or not namespace.strip():
        raise UsageError("the namespace is empty: name one, or leave it at default")
    return {"unique_id": namespace}


def _all_known(where: Where) -> None:
    """
    Raises:
        UsageError: a word that means nothing here; passed over, the import would land, and be billed, elsewhere.
    """
    if unknown := where.keys() - Where.__annotations__.keys():
        known = ", ".join(Where.__annotations__)
        raise UsageError(f'there is no "{shown(min(unknown))}"; an import takes {known}; nothing was sent')


def _import(path: str, fields: dict[str, Any], callback_field: str, where: Where) -> tuple[str, dict[str, Any]]:
    _all_known(where)
    library = where.get("library", "private")
    callback_url: Any = where.get("callback_url")
    if library not in ("private", "public"):
        raise UsageError(f'unknown library "{library}": it is private or public')
    named = _namespace(where.get("namespace", "default"))
    if callback_url is not None:
        if not isinstance(callback_url, str) or not callback_url.startswith(("http://", "https://")):
            raise UsageError("the callback has to be a URL that starts with https:// (or http://)")
        fields[callback_field] = callback_url
    if library == "private":
        return path, fields | named
    # It ignores the field (contract §2.2): who gives one takes the posts to be apart, and they would not be.
    if named["unique_id"] != "default":
        raise UsageError("the public library knows no namespaces: leave it out; nothing was sent")
    return f"{path}_public", fields


def _count(count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UsageError("the number of posts has to be a whole number of 1 or more")
    return count


def hashtag_import(hashtag: str, count: int, where: Where) -> tuple[str, dict[str, Any]]:
    """Path and fields of a hashtag import; the hashtag as typed, without `#` (contract §2.1)."""
    fields = {"hash_tags": [normalise_hashtag(hashtag)], "scraper_cnt": _count(count)}
    return _import("/scraper_tag", fields, "callback", where)


def url_import(urls: Any, where: Where) -> tuple[str, dict[str, Any]]:
    """Path and fields of an import of post URLs; each post once, in its canonical form (contract §2.3)."""
    if isinstance(urls, str | bytes) or not isinstance(urls, Iterable):
        raise UsageError(
            f"give a list of post URLs, not {'one text' if isinstance(urls, str) else type(urls).__name__}"
        )
    urls = list(urls)
    refs = [parse_post_url(url) for url in urls]
    platforms = sorted({ref.platform for ref in refs})
    if len(platforms) > 1:
        raise UsageError(f"one import takes the URLs of one platform, and these are of {' and '.join(platforms)}")
    for spec in (PLATFORMS[name] for name in platforms):
        if not spec.imports_urls:
            raise UsageError(f"the API imports no posts of {spec.label}: enrich them by their URLs instead")
    # A private account's post opens by its long code alone.
    known: dict[str, str] = {}
    for url, ref in zip(urls, refs, strict=True):
        known[item_key(ref)] = private_url(url) or known.get(item_key(ref), ref.url)
    posts = list(known.values())
    if not 1 <= len(posts) <= MAX_URLS:
        raise UsageError(f"one import takes 1 to {MAX_URLS} post URLs, and these are {len(posts)}")
    # No `quality`: the file is not wanted, and its default is the vendor's cheapest.
    return _import("/scraper_url", {"video_urls": posts}, "callback_url", where)


def creator_import(profile_url: str, count: int, where: Where) -> tuple[str, dict[str, Any]]:
    """Path and fields of a creator import; `username` is the profile's URL (contract §2.4)."""
    _platform, _handle, profile = parse_creator_url(profile_url)
    fields = {"username": profile, "scraper_cnt": _count(count)}
    return _import("/scraper", fields, "callback_url", where)


def status_path(task_id: Any, namespace: str | None) -> str:
    """Path and query of a status call; the namespace is the import's. None: a public import, which has none."""
    if not isinstance(task_id, str) or not task_id.strip():
        raise UsageError("the import has no task id, so there is nothing to ask for")
    named = {} if namespace is None else _namespace(namespace)
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
    """The URLs under which metadata of a post can be asked for, the one to try first in front; one of each form.

    Which forms the metadata endpoints take is not documented for all platforms: where it is not, there are others to
    try. A post of a private account opens by its long address alone: it is asked for by that, where it is known.
    """
    urls = PLATFORMS[ref.platform].urls_to_try(ref, url_to_ask(ref, source_url), private_url(source_url))
    by_form: dict[str, str] = {}
    for url in urls:
        by_form.setdefault(url_form(url), url)
    return list(by_form.values())


def url_form(url: str) -> str:
    """Which of its platform's URL forms this is: TikTok's have names, and Instagram's; all others are "other"."""
    platform = platform_of(url)
    return PLATFORMS[platform].form_of(url) if platform else "other"


class FormsTaken:
    """Which forms of a platform's URLs each channel was found to take; kept as long as the client."""

    def __init__(self) -> None:
        self._served: set[tuple[Platform, Channel, str]] = set()
        self._refused: set[tuple[Platform, Channel, str]] = set()

    def in_order(self, ref: PostRef, channel: Channel, source_url: str | None) -> list[str]:
        """The forms of a post's URL (see `url_forms`); those that were refused where another one was served last."""
        forms = url_forms(ref, source_url)
        return sorted(forms, key=lambda url: (ref.platform, channel, url_form(url)) in self._refused)

    def takes(self, platform: Platform, channel: Channel, url: str) -> bool:
        """Whether a URL of this form was served before: then its refusal is about the post, and no other is tried."""
        return (platform, channel, url_form(url)) in self._served

    def served(self, platform: Platform, channel: Channel, asked: Sequence[str]) -> None:
        """The last of these URLs of one post was served, those before it were refused."""
        *refused, last = [(platform, channel, url_form(url)) for url in asked]
        self._served.add(last)
        self._refused.update(form for form in refused if form not in self._served)
        self._refused.discard(last)
