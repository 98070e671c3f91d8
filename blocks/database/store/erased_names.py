"""Names of what was erased on request: found in texts, and kept as keyed hashes so that they stay out.

Whoever holds the database can test a name against a hash, and nothing else: the key is that of the comment hashes.
An everyday word is no person's name.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import unquote

from sqlalchemy import Connection, select

from blocks.database.store import meta
from blocks.database.store.statements import chunks, insert_missing, table_of
from blocks.database.tables import Erased
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import PostRecord, PostRef

_erased = table_of(Erased)

ERASED = "erased"
"""Stands where a text was that named somebody."""

_NAMES_ITSELF = frozenset({"creator", "creators"})
"""Keys under which a bare name is a person's."""

_SHORTEST_WORD = 8
_NUMBER = re.compile(r"[0-9]{8,}\Z")
_WORD = re.compile(r"(?<![\w.-])[\w-]+")
_NOTHING = r"(?!)"
_CHANNEL = re.compile(r"UC[\w-]{22}\Z")
# A name goes on behind a dot, but does not end with one: "@loom.works." is at the end of a sentence.
_ENDS = r"(?![\w·-]|\.\w)"


def folded(name: str) -> str:
    """A user name as names compare: without `@`, in any case, composed; ASCII is not all there is."""
    return unicodedata.normalize("NFC", name.strip().removeprefix("@")).casefold()


@dataclass(frozen=True, slots=True)
class Naming:
    """Tells whether a text names what was erased (see `Names`)."""

    words: frozenset[str]
    """Found as whole words, in this very case."""
    pattern: re.Pattern[str]
    people: frozenset[str]
    """User names, folded."""
    codes: frozenset[str] = frozenset()
    """Ids and codes of posts, short ones among them."""

    def found_in(self, value: Any, *, key: str = "") -> bool:
        """Whether a text, or any text in a JSON value, names it; `key`: under which it stands in an object."""
        if isinstance(value, dict):
            return any(self.found_in(name) or self.found_in(inner, key=str(name)) for name, inner in value.items())
        if isinstance(value, list | tuple):
            return any(self.found_in(inner, key=key) for inner in value)
        if value is None or isinstance(value, bool | float):
            return False
        text = unicodedata.normalize("NFC", str(value))
        if key in _NAMES_ITSELF and folded(text) in self.people:
            return True
        return self._in_text(text) or ("%" in text and self._in_text(unquote(text)))

    def _in_text(self, text: str) -> bool:
        # A creator may have thousands of posts: their words are looked up, and not made a pattern of.
        return not self.words.isdisjoint(_WORD.findall(text)) or self.pattern.search(text) is not None

    def without(self, value: Any, *, key: str = "") -> Any:
        """The JSON value with `erased` in place of each text that names it; all else is as it was."""
        if isinstance(value, dict):
            return {
                ERASED if self.found_in(name) else name: self.without(inner, key=str(name))
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.without(inner, key=key) for inner in value]
        return ERASED if self.found_in(value, key=key) else value


@dataclass(slots=True)
class Names:
    """What a post or a person is named by.

    `codes` (ids and codes of posts) and `author_ids` are found as whole words where they are unmistakable; shorter
    ones in an address only. `people` are user names, which may be everyday words (`auto`, `instagram`, a hashtag):
    they are found as `@name`, as a part of an address of their platforms, or standing alone as a request's creator.
    """

    platforms: tuple[str, ...] = field(default_factory=lambda: tuple(PLATFORMS))
    codes: set[str] = field(default_factory=set)
    author_ids: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)

    def naming(self) -> Naming | None:
        """The finder; None where there is nothing to find."""
        ids = {one for one in self.author_ids if _NUMBER.match(one) or _CHANNEL.match(one)}
        people = {folded(name) for name in self.people | (self.author_ids - ids)} - {""}
        whole = ids | {code for code in self.codes if len(code) >= _SHORTEST_WORD}
        parts = []
        if short := self.codes - whole - {""}:
            parts.append(rf"(?:(?<=/)|(?<=[?&]v=)){_either(short)}(?![\w-])")
        if people:
            parts.append(rf"(?i:(?<![\w.@/-])@{_either(people)}{_ENDS})")
            for spec in (PLATFORMS[name] for name in self.platforms):
                if named := {name for name in people if spec.may_be_profile(name)}:
                    parts.append(rf"(?i:(?<![\w-]){spec.profile_pattern}{_either(named)}{_ENDS})")
        if not (whole or parts):
            return None
        pattern = re.compile("|".join(parts) or _NOTHING)
        return Naming(frozenset(whole), pattern, frozenset(people), frozenset(self.codes))


def _either(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))})"


Kind = Literal["post", "creator", "commenter"]
Name = tuple[str, str]
"""A platform, and a post's id, a creator's id, a creator's user name with `@` before it, or a commenter's as stored."""


def _hash(key: bytes, kind: Kind, name: Name) -> str:
    # A user name means the same person in any case; nothing else says who wrote a comment.
    platform, given = name
    if given.startswith("@"):
        given = f"@{folded(given)}"
    written = folded(given) if kind == "commenter" else given
    return hmac.new(key, f"{kind}\n{platform}\n{written}".encode(), sha256).hexdigest()


def remember(conn: Connection, kind: Kind, names: Iterable[Name], now: datetime) -> None:
    """Keep posts or creators out from now on; saying it twice changes nothing."""
    key = bytes.fromhex(meta.comment_key(conn))
    rows = [{"key_hash": one, "kind": kind, "erased_at": now} for one in sorted({_hash(key, kind, n) for n in names})]
    insert_missing(conn, _erased, rows)


def among(conn: Connection, kind: Kind, names: Iterable[Name]) -> set[Name]:
    """Those of the names that are to stay out; with nothing erased this costs one small query."""
    if conn.execute(select(_erased.c.key_hash).limit(1)).first() is None:
        return set()
    key = bytes.fromhex(meta.known(conn, meta.COMMENT_KEY) or "")
    # One person in two spellings has one hash.
    by_hash: dict[str, set[Name]] = {}
    for name in names:
        by_hash.setdefault(_hash(key, kind, name), set()).add(name)
    found: set[Name] = set()
    for part in chunks(sorted(by_hash)):
        query = select(_erased.c.key_hash).where(_erased.c.key_hash.in_(part))
        found |= {name for one in conn.execute(query).scalars() for name in by_hash[one]}
    return found


def posts_among(conn: Connection, refs: Sequence[PostRef]) -> set[Name]:
    """Keys of posts that are to stay out: erased themselves, or by a creator whose name stands in their URL."""
    found = among(conn, "post", [ref.key for ref in refs])
    by_handle = {(ref.platform, f"@{ref.handle}"): ref for ref in refs if ref.handle}
    if by_handle:
        theirs = among(conn, "creator", by_handle)
        found |= {ref.key for ref in refs if ref.handle and (ref.platform, f"@{ref.handle}") in theirs}
    return found


def creators_among(conn: Connection, creators: Sequence[Name]) -> set[Name]:
    """Those of the creators, given as (platform, handle or id as in a profile's URL), who are to stay out."""
    as_names = {(platform, f"@{handle}"): (platform, handle) for platform, handle in creators}
    out = among(conn, "creator", [*as_names, *creators]) if creators else set()
    return {as_names.get(one, one) for one in out}


def records_among(conn: Connection, records: Sequence[PostRecord]) -> set[Name]:
    """Keys of measured posts that are to stay out: erased themselves, or by a creator who was erased."""
    found = among(conn, "post", [(record.platform, record.post_id) for record in records])
    authors = {name for record in records for name in _authors(record)}
    if authors and (theirs := among(conn, "creator", authors)):
        found |= {(record.platform, record.post_id) for record in records if theirs.intersection(_authors(record))}
    return found


def leave_commenters_out(conn: Connection, records: Sequence[PostRecord]) -> None:
    """Take the comments of erased people off records; in raw answers of other people's posts they stay."""
    names = {
        (record.platform, row.author) for record in records for row in record.comment_rows if row.author is not None
    }
    out = among(conn, "commenter", names) if names else set()
    if out:
        for record in records:
            record.comment_rows = [row for row in record.comment_rows if (record.platform, row.author) not in out]


def _authors(record: PostRecord) -> list[Name]:
    names: list[Name] = []
    if record.author_id is not None:
        names.append((record.platform, record.author_id))
    if record.author_username is not None:
        names.append((record.platform, f"@{record.author_username}"))
    return names
