"""Post identity: every form of every platform's URLs, and nothing that only looks like one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import NotAPostUrl
from blocks.posts.identity import (
    item_key,
    parse_post_url,
    platform_of,
    private_url,
)
from blocks.posts.platforms.instagram import id_to_shortcode, shortcode_to_id
from blocks.posts.platforms.tiktok import other_form
from blocks.posts.record import PostRef
from tests.cases import each_case

CODE, PK = "DQk1lnGlaz3", "3757363670205967607"
TOKEN = "BfS3I2PpqsNkxElV9DXj61vzo5x0"
NUMBER = "7434361641896103211"
VIDEO = "k1lnV1deo_0"

letters64 = st.sampled_from(string.ascii_letters + string.digits + "-_")
numbers = st.integers(min_value=1, max_value=2**63 - 1).map(str)
video_ids = st.text(letters64, min_size=11, max_size=11)
handles = st.text(st.sampled_from(string.ascii_letters + string.digits + "._"), min_size=2, max_size=24)


@each_case(
    "url",
    [
        f"https://www.instagram.com/p/{CODE}/",
        f"https://www.instagram.com/p/{CODE}",
        f"https://www.instagram.com/reel/{CODE}/?igsh=abc==&utm_source=x#frag",
        f"https://www.instagram.com/reels/{CODE}/",
        f"https://www.instagram.com/tv/{CODE}/",
        f"https://www.instagram.com/harbour.kiln/reel/{CODE}/",
        f"https://www.instagram.com/harbour.kiln/p/{CODE}/",
        f"https://www.instagram.com/p/{CODE}/embed/captioned/",
        f"https://www.instagram.com//p//{CODE}//",
        f"http://m.instagram.com/p/{CODE}/",
        f"instagram.com/p/{CODE}",
        f"//www.instagram.com/p/{CODE}/",
        f"HTTPS://WWW.Instagram.COM/p/{CODE}/",
        f"https://instagr.am/p/{CODE}/",
        f"  https://www.instagram.com/p/{CODE}/\n",
        f"www.instagram.com/p/{CODE}/?u=https://elsewhere.example/x",
    ],
)
def test_instagram_forms(url: str) -> None:
    assert parse_post_url(url) == PostRef("instagram", PK, f"https://www.instagram.com/p/{CODE}/", CODE)


def test_the_documented_example_has_the_documented_id() -> None:
    assert shortcode_to_id("DLlGZiCOBQ0") == "3667365614373573684"
    assert id_to_shortcode("3667365614373573684") == "DLlGZiCOBQ0"
    assert id_to_shortcode("3667365614373573684_242598499") == "DLlGZiCOBQ0"
    assert id_to_shortcode(3667365614373573684) == "DLlGZiCOBQ0"


def test_private_codes_are_the_post_of_the_public_code() -> None:
    private = CODE + TOKEN
    assert len(private) == 39
    ref = parse_post_url(f"https://www.instagram.com/p/{private}/")
    assert ref == PostRef("instagram", PK, f"https://www.instagram.com/p/{CODE}/", CODE)
    # Posts from before 2016 have ten letters; the token is still the last 28.
    assert shortcode_to_id("_k1lnGlaz3" + TOKEN) == shortcode_to_id("_k1lnGlaz3")
    assert parse_post_url(f"https://www.instagram.com/p/B{TOKEN}/").shortcode == "B"


def test_the_url_that_opens_a_private_post() -> None:
    opens = f"https://www.instagram.com/p/{CODE}{TOKEN}/"
    assert private_url(opens) == opens
    assert private_url(f"instagram.com/harbour.kiln/reel/{CODE}{TOKEN}?igsh=x") == opens
    for other in (
        None,
        "",
        "no address",
        f"https://www.instagram.com/p/{CODE}/",
        f"https://www.instagram.com/p/{CODE}abc/",
        "https://www.instagram.com/share/reel/BAabc123/",
        f"https://www.tiktok.com/@a.b/video/{NUMBER}",
        f"https://x.example/p/{CODE}{TOKEN}/",
    ):
        assert private_url(other) is None


@each_case("code", [f"{CODE}_", f"{CODE}abc", (CODE + TOKEN)[:28], f"{CODE}x{TOKEN}", "A", "A" * 11])
def test_codes_of_other_lengths_and_of_no_id_name_no_post(code: str) -> None:
    with pytest.raises(ValueError, match="shortcode"):
        shortcode_to_id(code)
    with pytest.raises(NotAPostUrl, match="names no post"):
        parse_post_url(f"https://www.instagram.com/p/{code}/")


@each_case("code", ["", "a b", "ä" * 11, "x" * 40, "abc/def", "abc.def", CODE + "!" * 28])
def test_no_shortcodes(code: str) -> None:
    with pytest.raises(ValueError, match="shortcode"):
        shortcode_to_id(code)


@each_case("post_id", ["", "0", 0, -1, "abc", "1.5", "١٢٣", "9" * 21])
def test_no_ids(post_id: str | int) -> None:
    with pytest.raises(ValueError, match="whole number"):
        id_to_shortcode(post_id)


@each_case(
    ("url", "handle"),
    [
        (f"https://www.tiktok.com/@harbour.kiln/video/{NUMBER}", "harbour.kiln"),
        (f"https://www.tiktok.com/@harbour.kiln/video/{NUMBER}?is_from_webapp=1&sender_device=pc", "harbour.kiln"),
        (f"https://www.tiktok.com/@harbour.kiln/photo/{NUMBER}", "harbour.kiln"),
        (f"m.tiktok.com/@harbour.kiln/video/{NUMBER}/", "harbour.kiln"),
        (f"https://www.tiktok.com/%40harbour.kiln/video/{NUMBER}", "harbour.kiln"),
        (f"https://www.tiktok.com/player/v1/{NUMBER}", None),
        (f"https://www.tiktok.com/player/v1/{NUMBER}?autoplay=1", None),
        (f"https://www.tiktok.com/v/{NUMBER}", None),
        (f"https://m.tiktok.com/v/{NUMBER}.html?u_code=x", None),
        (f"https://www.tiktok.com/embed/{NUMBER}", None),
        (f"https://www.tiktok.com/embed/v2/{NUMBER}?lang=en", None),
        (f"https://www.tiktok.com/share/video/{NUMBER}", None),
        (f"https://www.tiktok.com/@/video/{NUMBER}", None),
        (f"https://www.tiktok.com/@_/video/{NUMBER}", None),
    ],
)
def test_tiktok_forms(url: str, handle: str | None) -> None:
    ref = parse_post_url(url)
    assert (ref.platform, ref.post_id, ref.handle, ref.shortcode) == ("tiktok", NUMBER, handle, None)
    player = f"https://www.tiktok.com/player/v1/{NUMBER}"
    assert ref.url == (player if handle is None else f"https://www.tiktok.com/@{handle}/video/{NUMBER}")


@each_case(
    "url", ["https://vm.tiktok.com/ZMabcdef1/", "https://vt.tiktok.com/ZSabc/", "https://www.tiktok.com/t/ZTabc/"]
)
def test_tiktok_short_links_say_what_to_do(url: str) -> None:
    with pytest.raises(NotAPostUrl, match=r"^a TikTok short link .* open it and give the address that it leads to"):
        parse_post_url(url)


def test_instagram_share_links_say_what_to_do() -> None:
    with pytest.raises(NotAPostUrl, match=r"^an Instagram share link .* open it and give the address"):
        parse_post_url("https://www.instagram.com/share/reel/BAabc123/")


@each_case(
    "url",
    [
        f"https://www.youtube.com/watch?v={VIDEO}",
        f"https://www.youtube.com/watch?list=PL1&v={VIDEO}&t=10s",
        f"https://m.youtube.com/watch/?v={VIDEO}",
        f"https://music.youtube.com/watch?v={VIDEO}&si=x",
        f"https://www.youtube.com/shorts/{VIDEO}?feature=share",
        f"https://youtu.be/{VIDEO}?t=3",
        f"youtu.be/{VIDEO}",
        f"https://www.youtube.com/embed/{VIDEO}",
        f"https://www.youtube-nocookie.com/embed/{VIDEO}?rel=0",
        f"https://www.youtube.com/live/{VIDEO}",
    ],
)
def test_youtube_forms(url: str) -> None:
    assert parse_post_url(url) == PostRef("youtube", VIDEO, f"https://www.youtube.com/watch?v={VIDEO}")


@each_case(
    "url",
    [
        f"https://x.com/HarbourKiln/status/{NUMBER}",
        f"https://x.com/HarbourKiln/status/{NUMBER}/photo/1?s=20",
        f"https://twitter.com/HarbourKiln/status/{NUMBER}",
        f"https://mobile.twitter.com/HarbourKiln/statuses/{NUMBER}",
        f"https://x.com/i/status/{NUMBER}",
        f"https://x.com/i/web/status/{NUMBER}",
        f"www.twitter.com/i/web/status/{NUMBER}#m",
    ],
)
def test_x_forms(url: str) -> None:
    assert parse_post_url(url) == PostRef("x", NUMBER, f"https://x.com/i/status/{NUMBER}")


@each_case(
    "url",
    [
        f"https://instagram.com.evil.example/p/{CODE}/",
        f"https://instagram.com@evil.example/p/{CODE}/",
        f"https://user:secret@www.instagram.com/p/{CODE}/",
        f"https://evilinstagram.com/p/{CODE}/",
        f"https://www.instagram.com.:443/p/{CODE}/",
        f"https://www.instagram.com:443/p/{CODE}/",
        f"https://www.instagram.com:evil/p/{CODE}/",
        f"https://www.instagram.com\\@evil.example/p/{CODE}/",
        f"https://www.ınstagram.com/p/{CODE}/",
        f"https://www.instаgram.com/p/{CODE}/",
        f"https://ｗｗｗ.instagram.com/p/{CODE}/",
        f"https://www.instagram.com。evil.example/p/{CODE}/",
        f"https://evil.example/https://www.instagram.com/p/{CODE}/",
        f"https://evil.example/?u=www.instagram.com/p/{CODE}/",
        f"https://[::1]/p/{CODE}/",
        f"https://[www.instagram.com/p/{CODE}/",
        f"ftp://www.instagram.com/p/{CODE}/",
        f"javascript://www.instagram.com/p/{CODE}/",
        f"https:///www.instagram.com/p/{CODE}/",
        f"https://notyoutu.be/{VIDEO}",
        f"https://x.com.evil.example/a/status/{NUMBER}",
        f"https://www.tiktok.com.evil.example/@a.b/video/{NUMBER}",
        f"https://www.instagram.com/p/{CODE}\x00/",
        f"https://www.instagram.com/p/\t{CODE}/",
        f"https://www.instagram.com/p/{CODE}/ https://evil.example",
        f"https://www.instagram.com/p/{CODE}/\u202e",
        f"https://www.instagram.com/p/{CODE}/?" + "a" * 3000,
        "https://www.instagram.com/",
        "https://www.instagram.com/harbour.kiln/",
        "https://www.instagram.com/p/",
        "https://www.instagram.com/p/a%20b/",
        "https://www.instagram.com/reels/audio/24313369781619226/",
        "https://www.instagram.com/explore/tags/keramik/",
        "https://www.instagram.com/stories/harbour.kiln/3567/",
        "https://www.tiktok.com/@harbour.kiln",
        "https://www.tiktok.com/@harbour.kiln/video/",
        "https://www.tiktok.com/@harbour.kiln/video/abc",
        "https://www.tiktok.com/@harbour.kiln/video/٧٤٣٤",
        "https://www.tiktok.com/tag/keramik",
        "https://www.youtube.com/watch",
        "https://www.youtube.com/watch?v=short",
        "https://www.youtube.com/watch?v=" + "a" * 12,
        "https://www.youtube.com/playlist?list=PL123456789",
        "https://www.youtube.com/embed/videoseries?list=PL1",
        "https://www.youtube.com/embed/live_stream?channel=UCaaaaaaaaaaaaaaaaaaaaaa",
        "https://www.youtube.com/embed/live_stream",
        "https://www.youtube.com/@HarbourKiln",
        "https://youtu.be/",
        "https://x.com/HarbourKiln",
        "https://x.com/HarbourKiln/status/",
        "https://x.com/HarbourKiln/status/abc",
        "https://t.co/abcdefghij",
        "https://www.facebook.com/reel/123",
        "hello",
        "",
        "   ",
    ],
)
def test_what_is_no_post_url_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(NotAPostUrl) as caught:
        parse_post_url(url)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 300
    assert "give" in said


@each_case("value", [None, 5, b"https://www.instagram.com/p/abc/", ["x"], {}, 1.5])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(NotAPostUrl, match="is text, not"):
        parse_post_url(value)  # type: ignore[arg-type]


@given(numbers)
def test_instagram_ids_and_shortcodes_are_two_names_of_one_thing(post_id: str) -> None:
    code = id_to_shortcode(post_id)
    assert shortcode_to_id(code) == post_id
    for form in ("p", "reel", "reels", "tv", "some.user/reel", "some.user/p"):
        ref = parse_post_url(f"https://www.instagram.com/{form}/{code}/?x=1")
        assert (ref.post_id, ref.shortcode) == (post_id, code)
        assert parse_post_url(ref.url) == ref
    assert shortcode_to_id(code + TOKEN) == post_id


@given(numbers, handles)
def test_tiktok_forms_round_trip(post_id: str, handle: str) -> None:
    ref = parse_post_url(f"https://www.tiktok.com/@{handle}/video/{post_id}")
    assert (ref.post_id, ref.handle) == (post_id, handle)
    assert parse_post_url(ref.url) == ref
    other = other_form(ref)
    assert parse_post_url(other).post_id == post_id
    player = parse_post_url(f"https://www.tiktok.com/player/v1/{post_id}")
    assert parse_post_url(player.url) == player
    assert item_key(player) == item_key(ref) == f"tiktok:{post_id}"


@given(video_ids, numbers)
def test_youtube_and_x_forms_round_trip(video_id: str, post_id: str) -> None:
    for form in ("www.youtube.com/watch?v=", "youtu.be/", "youtube.com/shorts/", "www.youtube.com/live/"):
        ref = parse_post_url(form + video_id)
        assert ref.post_id == video_id
        assert parse_post_url(ref.url) == ref
    for form in ("x.com/someone/status/", "twitter.com/i/web/status/"):
        ref = parse_post_url(form + post_id)
        assert ref.post_id == post_id
        assert parse_post_url(ref.url) == ref


hosts = st.sampled_from(["instagram.com", "www.tiktok.com", "youtube.com", "youtu.be", "x.com", "twitter.com"])
paths = st.lists(
    st.one_of(
        st.sampled_from(["p", "reel", "@a.b", "video", "player", "v1", "watch", "i", "status", "web"]), st.text()
    ),
    max_size=5,
).map("/".join)


@given(
    st.one_of(
        st.text(),
        st.builds(lambda host, path, query: f"https://{host}/{path}?{query}", hosts, paths, st.text()),
        st.builds(lambda text: f"https://{text}", st.text(st.sampled_from("[]:@/?#%.&=abc\x00\n\ud800ß"))),
    )
)
def test_no_text_raises_anything_but_the_one_error(text: str) -> None:
    said = ""
    try:
        ref = parse_post_url(text)
    except NotAPostUrl as error:
        said = str(error)
    else:
        again = parse_post_url(ref.url)
        assert item_key(again) == item_key(ref)
        assert again.url == ref.url
    assert said.isprintable()
    assert platform_of(text) in (None, "instagram", "tiktok", "youtube", "x")


def test_platform_of_knows_hosts_only() -> None:
    assert platform_of("https://www.instagram.com/whatever") == "instagram"
    assert platform_of("https://vm.tiktok.com/abc") == "tiktok"
    assert platform_of("https://storage.example/p/abc") is None
    assert platform_of("") is None


def test_the_other_form() -> None:
    with_handle = PostRef("tiktok", NUMBER, f"https://www.tiktok.com/@a.b/video/{NUMBER}", handle="a.b")
    assert other_form(with_handle) == f"https://www.tiktok.com/player/v1/{NUMBER}"
    player = PostRef("tiktok", NUMBER, f"https://www.tiktok.com/player/v1/{NUMBER}", handle="a.b")
    assert other_form(player) == f"https://www.tiktok.com/@a.b/video/{NUMBER}"
    nobody = other_form(parse_post_url(player.url))
    assert nobody == f"https://www.tiktok.com/@_/video/{NUMBER}"
    assert parse_post_url(nobody) == parse_post_url(player.url), "the placeholder is nobody's handle"
