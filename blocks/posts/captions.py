"""Hashtags and mentions in captions, by the rules of the platforms, and the forms in which tags compare.

What a tag is on Instagram, TikTok and YouTube (from twitter-text's rules and from what Instagram and TikTok link):
`#` or the full-width `＃`, then letters, digits, `_`, combining marks, emoji and a few joiners, with at least one
letter or emoji among them (or a `_` beside digits: `#1_2`), so that `#2024` is none. Tags may stand back to back
(`#one#two`). A `#` behind a letter or digit starts no tag (`C#`, `abc#d`), except behind scripts that are written
without spaces, and on TikTok, which links it; nothing inside a URL or an e-mail address is a tag or a mention. X has
rules of its own (twitter-text's expressions): no emoji, at least one letter, and neither back to back nor behind a
letter of any script.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable

from blocks.errors import UsageError
from blocks.posts.letters import (
    EMOJI,
    KEYCAP,
    UNSPACED,
    VARIATION_16,
    is_emoji,
    is_mark,
    letters_marks_and_digits,
    marks,
)
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.platforms.spec import MentionRule, TagRule
from blocks.posts.record import Platform

_HASHES = "#＃"
_ATS = "@＠"

_JOINERS = "\u200c\u200d\u05be\u05f3\u05f4\u301c\uff5e\u309b\u309c\u30a0\u30fb\u0f0b\u00b7"
"""Characters that hold a tag together but never end one (twitter-text's list): zero-width joiners, 〜 ・ · …"""
_X_JOINERS = "\u200c\u200d\ua67e\u05be\u05f3\u05f4\uff5e\u301c\u309b\u309c\u30a0\u30fb\u3003\u0f0b\u0f0c\u00b7"
"""Characters that X takes for parts of a tag besides letters, digits, marks and `_` (twitter-text's list)."""

# All repetitions are possessive (`++`): none is tried in another length, so that the time grows with the text only.
# Each expression begins with a class of characters, by which the engine skips what cannot begin a match; what must not
# stand before it is looked for behind that character.
_STOPS = r"\s＃＠、。，；：「」『』【】（）！？<>\""
_LABEL = r"[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+\."
_COMMON_ENDS = "com|org|net|info|biz|edu|gov|app|dev|shop|store|link|page|site|online|blog|club|live|xyz"
_ADDRESSES = re.compile(
    r"[A-Za-z0-9-](?<![A-Za-z0-9.-].)(?:"
    # With a scheme, or www.: all that follows up to a space or East Asian punctuation.
    rf"(?:[A-Za-z0-9.-]*+://|(?<=[wW])[wW]{{2}}\.)[^{_STOPS}]++"
    # Without: a host, but behind a tag's own `#` it is no part of it.
    r"|(?:(?<=-)-*+[A-Za-z0-9]++|(?<![\w@＠#＃].)[A-Za-z0-9]*+)(?:-++[A-Za-z0-9]++)*+\."
    rf"(?:{_LABEL})*+(?:"
    # It has a path or query behind it (bit.ly/x#part), and is not a sentence's end ("real.life?#skit").
    rf"[A-Za-z]{{2,24}}+(?::\d++)?+[/?](?![#@＃＠])[^{_STOPS}]*+"
    # Or its path starts with `#` or `@` (tiktok.com/@user), where it surely is one: "St.Tropez/#beach" is none.
    rf"|(?:(?i:{_COMMON_ENDS})|[a-z]{{2}})(?::\d++)?+/[^{_STOPS}]*+"
    r"))"
)
MAX_LETTERS = 100
"""Characters of a hashtag that is asked for, at most."""

_SEPARATORS = frozenset(",;/\\，、；／")


@functools.cache
def _chains(rule: TagRule) -> re.Pattern[str]:
    """Finds tags that stand back to back, from a `#` that begins one; on TikTok it may be glued to a word."""
    tag = rf"\w{marks()}{VARIATION_16}{_JOINERS}{EMOJI}"
    free = "(?<!&.)" if rule == "glued" else _not_glued()
    return re.compile(rf"[{_HASHES}]{free}{_run_of(tag + _HASHES, ascii='#')}")


def _run_of(letters: str, ascii: str = "") -> str:
    """As many of these letters as there are; what is ASCII is looked up in a small class first."""
    return rf"(?:[A-Za-z0-9_{ascii}]++|(?=[^\x00-\x7f])[{letters}]++)++"


@functools.cache
def _x_tag() -> re.Pattern[str]:
    """Finds what may be a tag on X; neither of two that stand back to back is one."""
    tag = rf"{letters_marks_and_digits()}_{_X_JOINERS}"
    selectors = rf"\ufe0e{VARIATION_16}"
    return re.compile(
        rf"[{_HASHES}](?![{_HASHES}{selectors}{KEYCAP}])(?<![{tag}&].)({_run_of(tag + selectors)})(?![{_HASHES}])"
    )


@functools.cache
def _mention(rule: MentionRule) -> re.Pattern[str]:
    """Finds user names behind an `@`; none where it goes on in letters that no name has (@über is nobody called "")."""
    no_more_letters = rf"(?!(?![{UNSPACED}])[^\W\d_])"
    if rule == "any script":
        name = _run_of(rf"\w{marks()}{VARIATION_16}·", ascii=".-")
        return re.compile(rf"[{_ATS}](?![{_ATS}]){_not_glued()}({name})")
    if rule == "twitter":
        # twitter-text's rule: no ASCII letter, digit or sign before it, but for RT.
        free = r"(?:(?<![A-Za-z0-9_!#$%&*@＠].)|(?<=\A[rR][tT].)|(?<=[^A-Za-z0-9_+~.-][rR][tT].))"
        return re.compile(
            rf"[{_ATS}](?=[A-Za-z0-9_]){free}([A-Za-z0-9_]{{1,15}}+)(?![A-Za-z0-9_@＠]|://){no_more_letters}"
        )
    handle = r"[A-Za-z0-9_]++(?:\.[A-Za-z0-9_]++)*+"
    return re.compile(rf"[{_ATS}](?=[A-Za-z0-9_]){_not_glued()}({handle}){no_more_letters}")


def _not_glued() -> str:
    """Behind a `#` or `@`: no letter or digit stands before it, but of a script that is written without spaces."""
    return rf"(?:(?<![\w{marks()}&].)|(?<=[{UNSPACED}].))"


_STRAY = re.compile(
    rf"(?<![{EMOJI}])[\ufe0e{VARIATION_16}]++(?!{KEYCAP})|(?<=[\ufe0e{VARIATION_16}])[\ufe0e{VARIATION_16}]++"
)
"""Variation selectors that select nothing."""
_HAS_LETTER = re.compile(rf"[^\W\d_]|[{EMOJI}{KEYCAP}]")


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_" or is_mark(letter)


def _in_tag(letter: str) -> bool:
    return _is_word(letter) or letter in _JOINERS or is_emoji(letter)


def _is_tag(run: str) -> bool:
    if run.isascii():
        return not (run.isdigit() or not run.strip("_"))
    if is_mark(run[0]):
        return False
    has_letter = any(letter.isalpha() or is_emoji(letter) or letter == KEYCAP for letter in run)
    return has_letter or ("_" in run and any(letter.isalnum() for letter in run))


def _without_addresses(text: str) -> str:
    """The text with a space for every URL."""
    return _ADDRESSES.sub(" ", text) if "/" in text or "." in text else text


def _once(found: Iterable[str], key: Callable[[str], str]) -> list[str]:
    kept: dict[str, str] = {}
    for one in found:
        kept.setdefault(key(one), one)
    return list(kept.values())


def _tags(text: str, rule: TagRule) -> Iterable[str]:
    # Behind a pure number, too, the next tag may start at once: #1#best.
    runs = "#".join(_chains(rule).findall(_without_addresses(text))).replace("＃", "#").split("#")
    for run in dict.fromkeys(runs):
        tag = run if run.isascii() else _STRAY.sub("", run).rstrip(_JOINERS)
        if tag and _is_tag(tag):
            yield tag


def _x_tags(text: str) -> Iterable[str]:
    for run in dict.fromkeys(_x_tag().findall(_without_addresses(text))):
        tag = run if run.isascii() else _STRAY.sub("", run)
        if any(unicodedata.category(letter)[0] in "LM" for letter in tag):
            yield tag


def hashtags_in(text: str, platform: Platform = "instagram") -> list[str]:
    """The hashtags of a caption, as written, without `#`, in order; one that differs only in case comes once.

    Variation selectors that select nothing are left out: nobody sees them, and they would make another tag.
    """
    rule = PLATFORMS[platform].tags
    return each_tag_once(_x_tags(text) if rule == "twitter" else _tags(text, rule))


def each_tag_once(tags: Iterable[str]) -> list[str]:
    """The tags in order, each as it is written first."""
    return _once(tags, hashtag_key)


def _mentions(text: str, rule: MentionRule) -> Iterable[str]:
    names = dict.fromkeys(_mention(rule).findall(_without_addresses(text)))
    if rule != "any script":
        return names
    return (name for written in names if any(map(str.isalnum, name := written.rstrip("-.·"))))


def mentions_in(text: str, platform: Platform = "instagram") -> list[str]:
    """The user names that a caption mentions, as written, without `@`, in order, each once whatever its case.

    User names are ASCII letters, digits, `_` and inner dots on Instagram and TikTok; on X without dots, 15 at most;
    on YouTube letters and digits of any script, `_` and inner `-`, `.`, `·`. E-mail addresses are no mentions.
    """
    return _once(_mentions(text, PLATFORMS[platform].mentions), str.lower)


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
    if len(typed) > 100 * MAX_LETTERS:
        raise UsageError(f"a hashtag of {len(typed):,} characters is none; give one word such as LVMH")
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
    if is_mark(tag[0]):
        raise UsageError(f'the hashtag "{_shown(tag)}" begins with an accent that stands on no letter; type it anew')
    if not any(letter.isalpha() for letter in tag) and not ("_" in tag and any(letter.isalnum() for letter in tag)):
        what = "holds no letter"
        if any(is_emoji(letter) or letter == KEYCAP for letter in tag):
            what = "is emoji alone"
        elif any(letter.isalnum() for letter in tag):
            what = "is a number alone"
        raise UsageError(f'"{_shown(tag)}" {what}, which is no hashtag; give one such as LVMH')
    return tag


_MADE_OF = "a hashtag is one word of letters, digits and _, such as LVMH"
_TYPED_URL = re.compile(
    rf"(?i:[a-z][a-z0-9+.-]*://|www\.|(?:{_LABEL})++[a-z]{{2,24}}(?::\d+)?[/?]|(?:{_LABEL})++(?:{_COMMON_ENDS})$)"
)
"""An address by its beginning; a bare host only where it surely is one."""

_UNSEEN_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Fillers that count as letters or marks, and that nobody sees."""

_EMOJI_TAGS = range(0xE0020, 0xE0080)
_INDIC = range(0x0900, 0x0E00)


def _visible(typed: str) -> str:
    """The text without characters that nobody sees: they come along when a tag is copied, and make another tag of it.

    Joiners stay where they change what is seen: behind a letter of an Arabic or Indic script, or within an emoji.
    """
    kept: list[str] = []
    before = ""
    for letter in typed:
        if letter in "\u200c\u200d":
            is_seen = before != "" and (
                unicodedata.bidirectional(before) == "AL" or ord(before) in _INDIC or is_emoji(before)
            )
        elif ord(letter) in _EMOJI_TAGS:
            is_seen = before != "" and is_emoji(before)
        else:
            is_seen = unicodedata.category(letter) != "Cf" and letter not in _UNSEEN_LETTERS
        if is_seen:
            kept.append(letter)
            before = before if is_mark(letter) else letter
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
