"""A post's identity from its URL alone: platform, id and canonical URL, for all forms that the platforms use."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from blocks.errors import NotAPostUrl, UsageError
from blocks.posts.platforms.registry import PLATFORMS, at_host, behind_host, labels
from blocks.posts.platforms.spec import PlatformSpec
from blocks.posts.record import Platform, PostRef
from blocks.posts.urls import Address, in_place_of_path, shown, split_url

_MAX_PAGES: Final = 3
"""So many pages that lead somewhere may stand in each other."""
_SHELLS: Final = ("", "home", "index", "index.html", "foryou", "trending", "explore")
"""Pages of old apps whose own address stood behind the `#` (`/#!/user/status/ID`)."""
_LEADS_TO: Final = frozenset(
    {"continue", "next", "next_url", "q", "query", "redirect", "redirect_after_login", "redirect_to", "redirect_uri"}
    | {"redirect_url", "return_to", "target", "u", "url"}
)
"""Parameters of pages that lead somewhere which hold where they lead."""
_PROFILE_TABS: Final = frozenset(
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
        spec = at_host(split_url(url).host)
    except NotAPostUrl:
        return None
    return spec.name if spec else None


def parse_post_url(url: str) -> PostRef:
    """The identity of a post by any of its URLs, without asking anybody.

    Host and scheme may be in any case or missing (scheme), query strings, fragments and trailing slashes are
    ignored where they name no post. A page that asks for a login or a consent, or that leads somewhere, names the post
    of the same platform that it leads to. `handle` is set for TikTok only, `shortcode` for Instagram only.

    Raises:
        NotAPostUrl: it names no post, or several; the message says what was wrong and what to give.
    """
    address = split_url(url)
    spec = behind_host(address.host)
    if spec is None:
        raise NotAPostUrl(f'"{shown(url.strip())}" is on no known platform; give the address of a post on {labels()}')
    named = _named(address, spec)
    if named is None:
        raise NotAPostUrl(f'"{shown(url.strip())}" names no post; give an address such as {spec.example}')
    return named.ref


def _named(address: Address, spec: PlatformSpec, pages: int = 0) -> _Named | None:
    """The post that an address names: by its path, behind its `#`, or by where it leads."""
    read = spec.read_address
    if address.host not in spec.leading_hosts:
        if ref := read(address):
            return _Named(ref, address, in_path=read(address._replace(query="", fragment="")) == ref)
        path = "/".join(address.parts)
        if path in _SHELLS and address.fragment.startswith(("/", "!/")):
            behind = in_place_of_path(address, address.fragment.removeprefix("!"))
            return _Named(ref, behind, in_path=False) if (ref := read(behind)) else None
        if not any(f"{path}/".startswith(f"{page}/") for page in spec.leading_pages):
            return None
    if pages == _MAX_PAGES:
        return None
    found = {}
    for name, value in parse_qsl(address.query)[:100]:
        if name.lower() not in _LEADS_TO:
            continue
        try:
            relative = value.startswith("/") and not value.startswith("//")
            behind = in_place_of_path(address, value) if relative else split_url(value)
            if behind_host(behind.host) is spec and (named := _named(behind, spec, pages + 1)):
                found[named.ref.post_id] = named._replace(in_path=False)
        except NotAPostUrl:
            continue
    return found.popitem()[1] if len(found) == 1 else None


def private_url(given: str | None) -> str | None:
    """The address by which alone a private account's post opens, where a URL as given has it.

    None for all other URLs, and for what is no URL of a post. Rows keep the public form, which names the post.
    """
    try:
        address = split_url(given)
        spec = behind_host(address.host)
        named = _named(address, spec) if spec else None
    except NotAPostUrl:
        return None
    return spec.private_url(named.address) if spec and named else None


def url_to_ask(ref: PostRef, given: str | None) -> str:
    """The URL by which a post is asked for: as it was given where that is a plain one of the platform's own site.

    For all others (login pages, other sites, punctuation around it) the canonical one, with the author's name where
    the platform's addresses may have it and the URL had it.
    """
    if given is None:
        return ref.url
    spec = PLATFORMS[ref.platform]
    try:
        address = split_url(given)
        named = _named(address, spec) if behind_host(address.host) is spec else None
    except NotAPostUrl:
        return ref.url
    if named is None or named.ref.post_id != ref.post_id:
        return ref.url
    if named.in_path and address.as_given and at_host(address.host) is spec:
        given = given.strip()
        return given if "://" in given.partition("?")[0] else f"https://{given.removeprefix('//')}"
    return spec.named_url(named.address, named.ref)


def item_key(ref: PostRef) -> str:
    """`platform:post_id`, the key of a post in ledgers and failure rows."""
    return f"{ref.platform}:{ref.post_id}"


def parse_creator_url(url: str) -> tuple[Platform, str, str]:
    """A profile's URL as (platform, handle, canonical profile URL).

    The handle is without `@`; TikTok's and Instagram's are lower-cased, for they mean the same in any case. A
    YouTube channel is named by its handle, its `UC…` id, or the name behind `/c/` or `/user/`.

    Raises:
        UsageError: no profile of a platform whose creators can be imported.
    """
    try:
        address = split_url(url)
    except NotAPostUrl:
        raise _no_profile(str(url)) from None
    parts = address.parts[:-1] if len(address.parts) >= 2 and address.parts[-1] in _PROFILE_TABS else address.parts
    spec = at_host(address.host)
    found = spec.read_profile(parts) if spec else None
    if spec is None or found is None:
        raise _no_profile(url)
    return spec.name, *found


def _no_profile(url: str) -> UsageError:
    *some, last = (spec.profile_example for spec in PLATFORMS.values() if spec.profile_example)
    return UsageError(
        f'"{shown(url.strip())}" is no creator\'s profile; give the address of a profile, such as {", ".join(some)} '
        f"or {last}"
    )
