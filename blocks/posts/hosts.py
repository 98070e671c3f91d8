"""Where posts are shown: the hosts of the platforms, and the pages of theirs that lead somewhere."""

from __future__ import annotations

from blocks.posts.record import Platform

HOSTS: dict[str, Platform] = {
    **dict.fromkeys(
        ("instagram.com", "www.instagram.com", "m.instagram.com", "instagr.am", "www.instagr.am"), "instagram"
    ),
    **dict.fromkeys(("tiktok.com", "www.tiktok.com", "m.tiktok.com", "vm.tiktok.com", "vt.tiktok.com"), "tiktok"),
    **dict.fromkeys(("youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be"), "youtube"),
    **dict.fromkeys(("youtube-nocookie.com", "www.youtube-nocookie.com", "www.youtu.be"), "youtube"),
    **dict.fromkeys(("x.com", "www.x.com", "mobile.x.com", "m.x.com"), "x"),
    **dict.fromkeys(("twitter.com", "www.twitter.com", "mobile.twitter.com", "m.twitter.com"), "x"),
}
"""Where people look at a platform."""

_ONION = "twitter3e4tixl4xyajtrzo62zg5vztmjuricljdp2c5kshju4avyoid.onion"


def _with_www(*hosts: str) -> list[str]:
    return [prefix + host for host in hosts for prefix in ("", "www.")]


OTHER_HOSTS: dict[str, Platform] = {
    **dict.fromkeys(_with_www("ddinstagram.com", "kkinstagram.com", "vxinstagram.com", "instagramez.com"), "instagram"),
    **dict.fromkeys(("d.ddinstagram.com", "g.ddinstagram.com", "d.vxinstagram.com", "api.instagram.com"), "instagram"),
    **dict.fromkeys(_with_www("tiktokv.com", "tiktokv.us", "vxtiktok.com", "tnktok.com", "tfxktok.com"), "tiktok"),
    **dict.fromkeys(("m.tiktokv.com", "t.tiktok.com", "lite.tiktok.com", "d.tnktok.com", "a.tnktok.com"), "tiktok"),
    **dict.fromkeys(
        _with_www(
            "youtubekids.com", "youtubeeducation.com", "y2u.be", "youtube.googleapis.com", "yewtu.be", "piped.video"
        ),
        "youtube",
    ),
    **dict.fromkeys(("gaming.youtube.com", "studio.youtube.com"), "youtube"),
    **dict.fromkeys((f"{land}.youtube.com" for land in ("de", "es", "fr", "it", "jp", "nl", "pl", "uk")), "youtube"),
    **dict.fromkeys(_with_www("fxtwitter.com", "vxtwitter.com", "fixupx.com", "fixvx.com", "twittpr.com"), "x"),
    **dict.fromkeys(("d.fxtwitter.com", "d.vxtwitter.com", "d.fixupx.com", "d.fixvx.com", "c.vxtwitter.com"), "x"),
    **dict.fromkeys(("api.fxtwitter.com", "api.vxtwitter.com", "g.fxtwitter.com", "g.fixupx.com"), "x"),
    **dict.fromkeys(("nitter.net", "nitter.poast.org", "nitter.tiekoetter.com", "nitter.space", "xcancel.com"), "x"),
    **dict.fromkeys(
        ("pro.x.com", "pro.twitter.com", "platform.x.com", "platform.twitter.com", "cdn.syndication.twimg.com"), "x"
    ),
    **dict.fromkeys((*_with_www(_ONION), f"mobile.{_ONION}"), "x"),
}
"""Old hosts, those of apps, embeds and exports, and sites that show a platform's posts under the platform's paths."""

REDIRECTS: dict[str, Platform] = {
    "l.instagram.com": "instagram",
    "consent.youtube.com": "youtube",
    "consent.google.com": "youtube",
    "accounts.youtube.com": "youtube",
    "accounts.google.com": "youtube",
    "publish.twitter.com": "x",
    "publish.x.com": "x",
}
"""Hosts whose pages only lead somewhere: they count where they lead back to the platform."""

REDIRECTING: dict[Platform, frozenset[str]] = {
    "instagram": frozenset(
        {
            "accounts",
            "age_check",
            "auth_platform",
            "challenge",
            "consent",
            "flx",
            "l.php",
            "linkshim",
            "oauth",
            "oembed",
        }
    ),
    "tiktok": frozenset({"consent", "link", "login", "logout", "oembed", "redirect", "share", "signup"}),
    "youtube": frozenset(
        {"account", "attribution_link", "consent", "das_captcha", "login", "logout", "oembed", "redirect", "signin"}
        | {"supported_browsers", "verify_age", "verify_controversy"}
    ),
    "x": frozenset({"account", "i/flow", "i/redirect", "intent", "login", "logout", "oauth", "share", "signup"}),
}
"""How the paths begin under which a platform asks for a login or a consent, or leads somewhere else."""

SHELLS = ("", "home", "index", "index.html", "foryou", "trending", "explore")
"""Pages of old apps whose own address stood behind the `#` (`/#!/user/status/ID`)."""

LEADS_TO = frozenset(
    {"continue", "next", "next_url", "q", "query", "redirect", "redirect_after_login", "redirect_to", "redirect_uri"}
    | {"redirect_url", "return_to", "target", "u", "url"}
)
"""Parameters of such pages that hold where they lead."""

YOUTUBE_SHORT = _with_www("youtu.be", "y2u.be")
"""Hosts whose paths are the id alone."""
