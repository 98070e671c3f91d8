"""Secrets are cut out of answers, however they are written, and nothing else is touched."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.memories.hiding import Scrubber

KEY = "sk-nmav/i+Key_7.x"
SECRET = "invented-and-long-enough"


def json_escaped(text: str, *, upper: bool = False) -> str:
    return "".join(f"\\u{ord(one):04{'X' if upper else 'x'}}" for one in text)


WRITTEN = {
    "plain": KEY,
    "JSON": KEY.replace("/", "\\/"),
    "one letter": KEY.replace("m", "\\u006d"),
    "one dash": KEY.replace("-", "\\u002D"),
    "all letters": json_escaped(KEY),
    "upper digits": json_escaped(KEY, upper=True),
    "text within a text": json.dumps(json_escaped(KEY))[1:-1],
    "Python": KEY.replace("-", "\\x2d"),
    "URL": quote(KEY, safe=""),
    "all of a URL": "".join(f"%{ord(one):02x}" for one in KEY),
    "URL twice": quote(quote(KEY, safe=""), safe=""),
    "HTML": "".join(f"&#{ord(one)};" for one in KEY),
    "HTML, hexadecimal": KEY.replace("-", "&#x2D;"),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_secret_is_cut_out_however_it_is_written(how: str) -> None:
    scrub = Scrubber(KEY)
    assert scrub(f"your key {WRITTEN[how]}, really".encode()) == b"your key [key], really"
    assert scrub.told(ValueError(f"your key {WRITTEN[how]}")) == "your key [key]"


@given(st.sets(st.integers(0, len(KEY) - 1)), st.sampled_from(["\\u00{:02x}", "%{:02X}", "&#{};"]), st.text())
def test_whichever_letters_are_escaped(places: set[int], shape: str, around: str) -> None:
    written = "".join(shape.format(ord(one)) if at in places else one for at, one in enumerate(KEY))
    told = Scrubber(KEY)(json.dumps({"a": around}).encode() + written.encode()).decode()
    assert told == json.dumps({"a": around}) + "[key]"


def test_json_stays_json() -> None:
    said = {"before": "a line\n", "key": f"\n{KEY}\\", "after": '\\"', KEY: [KEY, KEY + KEY]}
    for body in (json.dumps(said), json.dumps(said).replace("-", "\\u002d"), json.dumps(said).replace("s", "\\u0073")):
        told = json.loads(Scrubber(KEY, f"https://hooks.example.com/{SECRET}")(body.encode()))
        assert told == {"before": "a line\n", "key": "\n[key]\\", "after": '\\"', "[key]": ["[key]", "[key][key]"]}


def test_what_holds_no_secret_is_left_alone() -> None:
    body = b'{"caption":"100 % caf\\u00e9 \\ud83d\\ude00 &#107; \\u006b %6B"}'
    assert Scrubber(KEY, f"https://hooks.example.com/{SECRET}")(body) == body
    assert html.unescape("&#107;") == "k"


def test_the_callbacks_secret_goes_with_and_without_its_url() -> None:
    scrub = Scrubber("sk-invented", f"https://hooks.example.com/in/{SECRET}")
    body = f'{{"msg":"sk-invented may not be told at https:\\/\\/hooks.example.com\\/in\\/{SECRET}"}}'.encode()
    told = json.loads(scrub(body))["msg"]
    assert told == "[key] may not be told at https://hooks.example.com/in/[callback]"
    assert scrub(json_escaped(SECRET).encode()) == b"[callback]"


def test_a_callbacks_secret_that_may_be_a_word_goes_with_its_url_only() -> None:
    scrub = Scrubber("sk-invented", "https://hooks.example.com/in/lamps")
    assert scrub(b"lamps at https://hooks.example.com/in/lamps") == b"lamps at [callback]"
    assert scrub(rb"lamps at https:\/\/hooks.example.com\/in\/lamps") == b"lamps at [callback]"
    assert Scrubber("sk-invented")(b"lamps, sk-invented") == b"lamps, [key]"
    assert Scrubber("")(b"lamps") == b"lamps"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("illegal header line: bytearray(b'a caption')", "illegal header line"),
        ('illegal status line: bytearray(b"it\'s")', "illegal status line"),
        ("malformed chunk footer: b'x' (expected b'\\r\\n')", "malformed chunk footer"),
        ("Server disconnected without sending a response.", "Server disconnected without sending a response."),
        ("", "ValueError"),
    ],
)
def test_the_bytes_that_a_library_quotes_are_not_repeated(said: str, told: str) -> None:
    assert Scrubber(KEY).told(ValueError(said)) == told


def test_no_dump_shows_a_secret() -> None:
    scrub = Scrubber(KEY, f"https://hooks.example.com/{SECRET}")
    shown = repr(scrub) + repr([getattr(scrub, name) for name in scrub.__slots__])
    assert KEY not in shown
    assert SECRET not in shown
