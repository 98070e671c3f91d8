"""Published forms of posts' addresses beside the usual ones, and what only looks like one of them."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from blocks.errors import NotAPostUrl
from blocks.posts.identity import parse_creator_url, parse_post_url, private_url, url_to_ask
from tests.cases import each_case

CODE = "DQk1lnGlaz3"
NUMBER = "7434361641896103211"
VIDEO = "k1lnV1deo_0"
TOKEN = "BfS3I2PpqsNkxElV9DXj61vzo5x0"

IG = f"https://www.instagram.com/p/{CODE}/"
TT = f"https://www.tiktok.com/@harbour.kiln/video/{NUMBER}"
YT = f"https://www.youtube.com/watch?v={VIDEO}"
X = f"https://x.com/HarbourKiln/status/{NUMBER}"
ONION = "twitter3e4tixl4xyajtrzo62zg5vztmjuricljdp2c5kshju4avyoid.onion"


def q(url: str) -> str:
    return quote(url, safe="")


INSTAGRAM = [
    f"https://l.instagram.com/?u={q(IG)}&e=AT1",
    f"https://l.instagram.com/?e=AT1&u=https://www.instagram.com/p/{CODE}/",
    f"https://l.instagram.com/?u={q(q(IG))}",
    f"https://www.instagram.com/accounts/login/?next=/p/{CODE}/",
    f"https://www.instagram.com/accounts/login/?next={q(f'/reel/{CODE}/?igsh=x')}&source=desktop_nav",
    f"https://www.instagram.com/accounts/login/?next={q(IG)}",
    f"https://www.instagram.com/accounts/signup/email/?next=/harbour.kiln/p/{CODE}/",
    f"https://www.instagram.com/consent/?flow=ig_consent&next={q(IG)}",
    f"https://www.instagram.com/challenge/?next=/p/{CODE}/",
    f"https://www.instagram.com/linkshim/?u={q(IG)}",
    f"https://api.instagram.com/oembed/?url={q(IG)}",
    f"https://www.instagram.com/reels/videos/{CODE}/",
    f"https://www.instagram.com/p/{CODE}/media/?size=l",
    f"https://www.instagram.com/p/{CODE}/c/17900000000000000/",
    f"https://www.ddinstagram.com/reel/{CODE}/",
    f"https://d.ddinstagram.com/p/{CODE}",
    f"https://kkinstagram.com/harbour.kiln/reel/{CODE}/",
    f"https://www.instagram.com/p/{CODE}&igsh=abc==",
    f"https://www.instagram.com/reel/{CODE}%3Figsh%3Dabc",
    f"https://www.instagram.com/p/{CODE}?utm_source=ig_embed&amp;utm_campaign=loading",
    f"https:\\/\\/www.instagram.com\\/p\\/{CODE}\\/",
    q(IG),
    f"<{IG}>",
    f"({IG})",
    f"[{IG}],",
    f'"{IG}"',
    f"'https://www.instagram.com/p/{CODE}'",
    f"“https://www.instagram.com/p/{CODE}”",
    f"«https://www.instagram.com/p/{CODE}»",
    f"「https://www.instagram.com/p/{CODE}」。",
    f"https://www.instagram.com/p/{CODE}).",
    f"https://www.instagram.com/p/{CODE}!!!",
    f"https://www.instagram.com/p/{CODE}&quot;&gt;",
    f'https://www.instagram.com/p/{CODE}" target="_blank'.replace(" ", ""),
    f"https://www.instagram.com/p/{CODE}</a>",
    f"https://www.instagram.com/p/{CODE}%22",
    f"https://www.instagram.com/p/{CODE}%20",
    f"\ufeffhttps://www.instagram.com/p/{CODE}\u200b",
    f"**{IG}**",
    f"`{IG}`",
]
TIKTOK = [
    f"https://www.tiktokv.com/share/video/{NUMBER}/",
    f"https://www.tiktokv.us/share/video/{NUMBER}/",
    f"https://m.tiktok.com/i18n/share/video/{NUMBER}/",
    f"https://t.tiktok.com/i18n/share/video/{NUMBER}/?share_app=musically",
    f"https://www.tiktok.com/share/item/{NUMBER}",
    f"https://www.tiktok.com/node/share/video/@harbour.kiln/{NUMBER}",
    f"https://www.tiktok.com/login?redirect_url={q(TT)}&lang=en",
    f"https://www.tiktok.com/login/phone-or-email?redirect_url={q(TT)}",
    f"https://www.tiktok.com/link/v2?aid=1988&scene=bio_url&target={q(TT)}",
    f"https://www.tiktok.com/oembed?url={TT}",
    f"https://www.tiktok.com/foryou?is_copy_url=1&item_id={NUMBER}",
    f"https://www.tiktok.com/foryou#/@harbour.kiln/video/{NUMBER}",
    f"https://www.tiktok.com/trending?shareId={NUMBER}",
    f"https://vxtiktok.com/@harbour.kiln/video/{NUMBER}",
    f"https://www.tnktok.com/@harbour.kiln/photo/{NUMBER}",
    f"{TT}&lang=en",
    f"{TT}?is_from_webapp=1&amp;sender_device=pc",
    f"{TT}.",
    f"{TT}),",
    f"<{TT}>",
]
YOUTUBE = [
    f"https://youtu.be/{VIDEO}&t=3",
    f"https://youtu.be/{VIDEO}%3Ft=3",
    f"https://youtu.be/{VIDEO}).",
    f"https://youtu.be/watch?v={VIDEO}",
    f"https://youtu.be/embed/{VIDEO}",
    f"https://www.youtube.com/watch?feature=x&amp;v={VIDEO}",
    f"https://www.youtube.com/watch?feature=x&amp;amp;v={VIDEO}&amp;t=3",
    f"https://www.youtube.com/watch?feature=x&#38;v={VIDEO}",
    f"https://www.youtube.com/watch?v={VIDEO}?t=3",
    f"https://www.youtube.com/watch?v={VIDEO}%26t%3D3",
    f"https://www.youtube.com/watch?v={VIDEO}/",
    f"https://www.youtube.com/watch?v={VIDEO}#t=3",
    f"https://www.youtube.com/watch?list=PL1;v={VIDEO};t=3",
    f"https://www.youtube.com/watch&v={VIDEO}&t=3",
    f"https://www.youtube.com/watch/?v={VIDEO}",
    f"https://www.youtube.com/watch?v={VIDEO}&v=k1lnV1deo_1",
    f"https://www.youtube.com/watch?next=/watch?v=k1lnV1deo_1&v={VIDEO}",
    f"https://www.youtube.com/user/HarbourKiln#p/a/u/2/{VIDEO}?rel=0",
    f"http://y2u.be/{VIDEO}",
    f"https://www.youtube.com/watch/{VIDEO}?app=desktop",
    f"https://www.youtube.com/watch?vi={VIDEO}",
    f"https://www.youtube.com/?v={VIDEO}",
    f"https://www.youtube.com/watch.php?v={VIDEO}",
    f"https://www.youtube.com/watch_popup?v={VIDEO}",
    f"https://www.youtube.com/movie?v={VIDEO}",
    f"https://www.youtube.com/ytscreeningroom?v={VIDEO}",
    f"https://www.youtube.com/watch#!v={VIDEO}",
    f"https://m.youtube.com/#/watch?v={VIDEO}",
    f"https://m.youtube.com/index?desktop_uri=%2F#/watch?v={VIDEO}",
    f"https://www.youtube.com/user/HarbourKiln#p/u/1/{VIDEO}",
    f"https://www.youtube.com/harbourkiln#p/c/54B8C800269D7C1B/0/{VIDEO}",
    f"https://www.youtube.com/v/{VIDEO}&hl=en&fs=1",
    f"https://www.youtube.com/vi/{VIDEO}",
    f"https://www.youtube.com/e/{VIDEO}",
    f"https://www.youtube.com/attribution_link?a=x&u=%2Fwatch%3Fv%3D{VIDEO}%26feature%3Dshare",
    f"https://www.youtube.com/oembed?url={YT}&format=json",
    f"https://www.youtube.com/redirect?q={q(YT)}",
    f"https://www.youtube.com/signin?next=%2Fwatch%3Fv%3D{VIDEO}&hl=en",
    f"https://www.youtube.com/verify_age?next_url=/watch%3Fv%3D{VIDEO}",
    f"https://www.youtube.com/supported_browsers?next_url={q(YT)}",
    f"https://consent.youtube.com/m?continue={q(f'https://www.youtube.com/live/{VIDEO}?cbrd=1')}&gl=NL&m=0",
    f"https://consent.google.com/ml?continue={q(YT)}&gl=DE",
    "https://accounts.google.com/ServiceLogin?service=youtube&continue="
    + q(f"https://www.youtube.com/signin?action_handle_signin=true&next={q(f'/watch?v={VIDEO}')}"),
    f"https://music.youtube.com/watch?v={VIDEO}&list=RD1",
    f"https://gaming.youtube.com/watch?v={VIDEO}",
    f"https://de.youtube.com/watch?v={VIDEO}",
    f"https://studio.youtube.com/video/{VIDEO}/edit",
    f"https://www.youtubekids.com/watch?v={VIDEO}",
    f"https://www.youtube-nocookie.com/embed/{VIDEO}?rel=0",
    f"https://youtube.googleapis.com/v/{VIDEO}",
    f"https://yewtu.be/watch?v={VIDEO}",
]
TWITTER = [
    f"https://twitter.com/#!/fern/status/{NUMBER}",
    f"https://twitter.com/#!/fern/statuses/{NUMBER}",
    f"https://mobile.twitter.com/#!/fern/status/{NUMBER}",
    f"https://twitter.com/statuses/{NUMBER}",
    f"https://fxtwitter.com/fern/status/{NUMBER}",
    f"https://www.fxtwitter.com/fern/status/{NUMBER}/en",
    f"https://d.fxtwitter.com/fern/status/{NUMBER}.jpg".removesuffix(".jpg"),
    f"https://vxtwitter.com/fern/status/{NUMBER}",
    f"https://fixupx.com/fern/status/{NUMBER}",
    f"https://fxtwitter.com/fern/status/{NUMBER}.mp4",
    f"https://d.fxtwitter.com/fern/status/{NUMBER}.jpg",
    f"https://cdn.syndication.twimg.com/tweet-result?id={NUMBER}&lang=en",
    f"https://fixvx.com/i/status/{NUMBER}",
    f"https://nitter.net/fern/status/{NUMBER}#m",
    f"https://xcancel.com/fern/status/{NUMBER}",
    f"https://mobile.x.com/fern/status/{NUMBER}",
    f"https://{ONION}/fern/status/{NUMBER}",
    f"https://x.com/fern/status/{NUMBER}/video/1",
    f"https://x.com/fern/status/{NUMBER}&s=20",
    f"https://twitter.com/i/videos/tweet/{NUMBER}",
    f"https://twitter.com/i/cards/tfw/v1/{NUMBER}",
    f"https://twitter.com/intent/like?tweet_id={NUMBER}&related=a",
    f"https://x.com/intent/retweet?tweet_id={NUMBER}",
    f"https://platform.twitter.com/embed/Tweet.html?dnt=false&id={NUMBER}&lang=en",
    f"https://publish.twitter.com/?query={q(X)}&widget=Tweet",
    f"https://publish.x.com/oembed?url={q(X)}",
    f"https://twitter.com/login?redirect_after_login=%2Ffern%2Fstatus%2F{NUMBER}",
    f"https://x.com/i/flow/login?redirect_after_login=%2Ffern%2Fstatus%2F{NUMBER}%3Fs%3D20",
    f"https://twitter.com/i/redirect?url={q(X)}&t=1",
    f"https://twitter.com/share?text=look&url={q(X)}",
    f"{X}?s=20&amp;t=abc",
    f"{X}:",
    f"({X})",
]


@each_case("url", INSTAGRAM)
def test_instagram(url: str) -> None:
    ref = parse_post_url(url)
    assert (ref.platform, ref.shortcode, ref.url) == ("instagram", CODE, IG)


@each_case("url", TIKTOK)
def test_tiktok(url: str) -> None:
    ref = parse_post_url(url)
    assert (ref.platform, ref.post_id) == ("tiktok", NUMBER)
    assert ref.handle in (None, "harbour.kiln")


@each_case("url", YOUTUBE)
def test_youtube(url: str) -> None:
    ref = parse_post_url(url)
    assert (ref.platform, ref.post_id, ref.url) == ("youtube", VIDEO, YT)


@each_case("url", TWITTER)
def test_x(url: str) -> None:
    ref = parse_post_url(url)
    assert (ref.platform, ref.post_id) == ("x", NUMBER)


@each_case(
    "url",
    [
        # Where a page leads to another host, or to two posts, it names none.
        f"https://l.instagram.com/?u=https%3A%2F%2Fevil.example%2Fp%2F{CODE}%2F",
        f"https://l.instagram.com/?u={q(TT)}",
        f"https://l.instagram.com/?u={q(IG)}&url={q('https://www.instagram.com/p/DQk1lnGlaz4/')}",
        f"https://l.instagram.com/p/{CODE}/",
        f"https://l.instagram.com.evil.example/?u={q(IG)}",
        f"https://l.instagram.com@evil.example/?u={q(IG)}",
        f"https://www.instagram.com/accounts/login/?next=//evil.example/p/{CODE}/",
        f"https://www.instagram.com/accounts/login/?next=/%5Cevil.example/p/{CODE}/",
        f"https://www.instagram.com/accounts/login/?next=/%09/evil.example/p/{CODE}/",
        f"https://www.instagram.com/accounts/login/?next=https%3A%2F%2Fwww.instagram.com%40evil.example%2Fp%2F{CODE}",
        f"https://www.instagram.com/accounts/login/?next=https%3A%2F%2Fwww.instagram.com.%2Fp%2F{CODE}",
        f"https://www.instagram.com/accounts/login/?next=https%3A%2F%2Fwww.instagram.com%3A443%2Fp%2F{CODE}",
        f"https://www.instagram.com/accounts/login/?next=javascript%3A%2F%2Fwww.instagram.com%2Fp%2F{CODE}",
        f"https://www.instagram.com/accounts/login/?next={q(TT)}",
        f"https://www.instagram.com/accounts/login/#/p/{CODE}/",
        f"https://www.instagram.com/harbour.kiln/?next=/p/{CODE}/",
        f"https://l.facebook.com/l.php?u={q(IG)}",
        f"https://www.google.com/url?q={q(YT)}",
        f"https://accounts.google.com/ServiceLogin?continue={q('https://mail.example/watch?v=' + VIDEO)}",
        f"https://accounts.google.com/watch?v={VIDEO}",
        f"https://consent.youtube.com/m?continue={q('https://www.youtube.com.evil.example/watch?v=' + VIDEO)}",
        f"https://www.youtube.com/redirect?q={q('https://evil.example/watch?v=' + VIDEO)}",
        f"https://www.tiktok.com/link/v2?target={q('https://www.tiktok.com.evil.example/@a.b/video/' + NUMBER)}",
        f"https://twitter.com/i/redirect?url={q('https://evil.example/fern/status/' + NUMBER)}",
        # Four pages in each other.
        "https://l.instagram.com/?u="
        + q(
            "https://l.instagram.com/?u=" + q("https://l.instagram.com/?u=" + q("https://l.instagram.com/?u=" + q(IG)))
        ),
        # Two posts, or one with something else before or behind it.
        f"https://www.youtube.com/watch?next=/watch?v=k1lnV1deo_1;v={VIDEO}",
        f"https://www.youtube.com/watch_videos?video_ids={VIDEO},k1lnV1deo_1",
        f"{IG}https://www.instagram.com/p/DQk1lnGlaz4/",
        f"https://www.instagram.com/p/{CODE},https://www.instagram.com/p/DQk1lnGlaz4",
        f"https://x.com/HarbourKiln#/someone/status/{NUMBER}",
        # What was cut off names another post.
        "https://www.instagram.com/p/DQk1ln…",
        "https://www.instagram.com/p/DQk1ln...",
        "https://www.instagram.com/p/DQk1ln&hellip;",
        "https://www.instagram.com/p/DQk1ln%E2%80%A6",
        "https://www.instagram.com/p/DQk1ln…).",
        "https://www.instagram.com/p/DQk1ln…”",
        "https://www.instagram.com/p/DQk1ln[...]",
        "https://x.com/HarbourKiln/status/74343616…",
        "https://www.tiktok.com/@harbour.kiln/video/74343616...",
        # Pages that are no post's.
        "https://www.instagram.com/reels/videos/",
        "https://www.instagram.com/reels/explore/",
        "https://www.instagram.com/reels/templates/123/",
        "https://youtu.be/live_stream",
        "https://youtu.be/watch_popup",
        "https://www.youtube.com/clip/UgkxAbCdEfGhIjKlMnOp",
        "https://www.youtube.com/post/UgkxAbCdEfGhIjKlMnOp",
        "https://www.youtube.com/results?search_query=kiln",
        "https://www.tiktok.com/foryou",
        "https://www.tiktok.com/@harbour.kiln/live",
        f"https://www.tiktok.com/music/kiln-{NUMBER}",
        f"https://x.com/i/events/{NUMBER}",
        f"https://x.com/i/spaces/{NUMBER}",
        f"https://x.com/i/lists/{NUMBER}",
        f"https://twitter.com/intent/tweet?in_reply_to={NUMBER}",
        # Look-alikes, also of the other hosts.
        f"https://fxtwitter.com.evil.example/fern/status/{NUMBER}",
        f"https://evilfxtwitter.com/fern/status/{NUMBER}",
        f"https://fxtwitter.co/fern/status/{NUMBER}",
        f"https://ddinstagram.com:8443/p/{CODE}/",
        f"https://a@ddinstagram.com/p/{CODE}/",
        f"https://ddinstagram.com./p/{CODE}/",
        f"https://xn--nstagram-bmb.com/p/{CODE}/",
        f"https://www.instagram.com&#47;&#64;evil.example/p/{CODE}/".replace("&#47;", ""),
        f"https:\\/\\/www.instagram.com\\@evil.example\\/p\\/{CODE}\\/",
        f"https:\\/\\/www.instagram.com/p/{CODE}/",
        f"https%3A%2F%2Fwww.instagram.com%40evil.example%2Fp%2F{CODE}%2F",
        f"https://www.instagram.com%2F@evil.example/p/{CODE}/",
        f"https://nitter.evil.example/fern/status/{NUMBER}",
        f"https://web.archive.org/web/2020/{X}",
        "&quot;&quot;",
        "<>",
        "...",
    ],
)
def test_what_is_refused(url: str) -> None:
    with pytest.raises(NotAPostUrl) as caught:
        parse_post_url(url)
    assert str(caught.value).isprintable()
    assert "give" in str(caught.value)


def test_a_short_link_behind_a_page_names_no_post() -> None:
    with pytest.raises(NotAPostUrl, match="names no post"):
        parse_post_url(f"https://l.instagram.com/?u={q('https://www.instagram.com/share/reel/BAabc123/')}")


def test_a_private_post_behind_a_page_keeps_its_token() -> None:
    opens = f"https://www.instagram.com/p/{CODE}{TOKEN}/"
    assert private_url(f"https://l.instagram.com/?u={q(opens)}") == opens
    assert private_url(f"({opens}).") == opens


@each_case(
    ("given", "asked"),
    [
        (X, X),
        (X.removeprefix("https://"), X),
        (f" {X}?s=20 ", f"{X}?s=20"),
        (f"http://twitter.com/fern/status/{NUMBER}", f"http://twitter.com/fern/status/{NUMBER}"),
        (f"https://fxtwitter.com/fern/status/{NUMBER}", f"https://x.com/fern/status/{NUMBER}"),
        (f"https://twitter.com/#!/fern/status/{NUMBER}", f"https://x.com/fern/status/{NUMBER}"),
        (f"https://x.com/i/flow/login?redirect_after_login=%2Ffern%2Fstatus%2F{NUMBER}", f"https://x.com/fern/status/{NUMBER}"),
        (f"({X}).", X),
        (f"https://twitter.com/intent/like?tweet_id={NUMBER}", f"https://x.com/i/status/{NUMBER}"),
        (None, f"https://x.com/i/status/{NUMBER}"),
        ("https://x.com/fern/status/1", f"https://x.com/i/status/{NUMBER}"),
        (IG, f"https://x.com/i/status/{NUMBER}"),
    ],
)  # fmt: skip
def test_what_the_service_is_asked_is_a_plain_address(given: str | None, asked: str) -> None:
    assert url_to_ask(parse_post_url(X), given) == asked


def test_other_sites_show_no_creators() -> None:
    assert parse_creator_url("(https://www.tiktok.com/@harbour.kiln).")[1] == "harbour.kiln"
    with pytest.raises(Exception, match="no creator's profile"):
        parse_creator_url("https://ddinstagram.com/harbour.kiln")
