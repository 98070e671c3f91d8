"""Finds texts that name a post or a person, and takes the name out of them; an everyday word is no person's name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from blocks.errors import UsageError
from blocks.posts.identity import parse_creator_url

ERASED = "erased"
"""Stands where a text was that named somebody."""

_PROFILES = {
    "instagram": r"(?:instagram\.com|instagr\.am)/(?:stories/)?",
    "tiktok": r"tiktok\.com/@",
    "youtube": r"youtube\.com/(?:@|channel/|c/|user/)",
    "x": r"(?:x|twitter)\.com/",
}
"""What stands before a user name in the address of a profile or of a post."""

_X_PAGES = frozenset(
    {"compose", "explore", "hashtag", "home", "i", "intent", "login", "messages", "notifications", "privacy", "search"}
    | {"settings", "share", "tos"}
)
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
    they are found as `@name`, as a part of an address of their platforms, or standing alone as a wish's creator.
    """

    platforms: tuple[str, ...] = tuple(_PROFILES)
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
            for platform in self.platforms:
                if named := {name for name in people if _may_be_profile(platform, name)}:
                    parts.append(rf"(?i:(?<![\w-]){_PROFILES[platform]}{_either(named)}{_ENDS})")
        if not (whole or parts):
            return None
        pattern = re.compile("|".join(parts) or _NOTHING)
        return Naming(frozenset(whole), pattern, frozenset(people), frozenset(self.codes))


def _either(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))})"


def _may_be_profile(platform: str, name: str) -> bool:
    """Whether the name behind the host can be a profile: `instagram.com/p/` and `x.com/i/` are none."""
    if platform == "x":
        return name not in _X_PAGES
    if platform != "instagram":
        return True
    try:
        return parse_creator_url(f"https://www.instagram.com/{name}/")[1] == name
    except UsageError:
        return False
