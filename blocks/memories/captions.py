"""Hashtags and mentions in captions, by the rules that the platforms share, and the forms in which tags compare.

What a tag is (from twitter-text's rules and from what Instagram and TikTok link): `#` or the full-width `＃`, then
letters, digits, `_`, combining marks, emoji and a few joiners, with at least one letter or emoji among them (or a
`_` beside digits: `#1_2`), so that `#2024` is none. Tags may stand back to back (`#one#two`). A `#` behind a letter
or digit starts no tag (`C#`, `abc#d`), except behind scripts that are written without spaces; nothing inside a URL
or an e-mail address is a tag or a mention.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

from blocks.memories.errors import UsageError

_HASHES = "#＃"
_ATS = "@＠"
_VARIATION_16, _KEYCAP = "\ufe0f", "\u20e3"

_JOINERS = frozenset("\u200c\u200d\u05be\u05f3\u05f4\u301c\uff5e\u309b\u309c\u30a0\u30fb\u0f0b\u00b7")
"""Characters that hold a tag together but never end one (twitter-text's list): zero-width joiners, 〜 ・ · …"""

_EMOJI_RANGES = (
    (0x1F000, 0x1FAFF),
    (0x2600, 0x2793),
    (0x2795, 0x2797),
    (0x23E9, 0x23FA),
    (0x2B05, 0x2B55),
    (0xE0020, 0xE007F),  # the tag characters inside flags of regions
)
_EMOJI_SINGLES = frozenset("©®™ℹ‼⁉〰〽㊗㊙Ⓜ↔↕↖↗↘↙↩↪▪▫▶◀◻◼◽◾⌚⌛⌨⏏⤴⤵➡➰➿")

_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1100, 0x11FF),  # Hangul letters: particles are written onto the word before
    (0x3005, 0x31FF),  # kana, bopomofo, Hangul letters
    (0x3400, 0x9FFF),  # Han
    (0xAC00, 0xD7AF),  # Hangul syllables
    (0xF900, 0xFAFF),  # Han, compatibility forms
    (0xFF66, 0xFFDC),  # half-width kana and Hangul
    (0x20000, 0x3FFFF),  # Han, extensions
)

_STOPS = r"\s＃＠、。，；：「」『』【】（）！？<>\""
_ADDRESSES = re.compile(
    # With a scheme, or www.: all that follows up to a space or East Asian punctuation.
    rf"(?i:\b[a-z][a-z0-9+.-]*://|\bwww\.)[^{_STOPS}]+"
    # Without: a host with a path or query behind it (bit.ly/x#part). A tag's own `#` before it is no part of it.
    rf"|(?<![\w@＠#＃.])(?i:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?i:[a-z]{{2,24}})(?::\d+)?[/?][^{_STOPS}]*"
)
MAX_LETTERS = 100
"""Characters of a hashtag that is asked for, at most."""

_SEPARATORS = frozenset(",;/\\，、；／")
_HANDLE = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)


def _within(letter: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= ord(letter) <= high for low, high in ranges)


def _is_emoji(letter: str) -> bool:
    return letter in _EMOJI_SINGLES or _within(letter, _EMOJI_RANGES)


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "M"


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_" or _is_mark(letter)


def _in_tag(letter: str) -> bool:
    return _is_word(letter) or letter in _JOINERS or _is_emoji(letter)


def _glued(letter: str) -> bool:
    """Whether a `#` or `@` right behind this character belongs to the word before it."""
    return letter == "&" or (_is_word(letter) and letter != _VARIATION_16 and not _within(letter, _UNSPACED_RANGES))


def _is_tag(run: str) -> bool:
    if not run or _is_mark(run[0]):
        return False
    told = any(letter.isalpha() or _is_emoji(letter) or letter == _KEYCAP for letter in run)
    return told or ("_" in run and any(letter.isalnum() for letter in run))


def _without_addresses(text: str) -> str:
    """The text with every URL blanked out, so that places stay the same."""
    return _ADDRESSES.sub(lambda match: " " * len(match.group()), text)


def _once(found: Iterator[str], key: Callable[[str], str]) -> list[str]:
    kept: dict[str, str] = {}
    for one in found:
        kept.setdefault(key(one), one)
    return list(kept.values())


def _tags(text: str) -> Iterator[str]:
    text = _without_addresses(text)
    place, tag_end = 0, -1
    while place < len(text):
        if text[place] not in _HASHES or (place and place != tag_end and _glued(text[place - 1])):
            place += 1
            continue
        end = place + 1
        while end < len(text) and _in_tag(text[end]):
            end += 1
        run = text[place + 1 : end]
        while run and run[-1] in _JOINERS:
            run = run[:-1]
        if _is_tag(run):
            yield run
        # Behind a pure number, too, the next tag may start at once: #1#best.
        place, tag_end = end, end


def hashtags_in(text: str) -> list[str]:
    """The hashtags of a caption, as written, without `#`, in order; one that differs only in case comes once."""
    return _once(_tags(text), hashtag_key)


def _mentions(text: str) -> Iterator[str]:
    text = _without_addresses(text)
    for place, letter in enumerate(text):
        if letter not in _ATS or (place and _glued(text[place - 1])):
            continue
        match = _HANDLE.match(text, place + 1)
        if match is None:
            continue
        following = text[match.end() : match.end() + 1]
        # @über is nobody called "": a name that goes on in letters that no user name has is no mention.
        if following and following.isalpha() and not _within(following, _UNSPACED_RANGES):
            continue
        yield match.group()


def mentions_in(text: str) -> list[str]:
    """The user names that a caption mentions, as written, without `@`, in order, each once whatever its case.

    User names are ASCII letters, digits, `_` and inner dots. E-mail addresses are no mentions.
    """
    return _once(_mentions(text), str.lower)


def normalise_hashtag(typed: str) -> str:
    """A hashtag as somebody typed it, in the form in which it is sent: trimmed, NFC, without the `#` before it.

    Raises:
        UsageError: nothing is left, it holds a space, a comma, a slash, a control character or another `#`, it has
            more than 100 characters, or no letter (a number alone is no hashtag).
    """
    if not isinstance(typed, str):
        raise UsageError("a hashtag is text; give one such as LVMH")
    tag = unicodedata.normalize("NFC", typed.strip())
    if tag[:1] and tag[0] in _HASHES:
        tag = tag[1:]
    if not tag:
        raise UsageError("a hashtag is empty; give one such as LVMH")
    if len(tag) > MAX_LETTERS:
        raise UsageError(f'the hashtag "{_shown(tag)}…" has more than {MAX_LETTERS} characters; give one word')
    if "://" in tag or tag.lower().startswith("www."):
        raise UsageError(f'"{_shown(tag)}" is a URL, not a hashtag; `tagtrail enrich` takes the URLs of posts')
    if held := next((letter for letter in tag if letter in _SEPARATORS), None):
        raise UsageError(
            f'the hashtag "{_shown(tag)}" holds a "{held}"; give the hashtags apart, '
            "for example: tagtrail run lvmh dior"
        )
    if any(letter.isspace() for letter in tag):
        raise UsageError(f'the hashtag "{_shown(tag)}" holds a space; give one word, or several hashtags')
    if any(letter in _HASHES for letter in tag):
        raise UsageError(f'the hashtag "{_shown(tag)}" holds a # inside; give each hashtag by itself')
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in tag):
        raise UsageError(f'the hashtag "{_shown(tag)}" holds a control character; type it anew')
    if not _is_tag(tag):
        what = "is a number alone" if any(letter.isalnum() for letter in tag) else "holds no letter"
        raise UsageError(f'"{_shown(tag)}" {what}, which is no hashtag; give one such as LVMH')
    return tag


def _shown(tag: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in tag[:60])


def hashtag_key(tag: str) -> str:
    """The form in which tags are compared and stored: NFC and without regard to case."""
    folded = unicodedata.normalize("NFD", tag).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded).casefold())
