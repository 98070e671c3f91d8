"""URLs taken apart: freed from what was glued to them, and split so strictly that the host is certain."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from blocks.errors import NotAPostUrl

_LONGEST_URL = 2048
_GIVE_ONE = "give the address of a post"

POST_NUMBER = re.compile(r"[1-9][0-9]{0,19}\Z")
"""A post's id where ids are numbers."""
_HOST = re.compile(r"[a-z0-9.-]+\Z")
_UNSEEN = "\u200b\u200e\u200f\u2060\ufeff"
"""Characters that nobody sees and that come along when an address is copied."""
_OPENING = "<([{\"'`*~|«‹“”„‘’‚「『《〈（【［"
_CLOSING = ">)]}'`*~|»›“”‘’」』》〉）】］,;:!、。，；：！？"
_ENDS = re.compile(r'["<>“”«»]')
"""Behind a quotation mark or a tag of HTML nothing belongs to the address."""
_ENTITY = re.compile(r"&(?:amp|quot|apos|lt|gt|hellip|#0*[0-9]{2,4}|#[xX]0*[0-9a-fA-F]{2,4});")
_ENTITIES = {"&amp;": "&", "&quot;": '"', "&apos;": "'", "&lt;": "<", "&gt;": ">", "&hellip;": "…"}
_QUERY = re.compile(r"[?&]|%3[fF]|%26")
"""Where a path ends: also at a parameter that was glued to it (`ID&t=3`), or escaped with it."""


class Address(NamedTuple):
    host: str
    parts: list[str]
    """Segments of the path, percent-decoded, without empty ones."""
    query: str
    fragment: str
    as_given: bool
    """Whether nothing had to be taken off the text or unescaped."""


def shown(url: str) -> str:
    """The URL as an error may show it: short, and without anything that is no plain character."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in url[:80])
    return f"{plain}…" if len(url) > 80 else plain


def split_url(url: object) -> Address:
    """Take a URL apart, strictly.

    Brackets, quotation marks and punctuation around it, and the escapes of HTML and JSON, are no part of it.

    Raises:
        NotAPostUrl: no text, too long, or anything that makes it unclear which host is meant.
    """
    if not isinstance(url, str):
        raise NotAPostUrl(f"a post's address is text, not {type(url).__name__}; {_GIVE_ONE}")
    given = url.strip()
    if not given:
        raise NotAPostUrl(f"the address is empty; {_GIVE_ONE}")
    if len(given) > _LONGEST_URL:
        raise NotAPostUrl(f"the address has {len(given)} characters, more than any post's; {_GIVE_ONE}")
    text = bare(_unescaped(given))
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
        raise NotAPostUrl(f'"{shown(text)}" cannot be read as an address; {_GIVE_ONE}') from None
    host = split.netloc.lower()
    if not split.netloc.isascii() or not _HOST.match(host):
        raise NotAPostUrl(
            f'"{shown(text)}" has a host with a user name, a port or foreign characters; give the plain address'
        )
    return _in_parts(host, split.path, split.query, split.fragment, as_given=text == given)


def in_place_of_path(address: Address, path: str) -> Address:
    """The address of another path (with its query) on the same host, read as strictly.

    Raises:
        NotAPostUrl: as `split_url`.
    """
    return split_url(f"https://{address.host}{path}")._replace(as_given=False)


def _in_parts(host: str, path: str, query: str, fragment: str, *, as_given: bool) -> Address:
    if "://" in path:
        raise NotAPostUrl(f'"{shown(host + path)}" holds two addresses; give one in a line')
    if glued := _QUERY.search(path):
        # What was escaped with the path is unescaped with it.
        more = path[glued.end() :] if glued.group() in "?&" else unquote(path[glued.end() :])
        path, query, as_given = path[: glued.start()], f"{more}&{query}" if query else more, False
    parts = [unquote(part) for part in path.split("/") if part]
    if parts and (last := bare(parts[-1])) != parts[-1]:
        parts, as_given = [*parts[:-1], *([last] if last else [])], False
    return Address(host, parts, query, fragment, as_given)


def _unescaped(text: str) -> str:
    """The text as it was before it was put into HTML, into JSON, or into another URL as a whole."""
    for _ in range(3):
        text = _ENTITY.sub(_entity, text)
    if r"\/" in text and "/" not in text.replace(r"\/", ""):
        text = text.replace(r"\/", "/").replace(r"\u0026", "&").replace(r"\u003d", "=").replace(r"\u003D", "=")
    return unquote(text) if re.match(r"https?%3a%2f%2f", text, re.IGNORECASE) else text


def _entity(match: re.Match[str]) -> str:
    said = match.group()
    if said in _ENTITIES:
        return _ENTITIES[said]
    letter = chr(int(said[3:-1], 16) if said[2] in "xX" else int(said[2:-1]))
    return letter if letter in "&\"'<>/=?…" else said


def bare(text: str) -> str:
    """The text without brackets, quotation marks and punctuation around it.

    Dots at the end stay where they stand for letters that are left out (`DQk1…`): nobody knows which.
    """
    text = text.strip().strip(_UNSEEN).lstrip(_OPENING)
    text = _ENDS.split(text, maxsplit=1)[0]
    while text:
        if text[-1] == "." and not text.endswith(".."):
            text = text[:-1]
            if text.endswith("…"):
                break
        elif text[-1] in _CLOSING or text[-1] in _UNSEEN or text[-1].isspace() or text[-1] == "?":
            text = text[:-1]
        else:
            break
    return text


def values_in(query: str, *names: str) -> set[str]:
    """The values of these parameters, also where parameters are glued together by `?` or `;`."""
    pieces = [unquote(piece).partition("=") for piece in re.split("[&;?]", query)]
    return {value_of(value) for name, _, value in pieces if name in names and value}


def value_of(parameter: str) -> str:
    """A parameter's value without what was glued to it."""
    return bare(re.split("[&?#;]", parameter)[0]).rstrip("/")


def only(values: Iterable[str]) -> str:
    """The one value that there is; '' where there is none or several."""
    values = list(values)
    return values[0] if len(values) == 1 else ""


def short_link(what: str) -> NotAPostUrl:
    """The error for an address that hides which post it means."""
    return NotAPostUrl(f"{what} does not say which post it means; open it and give the address that it leads to")


def with_www(*hosts: str) -> tuple[str, ...]:
    """The hosts, each without and with `www.`."""
    return tuple(prefix + host for host in hosts for prefix in ("", "www."))
