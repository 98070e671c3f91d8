"""Makes words from outside harmless where they are shown: captions, names and messages are text, whatever they hold.

What is stored and exported to files stays as it came; each place that shows it takes the function of its kind.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

_UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}"

_CONTROLS: Final = {
    **{code: 0x2400 + code for code in range(0x20)},  # ESC becomes ␛: it is seen, and steers nothing.
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), _UNKNOWN),
    # Overrides, embeddings and isolates show a text in another order than it is read in.
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), _UNKNOWN),
    **dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), _UNKNOWN),
    # What nobody sees makes one word look like another.
    **dict.fromkeys((0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x200B, 0x200E, 0x200F, 0x3164)),
    **dict.fromkeys((*range(0x2060, 0x2066), *range(0x206A, 0x2070), 0xFEFF, 0xFFA0, *range(0xFFF9, 0xFFFC), 0xE0001)),
}
_LINES: Final = {**_CONTROLS, 0x0A: 0x0A, 0x09: 0x20, 0x0D: None, 0x2028: 0x20, 0x2029: 0x20}
_JOINERS: Final = re.compile("(?<![\u0590-\U0010ffff])[\u200c\u200d]+|(?<=[\u200c\u200d])[\u200c\u200d]+")
"""Zero-width joiners, but for those that Arabic and Indic scripts and emoji need."""
_FLAGS: Final = re.compile("(\U0001f3f4[\U000e0020-\U000e007f]{1,10})|[\U000e0020-\U000e007f]+")
"""Tag characters: a flag of a region, or a text that nobody sees."""


def for_terminal(text: str) -> str:
    """Text as a terminal may show it: what would steer it or deceive its reader is shown, or left out; lines stay."""
    if text.isascii() and text.isprintable():
        return text
    return _FLAGS.sub(r"\1", _JOINERS.sub("", text)).translate(_LINES)


def plain(text: str) -> str:
    """Text as one line for terminals, events and notes: no control and no line of its own."""
    return for_terminal(" ".join(text.split()))


def for_log(text: str) -> str:
    """Text as one line for logs and for the messages of states, in which Prefect's UI makes links of addresses."""
    return _LINKED.sub(" ", plain(text))


def plain_data(value: Any) -> Any:
    """The same for each text in an event's payload, and for its keys."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain_data(key): plain_data(item) for key, item in value.items()}
    return [plain_data(item) for item in value] if isinstance(value, list | tuple) else value


_OWN_CODE: Final = re.compile(r"(?<![`\\])(`tagtrail[a-z -]{0,60}`)(?!`)")
"""A command of ours in a sentence: in between backticks nothing is markup."""
_MARKUP: Final = re.compile(r"[\\`*_\[\]<>|~!&$]")
_BEGINNING: Final = re.compile(r"^([-+=#]|[0-9]{1,9}(?=[.)]))")
_LINKED: Final = re.compile(r"(?<=:)(?=//)|(?<=(?i:www\.))(?=\S)|(?<=[\w.+-])(?=@[\w-])|(?i:(?<=mailto:)|(?<=xmpp:))")
"""Where an address is cut in two, for renderers make links of what looks like one, escaped or not."""


def for_markdown(text: str) -> str:
    """Text as part of a line of Markdown (also a table's cell): no link, picture, HTML, heading or code comes of it."""
    parts = _OWN_CODE.split(plain(text))
    return "".join(part if at % 2 else _escaped(part, first=not at) for at, part in enumerate(parts))


def out_of_markdown(markdown: str) -> str:
    """The words that `for_markdown` made part of a page, so that they can be searched for."""
    return _ESCAPE.sub(r"\1", markdown)


_ESCAPE: Final = re.compile(r"\\([\\`*_\[\]<>|~!&$#+=.)-])")


def _escaped(text: str, *, first: bool) -> str:
    text = _MARKUP.sub(r"\\\g<0>", _LINKED.sub(" ", text))
    return _BEGINNING.sub(_at_the_beginning, text) if first else text


def _at_the_beginning(match: re.Match[str]) -> str:
    mark = match.group()
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def for_json(text: str) -> str:
    """A JSON document that says the same, with escapes for what would steer a terminal or deceive its reader."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _DECEIVING.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


_DECEIVING: Final = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def distinct_name(made: str, typed: str) -> str:
    """A file's or an artifact's name that was made from what a user typed, with six digits of its hash where it says
    less: no two ever share a name."""
    return made if made == typed else f"{made}-{hashlib.sha256(typed.encode()).hexdigest()[:6]}"
