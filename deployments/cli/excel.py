"""What Excel does to cells: which texts it reads as something else, and how much one cell holds."""

from __future__ import annotations

import re
from typing import Final

LONGEST_TEXT: Final = 32_767
"""Letters in one cell at most, by Excel's own count (UTF-16)."""

EXACT: Final = 10**15 - 1
"""Excel keeps 15 digits of a number."""

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"),
    *("december", "januar", "februar", "märz", "mai", "juni", "juli", "oktober", "dezember", "janvier", "février"),
    *("mars", "avril", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre", "enero", "febrero"),
    *("marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    *("gennaio", "febbraio", "aprile", "maggio", "giugno", "luglio", "settembre", "ottobre", "dicembre", "janeiro"),
    *("fevereiro", "março", "maio", "junho", "julho", "setembro", "outubro", "novembro", "dezembro", "januari"),
    *("februari", "maart", "mei", "augustus"),
)
_WORDS: Final = frozenset(
    {"e", "a", "p", "am", "pm", *"年月日時分秒"} | {name[:end] for name in _MONTHS for end in range(3, len(name) + 1)}
)
"""Words that stand in numbers, times and dates; Excel takes the beginning of a month's name for the month."""

_TRUTHS: Final = frozenset({"true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "falso", "vero", "waar"})
_WORD: Final = re.compile(r"[^\W\d_]")
_BETWEEN: Final = re.compile(r"[\d\s.,:;/'’()%$€£¥₹₩+\-–−]+")


def would_change(text: str) -> bool:
    """Whether Excel may read a text as a number, a date, a time or a truth value, in some language of its own."""
    if len(text) > 60:
        return False
    if not any(letter.isdigit() for letter in text):
        return text.strip().lower() in _TRUTHS
    words = re.findall(r"[年月日時分秒]|[^\W\d_年月日時分秒]+", text.lower())
    return all(word in _WORDS for word in words) and _BETWEEN.fullmatch(_WORD.sub(" ", text)) is not None


def length(text: str) -> int:
    """How long Excel says that a text is."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "replace")) // 2


def is_too_long(text: str) -> bool:
    """Whether one cell does not hold it."""
    return len(text) * 2 > LONGEST_TEXT and length(text) > LONGEST_TEXT
