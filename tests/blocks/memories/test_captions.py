"""Hashtags and mentions in captions, and the forms in which hashtags are typed and compared."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.memories.captions import hashtag_key, hashtags_in, mentions_in, normalise_hashtag
from blocks.memories.errors import UsageError


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", []),
        ("#LVMH and #dior", ["LVMH", "dior"]),
        ("#Straße #STRASSE #strasse", ["Straße"]),
        ("#one#two#three", ["one", "two", "three"]),
        ("＃東京 と#大阪、それから#京都。", ["東京", "大阪", "京都"]),
        ("今日は#晴れ", ["晴れ"]),
        ("오늘의#도예", ["도예"]),
        ("#2024 #٢٠٢٤ #１２ #2024x #1_2", ["2024x", "1_2"]),
        ("#1#best", ["best"]),
        ("#_ #__ #_a", ["_a"]),
        ("#💃dance #go💃 #❤️ #👩‍👩‍👧 #🇫🇷 #1️⃣ #👍🏽", ["💃dance", "go💃", "❤️", "👩‍👩‍👧", "🇫🇷", "1️⃣", "👍🏽"]),
        ("#️⃣ key", []),
        ("❤️#love 🔥#hot", ["love", "hot"]),
        ("#cafe\u0301 #हिन्दी #ไทย #می\u200cخواهم", ["cafe\u0301", "हिन्दी", "ไทย", "می\u200cخواهم"]),
        ("#caf\u00e9 #CAFE\u0301", ["caf\u00e9"]),
        ("#\u0301a", []),
        ('#tag-with #a.b #l\'été #x! (#y) "#z"', ["tag", "a", "l", "x", "y", "z"]),
        ("#one·#two #a・", ["one", "two", "a"]),
        ("#col·lecció", ["col·lecció"]),
        ("C# a#b &#39; x_#y 5#z", []),
        ("kiln#x@example.com and #ok", ["ok"]),
        ("https://example.com/#part https://e.com/a?b=#c&d #real", ["real"]),
        ("www.example.com/#x bit.ly/abc#y example.com#z HTTPS://E.COM/#q", []),
        ("https://t.co/abc、#after", ["after"]),
        ("line\n#next\r\n#last\t#tab", ["next", "last", "tab"]),
        ("## #", []),
        ("##double", ["double"]),
        ("#a #A #a", ["a"]),
    ],
)
def test_hashtags(text: str, tags: list[str]) -> None:
    assert hashtags_in(text) == tags


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("", []),
        ("@mo.clay and @Mo.Clay, thanks @x_1!", ["mo.clay", "x_1"]),
        ("(@a) .@b @c. @d.. @e.f.", ["a", "b", "c", "d", "e.f"]),
        ("kiln@example.com a.b+c@example.co.uk müller@example.de", []),
        ("https://example.com/@me www.tiktok.com/@you @them", ["them"]),
        ("@userさん 撮影@foto ＠full", ["user", "foto", "full"]),
        ("@über @ü @ @@", []),
        ("@a@b", ["a"]),
        ("🔥@hot", ["hot"]),
    ],
)
def test_mentions(text: str, users: list[str]) -> None:
    assert mentions_in(text) == users


letters = st.characters(categories=("Lu", "Ll", "Lo", "Lt"), exclude_characters="ªº")
tags = st.text(letters, min_size=1, max_size=12)
spaces = st.sampled_from([" ", "\n", "  ", " | ", ", ", "… "])


@given(st.lists(st.tuples(st.sampled_from("#＃"), tags, spaces), max_size=8))
def test_every_tag_is_found_as_written_in_order_and_once(pieces: list[tuple[str, str, str]]) -> None:
    text = "".join(mark + tag + space for mark, tag, space in pieces)
    expected: dict[str, str] = {}
    for _, tag, _ in pieces:
        expected.setdefault(hashtag_key(tag), tag)
    assert hashtags_in(text) == list(expected.values())


@given(st.text())
@example("#a\u200d#b")
@example("#\ufe0f#x")
def test_any_text_gives_tags_that_stand_in_it(text: str) -> None:
    found = hashtags_in(text)
    for tag in found:
        assert f"#{tag}" in text or f"＃{tag}" in text
        assert not tag.isdecimal()
        assert not any(letter in "#＃@" or letter.isspace() for letter in tag)
        assert hashtags_in(f"#{tag}") == [tag]
    keys = [hashtag_key(tag) for tag in found]
    assert len(keys) == len(set(keys))


@given(st.text())
def test_any_text_gives_mentions_that_stand_in_it(text: str) -> None:
    for user in mentions_in(text):
        assert f"@{user}" in text or f"＠{user}" in text
        assert mentions_in(f"@{user}") == [user]


plain = st.text(st.sampled_from(string.ascii_lowercase + string.digits), min_size=1, max_size=10)
tails = st.text(st.sampled_from(string.ascii_letters + string.digits + "#@/?=&._-~%"), max_size=20)


@given(plain, plain, tails)
def test_nothing_inside_a_url_or_an_address_counts(host: str, name: str, tail: str) -> None:
    for text in (f"https://{host}.example/{tail}", f"see www.{host}.example/{tail} there", f"{host}.com/{tail}"):
        assert hashtags_in(text) == []
        assert mentions_in(text) == []
    assert mentions_in(f"write to {name}@{host}.com or {name}.{name}@{host}.org") == []


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("LVMH", "LVMH"),
        (" #dior ", "dior"),
        ("＃東京", "東京"),
        ("cafe\u0301", "caf\u00e9"),
        ("💃", "💃"),
        ("y2k", "y2k"),
        ("1_2", "1_2"),
        ("a" * 100, "a" * 100),
    ],
)
def test_typed_hashtags(typed: str, sent: str) -> None:
    assert normalise_hashtag(typed) == sent


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("#", "empty"),
        ("two words", "space"),
        ("# dior", "space"),
        ("a\tb", "space"),
        ("a\u3000b", "space"),
        ("a#b", "# inside"),
        ("##a", "# inside"),
        ("a\x00b", "control"),
        ("a\ud800b", "control"),
        ("lvmh,dior", "give the hashtags apart, for example: tagtrail run lvmh dior"),
        ("lvmh/dior", "give the hashtags apart"),
        ("東京、大阪", "give the hashtags apart"),
        ("https://www.tiktok.com/tag/lvmh", "is a URL"),
        ("www.tiktok.com/tag/lvmh", "is a URL"),
        ("a" * 101, "more than 100 characters"),
        ("2024", "number alone"),
        ("٢٠٢٤", "number alone"),
        ("!?", "no letter"),
        ("___", "no letter"),
        (None, "is text"),
        (5, "is text"),
    ],
)
def test_wrong_hashtags_get_one_sentence(typed: object, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        normalise_hashtag(typed)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()


@given(st.text(max_size=40))
def test_typing_is_idempotent_and_refuses_cleanly(typed: str) -> None:
    try:
        tag = normalise_hashtag(typed)
    except UsageError:
        return
    assert normalise_hashtag(tag) == tag
    assert normalise_hashtag(f"#{tag}") == tag
    assert tag.encode()


def test_keys_of_tags_that_differ_in_case_only() -> None:
    assert hashtag_key("STRASSE") == hashtag_key("straße") == "strasse"
    assert hashtag_key("CAFE\u0301") == hashtag_key("caf\u00e9")
    assert hashtag_key("ΣΊΣΥΦΟΣ") == hashtag_key("σίσυφος")


@given(st.text(max_size=20))
@example("ᾳ\u0301")
@example("\u0345\u0301")
@example("İ")
def test_keys_do_not_tell_case_or_composition_apart(tag: str) -> None:
    key = hashtag_key(tag)
    assert hashtag_key(key) == key
    assert unicodedata.is_normalized("NFC", key)
    for form in ("NFC", "NFD"):
        assert hashtag_key(unicodedata.normalize(form, tag)) == key
