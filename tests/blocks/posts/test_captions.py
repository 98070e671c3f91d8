"""Hashtags and mentions in captions, and the forms in which hashtags are typed and compared."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.errors import UsageError
from blocks.posts.captions import hashtag_key, hashtags_in, mentions_in, normalise_hashtag
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Platform
from tests.cases import each_case


@each_case(
    ("text", "tags"),
    [
        ("", []),
        ("#LVMH and #dior", ["LVMH", "dior"]),
        ("#Straße #STRASSE #strasse", ["Straße", "STRASSE"]),
        ("#fußball #fussball #FUßBALL", ["fußball", "fussball"]),
        ("real.life?#skit St.Tropez/#cannes", ["skit", "cannes"]),
        ("Dr.No/#bond see bit.ly/?#a", ["bond"]),
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


@each_case(
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
        ("Part.two?@friend tiktok.com/@you t.me/@you https://www.youtube.com/@you", ["friend"]),
    ],
)
def test_mentions(text: str, users: list[str]) -> None:
    assert mentions_in(text) == mentions_in(text, "tiktok") == users


@each_case(
    ("text", "users"),
    [
        ("thanks @NBCOlympics.Watch now", ["NBCOlympics"]),
        ("@a.b (@C) .@d @a_1, @A", ["a", "C", "d", "a_1"]),
        ("@abcdefghijklmno @abcdefghijklmnop", ["abcdefghijklmno"]),
        ("@a@b #@c @@d @e://f @über", []),
        ("撮影@foto ＠full @userさん", ["foto", "full", "user"]),
        ("kiln@example.com https://x.com/@you", []),
    ],
)
def test_mentions_on_x(text: str, users: list[str]) -> None:
    assert mentions_in(text, "x") == users


@each_case(
    ("text", "users"),
    [
        (
            "with @my-channel, @some-channel-x and @日本語チャンネル",
            ["my-channel", "some-channel-x", "日本語チャンネル"],
        ),
        ("@name. @a.b... @col·lectiu @über - @x_", ["name", "a.b", "col·lectiu", "über", "x_"]),
        ("@हिन्दी @HINDI @hindi @- @", ["हिन्दी", "HINDI"]),
        ("kiln@example.com https://www.youtube.com/@you", []),
    ],
)
def test_mentions_on_youtube(text: str, users: list[str]) -> None:
    assert mentions_in(text, "youtube") == users


@each_case(
    ("text", "tags"),
    [
        ("#Paris2024🔥 go", ["Paris2024"]),
        ("#one#two", []),
        ("#one #two #ONE", ["one", "two"]),
        ("日本#タグ 日本 #タグ、＃東京。", ["タグ", "東京"]),
        ("#💃dance 🔥#hot ❤️#love", ["hot", "love"]),
        ("#️⃣ #2024 #1_2 #٢٠٢٤ #2024x #_a", ["2024x", "_a"]),
        ("C# a#b &#39; ##double (#y)", ["double", "y"]),
        ("#हिन्दी #می\u200cخواهم #cafe\u0301", ["हिन्दी", "می\u200cخواهم", "cafe\u0301"]),
        ("https://t.co/abc#x example.com/#y #real", ["real"]),
    ],
)
def test_hashtags_on_x(text: str, tags: list[str]) -> None:
    assert hashtags_in(text, "x") == tags


@each_case(
    ("text", "tags"),
    [
        ("moss kata#nadaシ #nada", ["nadaシ", "nada"]),
        ("C#sharp 5#z x_#y müller#kiln", ["sharp", "z", "y", "kiln"]),
        ("#one#two AT&#39;T &#38; a@b.com https://e.com/#part e.com/a#b", ["one", "two"]),
    ],
)
def test_on_tiktok_a_tag_may_be_glued_to_a_word(text: str, tags: list[str]) -> None:
    assert hashtags_in(text, "tiktok") == tags


@each_case("platform", PLATFORMS)
def test_a_variation_selector_that_selects_nothing_makes_no_other_tag(platform: Platform) -> None:
    assert hashtags_in("#tag\ufe0f next #TAG\ufe0e #t\ufe0fag #\ufe0f", platform) == ["tag"]
    if platform != "x":
        assert hashtags_in("#❤️ #❤︎dance #1️⃣ #©️x", platform) == ["❤️", "❤︎dance", "1️⃣", "©️x"]


@each_case(
    ("text", "users"),
    [
        ("RT@fern RT:@oslo", ["fern", "oslo"]),
        ("rt@fern rT:@oslo RT @loom", ["fern", "oslo", "loom"]),
        ("xRT@fern -rt@oslo SMART@loom", []),
        ("é@fern 🔥@oslo", ["fern", "oslo"]),
    ],
)
def test_mentions_on_x_after_rt(text: str, users: list[str]) -> None:
    assert mentions_in(text, "x") == users


def _without_selectors(text: str) -> str:
    return text.replace("\ufe0e", "").replace("\ufe0f", "")


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
@example("#a\ufe0fb")
def test_any_text_gives_tags_that_stand_in_it(text: str) -> None:
    found = hashtags_in(text)
    plain = _without_selectors(text)
    for tag in found:
        assert f"#{_without_selectors(tag)}" in plain or f"＃{_without_selectors(tag)}" in plain
        assert not tag.isdecimal()
        assert not any(letter in "#＃@" or letter.isspace() for letter in tag)
        assert hashtags_in(f"#{tag}") == [tag]
    keys = [hashtag_key(tag) for tag in found]
    assert len(keys) == len(set(keys))


@given(st.text() | st.text("@＠#ab.1_-·é日 "), st.sampled_from(sorted(PLATFORMS)))
def test_any_text_gives_mentions_that_stand_in_it(text: str, platform: Platform) -> None:
    for user in mentions_in(text, platform):
        assert f"@{user}" in text or f"＠{user}" in text
        assert mentions_in(f"@{user}", platform) == [user]


@given(st.text() | st.text("#＃ab1_·é日\u0301 &"))
def test_any_text_gives_tags_of_x_that_stand_in_it(text: str) -> None:
    plain = _without_selectors(text)
    for tag in hashtags_in(text, "x"):
        assert f"#{_without_selectors(tag)}" in plain or f"＃{_without_selectors(tag)}" in plain
        assert hashtags_in(f"#{tag}", "x") == [tag]


plain = st.text(st.sampled_from(string.ascii_lowercase + string.digits), min_size=1, max_size=10)
tails = st.text(st.sampled_from(string.ascii_letters + string.digits + "#@/?=&._-~%"), max_size=20)


@given(plain, plain, tails)
def test_nothing_inside_a_url_or_an_address_counts(host: str, name: str, tail: str) -> None:
    for text in (f"https://{host}.example/{tail}", f"see www.{host}.example/{tail} there", f"{host}.com/{tail}"):
        assert hashtags_in(text) == []
        assert mentions_in(text) == []
    assert mentions_in(f"write to {name}@{host}.com or {name}.{name}@{host}.org") == []


@each_case(
    ("typed", "sent"),
    [
        ("LVMH", "LVMH"),
        (" #dior ", "dior"),
        ("＃東京", "東京"),
        ("cafe\u0301", "caf\u00e9"),
        ("dior💃", "dior💃"),
        ("❤️dior", "❤️dior"),
        ("y2k", "y2k"),
        ("dior_2024", "dior_2024"),
        ("हिन्दी", "हिन्दी"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d👩\u200d👧mum", "👩\u200d👩\u200d👧mum"),
        ("col·lecció", "col·lecció"),
        # What nobody sees comes along when a tag is copied.
        ("\u200bdior\u200b", "dior"),
        ("\ufeff#dior", "dior"),
        ("#\u200bdior", "dior"),
        ("di\u200bor\u2060", "dior"),
        ("di\u200cor", "dior"),
        ("\u202adior\u202c", "dior"),
        ("di\u00ador", "dior"),
        ("dior\u3164", "dior"),
        ("می\u200c", "می"),
        ("1_2", "1_2"),
        ("a" * 100, "a" * 100),
    ],
)
def test_typed_hashtags(typed: str, sent: str) -> None:
    assert normalise_hashtag(typed) == sent


@each_case(
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
        ("@dior", "user name, not a hashtag; `tagtrail import creators` takes the URLs of profiles"),
        ("＠dior", "user name"),
        ("#@dior", "user name"),
        ("tiktok.com/@dior", "is a URL, not a hashtag; `tagtrail enrich` and `tagtrail import urls` take the URLs of"),
        ("instagram.com", "is a URL"),
        ("youtu.be/abcdefghijk", "is a URL"),
        ("dior.", 'holds a "."; a hashtag is one word of letters, digits and _'),
        ('"dior"', "one word of letters"),
        ("(dior)", "one word of letters"),
        ("«dior»", "one word of letters"),
        ("di-or", 'holds a "-"'),
        ("St.Tropez", 'holds a "."'),
        ("l'oréal", "one word of letters"),
        ("dior!", 'holds a "!"'),
        ("$dior", "one word of letters"),
        ("AT&T", 'holds a "&"'),
        ("dior·", 'holds a "·"'),
        ("\u200b", "empty"),
        ("💃", "emoji alone"),
        ("❤️", "emoji alone"),
        ("1️⃣", "emoji alone"),
        ("\u0301abc", "accent that stands on no letter"),
        ("2024", "number alone"),
        ("٢٠٢٤", "number alone"),
        ("!?", 'holds a "!"'),
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
    assert hashtag_key("STRASSE") == hashtag_key("strasse") == "strasse"
    assert hashtag_key("FUẞBALL") == hashtag_key("fußball") == "fußball" != hashtag_key("fussball")
    assert hashtag_key("CAFE\u0301") == hashtag_key("caf\u00e9")
    assert hashtag_key("ΣΊΣΥΦΟΣ") == hashtag_key("σίσυφος") == hashtag_key("σίσυφοσ")
    assert hashtag_key("İSTANBUL") == hashtag_key("İstanbul") == hashtag_key("I\u0307stanbul") == "i\u0307stanbul"


@given(st.text(max_size=20))
@example("ᾳ\u0301")
@example("\u0345\u0301")
@example("İ")
@example("J\u030c")
@example("ΑΣ\u0301")
def test_keys_do_not_tell_case_or_composition_apart(tag: str) -> None:
    key = hashtag_key(tag)
    assert hashtag_key(key) == key
    assert unicodedata.is_normalized("NFC", key)
    for form in ("NFC", "NFD"):
        assert hashtag_key(unicodedata.normalize(form, tag)) == key
