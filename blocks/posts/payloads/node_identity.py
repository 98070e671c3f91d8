"""Whose numbers a node of a payload holds, by its own words: its ids, its shortcode, its addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from blocks.errors import NotAPostUrl
from blocks.posts.identity import parse_post_url
from blocks.posts.payloads.reading import MISSING, begun, dig, ident, text
from blocks.posts.payloads.shape import ADDRESSES, ECHOES, OWN_IDS, POST_ADDRESSES, REFERENCES, Paths, Shape
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import PostRef

_ID_AS_TEXT = re.compile(r"[0-9]+(?:_[0-9]*)?\Z")
_ADDRESS_KEYS = frozenset(path.partition(".")[0] for path in (*ADDRESSES, *POST_ADDRESSES, *ECHOES))
_OWN_ID = re.compile(r"(?:[0-9]{15,20}(?:_[0-9]*)?|Ug[A-Za-z0-9_.-]{10,80})\Z")
"""An id of a platform's, not a number of a service's rows: of a post or a comment."""
_MOCK = re.compile(r"(?:mock|placeholder|dummy|no_?results?)(?:[_-].*)?\Z", re.I)
"""What some services write in an id or a type when they found nothing and send something all the same."""
_ID_KEYS: Final = frozenset(
    {*OWN_IDS, *REFERENCES, "shortCode", "shortcode", "short_code", "resource_id", "value"} - {"statistics.aweme_id"}
)
_SHORTCODE = re.compile(r"(?=[A-Za-z0-9_-]*[A-Z0-9_])[A-Za-z0-9_-]{10,11}\Z")
_LONGEST_MENTION = 500
_EXACT_UP_TO = 2**53
"""A larger number may have lost its last digits on its way through JavaScript."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a node says of whose it is: `asked` if it is the asked post's; `other` is what it names instead.

    Neither: it says nothing.
    """

    asked: bool = False
    other: str | None = None


def named_by(node: dict[str, Any], shape: Shape, asked: PostRef) -> Named:
    """Whose the node is, by all that its table knows of identity.

    An impossible id (-1, 0, empty, "mock") makes it nobody's. On Instagram an id of another space of numbers may
    stand beside the shortcode, which decides; elsewhere one id that is the asked one outweighs others (X writes
    numbers that have lost digits beside the text). An address or a shortcode of another post always decides.
    """
    kind = dig(node, "type")
    if isinstance(kind, str) and _MOCK.match(kind):
        return Named(other=kind[:40])
    ids, impossible = _ids(node, shape, asked)
    codes = _codes(node, shape, asked)
    urls = _addressed(node, shape.addresses, asked)
    if impossible is not None and asked.post_id not in ids:
        return Named(other=impossible)
    named = codes + urls
    of_post = _addressed(node, shape.post_addresses, asked)
    others = [one for one in (*named, *of_post, *_addressed(node, shape.echoes, asked)) if one != asked.post_id]
    if not ids and not codes:
        named += of_post
    if PLATFORMS[asked.platform].id_of_code and asked.post_id in named:
        ids = []
    elif (part := _id_of_a_part(node, shape, asked)) is not None:
        return Named(other=part)
    if asked.post_id not in ids:
        others = [*ids, *others]
    if others:
        return Named(other=others[0])
    return Named(asked=asked.post_id in ids or asked.post_id in named)


def _id_of_a_part(node: dict[str, Any], shape: Shape, asked: PostRef) -> str | None:
    """The own id of what only refers to the asked post, as a comment does: its likes are not the post's."""
    named = [path for path in shape.ids if ident(dig(node, path)) == asked.post_id]
    if not named or not set(named) <= set(REFERENCES):
        return None
    for key in OWN_IDS:
        written = ident(node.get(key))
        if written is not None and _OWN_ID.match(written) and not _has_lost_digits(node[key], asked):
            return written
    return None


def mentions(node: dict[str, Any], asked: PostRef) -> bool:
    """Whether the asked id or code stands in a text or number of the node at all: a quick look before a close one."""
    names = [name for name in (asked.post_id, asked.shortcode) if name is not None]
    for value in node.values():
        written = value if isinstance(value, str) else ident(value) if isinstance(value, int) else None
        if written is not None and len(written) < _LONGEST_MENTION and any(name in written for name in names):
            return True
    return False


def addressed_to_another(node: dict[str, Any], asked: PostRef) -> bool:
    """Whether a node of no known form (an error, say) tells by an address that it is about another post."""
    if _ADDRESS_KEYS.isdisjoint(node):
        return False
    named = [one for paths in (ADDRESSES, POST_ADDRESSES, ECHOES) for one in _addressed(node, paths, asked)]
    return bool(named) and asked.post_id not in named


def tells_of_another(node: dict[str, Any], words: list[str], asked: PostRef) -> bool:
    """Whether an object that says that a post is gone names another one, by an id of its own or in its words."""
    written_ids = {written for key in _ID_KEYS if (written := _name_in_a_mark(node.get(key), asked)) is not None}
    written_ids |= {one for word in words for one in PLATFORMS[asked.platform].ids.in_words.findall(word)}
    return bool(written_ids) and written_ids.isdisjoint({asked.post_id, asked.shortcode})


def _name_in_a_mark(value: Any, asked: PostRef) -> str | None:
    written = ident(value)
    if written is None:
        return None
    spec = PLATFORMS[asked.platform]
    if found := spec.ids.alone.match(written):
        return found[1]
    return written if spec.id_of_code and _SHORTCODE.match(written) else None


def _ids(node: dict[str, Any], shape: Shape, asked: PostRef) -> tuple[list[str], str | None]:
    """The ids that the node names, and what stands there that can be no id."""
    found: list[str] = []
    impossible: str | None = None
    form = PLATFORMS[asked.platform].ids
    for path in shape.ids:
        value = dig(node, path)
        if value is MISSING or value is None or isinstance(value, dict | list | bool):
            continue
        if isinstance(value, float) and value > 0:
            continue  # It has lost its last digits.
        written = ident(value)
        if written is None or written.strip() in ("", "0") or written.startswith("-") or _MOCK.match(written):
            # A YouTube id may begin with a dash; a number that does is none.
            if written is not None and not form.is_number and (read := form.read(written)) is not None:
                found.append(read)
            else:
                impossible = impossible or (repr(value[:40]) if isinstance(value, str) else "of an impossible number")
            continue
        if _has_lost_digits(value, asked):
            continue
        if (read := form.read(written)) is not None:
            found.append(read)
    return found, impossible


def _has_lost_digits(value: Any, asked: PostRef) -> bool:
    """Whether it is the asked id as JavaScript rounds it: neither the same nor another."""
    if not isinstance(value, int) or value <= _EXACT_UP_TO or not asked.post_id.isdigit():
        return False
    return value != int(asked.post_id) and float(value) == float(asked.post_id)


def _codes(node: dict[str, Any], shape: Shape, asked: PostRef) -> list[str]:
    found: list[str] = []
    id_of_code = PLATFORMS[asked.platform].id_of_code
    for path in shape.codes if id_of_code else ():
        code = text(dig(node, path))
        if id_of_code and code is not None and not _ID_AS_TEXT.match(code):
            try:
                found.append(id_of_code(code))
            except ValueError:
                continue
    return found


def _addressed(node: dict[str, Any], paths: Paths, asked: PostRef) -> list[str]:
    """The posts of the asked platform that addresses name."""
    found = []
    for path in begun(node, paths):
        value = dig(node, path)
        if isinstance(value, str) and value:
            try:
                ref = parse_post_url(value)
            except NotAPostUrl:
                continue
            if ref.platform == asked.platform:
                found.append(ref.post_id)
    return found
