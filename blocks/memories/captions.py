"""Hashtags and mentions in captions, by the rules of the platforms, and the forms in which tags compare.

What a tag is on Instagram, TikTok and YouTube (from twitter-text's rules and from what Instagram and TikTok link):
`#` or the full-width `＃`, then letters, digits, `_`, combining marks, emoji and a few joiners, with at least one
letter or emoji among them (or a `_` beside digits: `#1_2`), so that `#2024` is none. Tags may stand back to back
(`#one#two`). A `#` behind a letter or digit starts no tag (`C#`, `abc#d`), except behind scripts that are written
without spaces; nothing inside a URL or an e-mail address is a tag or a mention. X has rules of its own
(twitter-text's expressions): no emoji, at least one letter, and neither back to back nor behind a letter of any
script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from blocks.memories.errors import UsageError

if TYPE_CHECKING:
    from blocks.memories.posts.record import Platform

_HASHES = "#＃"
_ATS = "@＠"
_VARIATION_16, _KEYCAP = "\ufe0f", "\u20e3"
_VARIATIONS = ("\ufe0e", _VARIATION_16)

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

_X_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd"})
_X_JOINERS = frozenset(
    "\u200c\u200d\ua67e\u05be\u05f3\u05f4\uff5e\u301c\u309b\u309c\u30a0\u30fb\u3003\u0f0b\u0f0c\u00b7"
)
"""Characters that X takes for parts of a tag besides letters, digits, marks and `_` (twitter-text's list)."""

_STOPS = r"\s＃＠、。，；：「」『』【】（）！？<>\""
_LABELS = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
_BEFORE_HOST = r"(?<![\w@＠#＃.])"  # A tag's own `#` before it is no part of it.
_COMMON_ENDS = "com|org|net|info|biz|edu|gov|app|dev|shop|store|link|page|site|online|blog|club|live|xyz"
_ADDRESSES = re.compile(
    # With a scheme, or www.: all that follows up to a space or East Asian punctuation.
    rf"(?i:\b[a-z][a-z0-9+.-]*://|\bwww\.)[^{_STOPS}]+"
    # Without: a host with a path or query behind it (bit.ly/x#part), but not a sentence's end ("real.life?#skit").
    rf"|{_BEFORE_HOST}(?i:{_LABELS}[a-z]{{2,24}})(?::\d+)?[/?](?![#@＃＠])[^{_STOPS}]*"
    # A host whose path starts with `#` or `@` (tiktok.com/@user), where it surely is one: "St.Tropez/#beach" is none.
    rf"|{_BEFORE_HOST}(?:(?i:{_LABELS}(?:{_COMMON_ENDS}))|{_LABELS}[a-z]{{2}})(?::\d+)?/[^{_STOPS}]*"
)
MAX_LETTERS = 100
"""Characters of a hashtag that is asked for, at most."""

_SEPARATORS = frozenset(",;/\\，、；／")
_HANDLE = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
_X_HANDLE = re.compile(r"[A-Za-z0-9_]{1,15}(?![A-Za-z0-9_@＠]|://)", re.ASCII)


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


def _once(found: Iterable[str], key: Callable[[str], str]) -> list[str]:
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


def _in_x_tag(letter: str) -> bool:
    return unicodedata.category(letter) in _X_CATEGORIES or letter == "_" or letter in _X_JOINERS


def _x_tags(text: str) -> Iterator[str]:
    text = _without_addresses(text)
    for place, letter in enumerate(text):
        before = text[place - 1 : place]
        if letter not in _HASHES or before == "&" or (before and before not in _VARIATIONS and _in_x_tag(before)):
            continue
        end = place + 1
        while end < len(text) and _in_x_tag(text[end]):
            end += 1
        run = text[place + 1 : end]
        told = any(unicodedata.category(one)[0] in "LM" for one in run)
        # Neither of two tags that stand back to back is one.
        if told and run[0] not in (_VARIATION_16, _KEYCAP) and text[end : end + 1] not in ("#", "＃"):
            yield run


def hashtags_in(text: str, platform: Platform = "instagram") -> list[str]:
    """The hashtags of a caption, as written, without `#`, in order; one that differs only in case comes once."""
    return each_tag_once(_x_tags(text) if platform == "x" else _tags(text))


def each_tag_once(tags: Iterable[str]) -> list[str]:
    """The tags in order, each as it is written first."""
    return _once(tags, hashtag_key)


def _handle_at(text: str, place: int, platform: Platform) -> str | None:
    """The user name that starts at a place; None where none does, or where it goes on in letters that none has."""
    if platform == "youtube":
        end = place
        while end < len(text) and (_is_word(text[end]) or text[end] in "-.·"):
            end += 1
        name = text[place:end].rstrip("-.·")
        return name if any(letter.isalnum() for letter in name) else None
    match = (_X_HANDLE if platform == "x" else _HANDLE).match(text, place)
    if match is None:
        return None
    following = text[match.end() : match.end() + 1]
    # @über is nobody called "".
    return None if following.isalpha() and not _within(following, _UNSPACED_RANGES) else match.group()


def _mentions(text: str, platform: Platform) -> Iterator[str]:
    text = _without_addresses(text)
    for place, letter in enumerate(text):
        if letter not in _ATS or (place and _glued(text[place - 1])):
            continue
        if platform == "x" and place and text[place - 1] in "!#$%*@＠":
            continue
        name = _handle_at(text, place + 1, platform)
        if name is not None:
            yield name


def mentions_in(text: str, platform: Platform = "instagram") -> list[str]:
    """The user names that a caption mentions, as written, without `@`, in order, each once whatever its case.

    User names are ASCII letters, digits, `_` and inner dots on Instagram and TikTok; on X without dots, 15 at most;
    on YouTube letters and digits of any script, `_` and inner `-`, `.`, `·`. E-mail addresses are no mentions.
    """
    return _once(_mentions(text, platform), str.lower)


def normalise_hashtag(typed: str) -> str:
    """A hashtag as somebody typed it, in the form in which it is sent: trimmed, NFC, without the `#` before it.

    Letters of all scripts, digits, `_`, combining marks and emoji make a tag, with a letter among them (or a `_` beside
    digits). Characters that nobody sees are left out, but for the joiners that some scripts and emoji need.

    Raises:
        UsageError: nothing is left, it is a user name or a URL, it holds a space, punctuation, a control character or
            another `#`, it has more than 100 characters, or it is emoji or a number alone.
    """
    if not isinstance(typed, str):
        raise UsageError("a hashtag is text; give one such as LVMH")
    tag = _visible(unicodedata.normalize("NFC", typed)).strip()
    if tag[:1] and tag[0] in _HASHES:
        tag = tag[1:]
    if not tag:
        raise UsageError("a hashtag is empty; give one such as LVMH")
    if len(tag) > MAX_LETTERS:
        raise UsageError(f'the hashtag "{_shown(tag)}…" has more than {MAX_LETTERS} characters; give one word')
    if tag[0] in _ATS:
        raise UsageError(
            f'"{_shown(tag)}" is a user name, not a hashtag; `tagtrail import creators` takes the URLs of profiles, '
            "such as https://www.tiktok.com/@USER"
        )
    if _TYPED_URL.match(tag):
        raise UsageError(
            f'"{_shown(tag)}" is a URL, not a hashtag; `tagtrail enrich` and `tagtrail import urls` take the URLs of '
            "posts, `tagtrail import creators` those of profiles"
        )
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
    wrong = next((letter for letter in tag if not _in_tag(letter)), None)
    # What holds a tag together never begins or ends one.
    wrong = wrong or next((letter for letter in (tag[0], tag[-1]) if letter in _JOINERS), None)
    if wrong is not None:
        raise UsageError(f'the hashtag "{_shown(tag)}" holds a "{_shown(wrong)}"; {_MADE_OF}')
    if _is_mark(tag[0]):
        raise UsageError(f'the hashtag "{_shown(tag)}" begins with an accent that stands on no letter; type it anew')
    if not any(letter.isalpha() for letter in tag) and not ("_" in tag and any(letter.isalnum() for letter in tag)):
        what = "holds no letter"
        if any(_is_emoji(letter) or letter == _KEYCAP for letter in tag):
            what = "is emoji alone"
        elif any(letter.isalnum() for letter in tag):
            what = "is a number alone"
        raise UsageError(f'"{_shown(tag)}" {what}, which is no hashtag; give one such as LVMH')
    return tag


_MADE_OF = "a hashtag is one word of letters, digits and _, such as LVMH"
_TYPED_URL = re.compile(
    rf"(?i:[a-z][a-z0-9+.-]*://|www\.|{_LABELS}[a-z]{{2,24}}(?::\d+)?[/?]|{_LABELS}(?:{_COMMON_ENDS})$)"
)
"""An address by its beginning; a bare host only where it surely is one."""

_UNSEEN_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Fillers that count as letters or marks, and that nobody sees."""

_EMOJI_TAGS = (0xE0020, 0xE007F)
_INDIC = (0x0900, 0x0DFF)


def _visible(typed: str) -> str:
    """The text without characters that nobody sees: they come along when a tag is copied, and make another tag of it.

    Joiners stay where they change what is seen: behind a letter of an Arabic or Indic script, or within an emoji.
    """
    kept: list[str] = []
    for letter in typed:
        before = next((one for one in reversed(kept) if not _is_mark(one)), "")
        if letter in "\u200c\u200d":
            told = before != "" and (
                unicodedata.bidirectional(before) == "AL" or _within(before, (_INDIC,)) or _is_emoji(before)
            )
        elif _within(letter, (_EMOJI_TAGS,)):
            told = before != "" and _is_emoji(before)
        else:
            told = unicodedata.category(letter) != "Cf" and letter not in _UNSEEN_LETTERS
        if told:
            kept.append(letter)
    while kept and kept[-1] in "\u200c\u200d":
        kept.pop()
    return unicodedata.normalize("NFC", "".join(kept))


def _shown(tag: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in tag[:60])


def hashtag_key(tag: str) -> str:
    """The form in which tags are compared and stored: NFC, in lower case, with one σ whether at a word's end or not.

    No case folding: it takes ß for ss, and #fußball and #fussball are two hashtags.
    """
    lower = unicodedata.normalize("NFC", tag).lower().replace("ς", "σ")
    return unicodedata.normalize("NFC", lower)
