"""Secrets are cut out of answers, however they are written, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from blocks.memories.redaction import Scrubber
from tests.cases import each_case

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


@each_case("how", WRITTEN)
def test_a_secret_is_cut_out_however_it_is_written(how: str) -> None:
    scrub = Scrubber(KEY)
    assert scrub(f"your key {WRITTEN[how]}, really".encode()) == b"your key [key], really"
    assert scrub.words_of(ValueError(f"your key {WRITTEN[how]}")) == "your key [key]"


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODED = {
    "upper case": KEY.upper(),
    "lower case": KEY.lower(),
    "changed case": KEY.swapcase(),
    "changed case, escaped": json_escaped(KEY.swapcase()),
    "hexadecimal": KEY.encode().hex(),
    "hexadecimal, upper case": KEY.encode().hex().upper(),
    "hexadecimal in pairs": KEY.encode().hex(" "),
    "hexadecimal with colons": KEY.encode().hex(":"),
    "base64": base64_of(KEY),
    "base64, escaped for a URL": quote(base64_of(KEY), safe=""),
    "base64, escaped for JSON": json_escaped(base64_of(KEY)),
    "base64 in JSON by PHP": base64_of(KEY).replace("/", "\\/"),
    **{f"base64 of user:key, {len(user)}": base64_of(f"{user}:{KEY}") for user in ("", "u", "us", "user")},
    **{f"base64 of a header, {more}": base64_of(f"Bearer {KEY}{'x' * more}") for more in range(4)},
    "base64 for URLs": base64.urlsafe_b64encode(f"u?>:{KEY}".encode()).decode(),
}


@each_case("how", ENCODED)
def test_a_secret_is_cut_out_in_other_forms(how: str) -> None:
    for around in ('{"a":"%s"}', '{"a":"\\n%s\\n"}', '{"a":"x %s."}', '{"a":["\\u000a%s",1]}'):
        told = Scrubber(KEY)((around % ENCODED[how]).encode()).decode()
        assert "[key]" in told
        json.loads(told)
        left = told.replace("[key]", "")
        for form in (
            KEY,
            KEY.encode().hex(),
            base64_of(KEY)[:8],
            base64_of(f"12{KEY}")[3:11],
            base64_of(f"1{KEY}")[2:10],
        ):
            assert form.lower() not in left.lower()


def test_a_short_secret_is_cut_as_it_is_only() -> None:
    scrub = Scrubber("lamp-7")
    assert scrub(b"lamp-7 LAMP-7") == b"[key] LAMP-7"
    assert scrub(base64_of("lamp-7").encode()) == base64_of("lamp-7").encode()


def test_base64_of_other_things_is_left_alone() -> None:
    body = json.dumps({"thumb": base64_of("no key at all " * 50), "hex": ("ab" * 300)}).encode()
    assert Scrubber(KEY)(body) == body


@each_case("key", ["back\\slash\\key", "100%-key-100%", "/begins-with-it", "%25-in-it-%25"])
def test_keys_of_odd_letters(key: str) -> None:
    for written in (key, json.dumps(key)[1:-1], json_escaped(key), quote(key, safe=""), key.swapcase()):
        assert Scrubber(key)(f'"a {written}"'.encode()) == b'"a [key]"'


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


@each_case(
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
    assert Scrubber(KEY).words_of(ValueError(said)) == told


def test_no_dump_shows_a_secret() -> None:
    scrub = Scrubber(KEY, f"https://hooks.example.com/{SECRET}")
    shown = repr(scrub) + repr([getattr(scrub, name) for name in scrub.__slots__])
    assert KEY not in shown
    assert SECRET not in shown
