"""Kinds of letters as classes for regular expressions: marks, emoji, scripts that are written without spaces."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable

VARIATION_16, KEYCAP = "\ufe0f", "\u20e3"

EMOJI = (
    "\U0001f000-\U0001faff\u2600-\u2793\u2795-\u2797\u23e9-\u23fa\u2b05-\u2b55"
    "\U000e0020-\U000e007f"  # The tag characters inside flags of regions.
    "©®™ℹ‼⁉〰〽㊗㊙Ⓜ↔↕↖↗↘↙↩↪▪▫▶◀◻◼◽◾⌚⌛⌨⏏⤴⤵➡➰➿"
)
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff"  # Hangul letters: particles are written onto the word before
    "\u3005-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"  # kana, Hangul, Han
)

_is_emoji = re.compile(f"[{EMOJI}]").match


def is_emoji(letter: str) -> bool:
    return _is_emoji(letter) is not None


def is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "M"


@functools.cache
def marks() -> str:
    """All combining marks, without the variation selector behind emoji."""
    return _class(lambda category: category[0] == "M", _AFTER_LATIN)


@functools.cache
def letters_marks_and_digits() -> str:
    """Letters, combining marks and decimal digits (categories L, M and Nd), without the two selectors of emoji."""
    return _class(lambda category: category[0] in "LM" or category == "Nd", _ALL)


_AFTER_LATIN = (range(0x300, 0xFE0F), range(0xFE10, 0x1F000), range(0xE0100, 0xE01F0))
_ALL = (range(0x20, 0xD800), range(0xF900, 0xFE0E), range(0xFE10, 0x32400), range(0xE0100, 0xE01F0))
"""Where letters, marks and digits are: beyond nothing is assigned, or for private use."""


def _class(wanted: Callable[[str], bool], where: Iterable[range]) -> str:
    ranges: list[str] = []
    for codes in where:
        first = None
        for code in (*codes, codes.stop):
            inside = code != codes.stop and wanted(unicodedata.category(chr(code)))
            if inside and first is None:
                first = code
            elif not inside and first is not None:
                ranges.append(re.escape(chr(first)) + (f"-{re.escape(chr(code - 1))}" if code - 1 > first else ""))
                first = None
    return "".join(ranges)
