"""Instagram's payload: the object that holds `xdt_shortcode_media`, with about the keys of a full one."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.catalog import Numbers, Post, numbers_of
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.people import Person, SeededRandom, handle_from, person, place, remark, song, words

VARIANTS = 12
_IMAGE, _CAROUSEL, _HIDDEN, _SILENT, _NO_VIEWS, _PAID, _CLOSED, _OLD, _DUET, _LOUD, _MUTE = range(1, 12)
_IMAGES = (_IMAGE, _CLOSED)
_CAROUSELS = (_CAROUSEL, _DUET)

Json = dict[str, Any]


def _cdn(post: Post, name: str) -> str:
    return f"https://scontent.cdninstagram.example/v/{post.code}/{name}"


def _user(who: Person) -> Json:
    return {
        "id": who.person_id,
        "username": who.handle,
        "is_verified": who.verified,
        "profile_pic_url": f"https://scontent.cdninstagram.example/u/{who.person_id}.jpg",
        "full_name": who.name,
    }


def _owner(who: Person) -> Json:
    return {
        **_user(who),
        "blocked_by_viewer": False,
        "restricted_by_viewer": None,
        "followed_by_viewer": False,
        "has_blocked_viewer": False,
        "is_embeds_disabled": False,
        "is_private": False,
        "is_unpublished": False,
        "requested_by_viewer": False,
        "pass_tiering_recommendation": True,
        "edge_owner_to_timeline_media": {"count": 3 + who.followers % 900},
        "edge_followed_by": {"count": who.followers},
    }


def _comments(post: Post, random: SeededRandom, numbers: Numbers) -> list[Json]:
    edges = []
    for place_ in range(min(numbers.comments, 3)):
        who = person(handle_from(random, 60 + place_))
        node = {
            "id": str(17_900_000_000_000_000 + random.bits(70 + place_) % 10**14),
            "text": remark(random, 80 + place_),
            # An int here, but text in the caption: the platform's own inconsistency.
            "created_at": numbers.posted_at + 30 * (place_ + 1),
            "did_report_as_spam": False,
            "owner": {"id": who.person_id, "username": who.handle, "is_verified": who.verified},
            "viewer_has_liked": False,
            "edge_liked_by": {"count": random.between(90 + place_, 0, 40)},
            "is_restricted_pending": False,
            "edge_threaded_comments": {"count": 0, "edges": []},
        }
        edges.append({"node": node})
    return edges


def _children(post: Post, random: SeededRandom) -> list[Json]:
    edges = []
    for place_ in range(random.between(100, 2, 6)):
        number = int(post.post_id) + place_ + 1
        is_video = place_ == 1
        node: Json = {
            "__typename": "XDTGraphVideo" if is_video else "XDTGraphImage",
            "id": str(number),
            "shortcode": f"{post.code}",
            "dimensions": {"height": 1350, "width": 1080},
            "display_url": _cdn(post, f"child{place_}.jpg"),
            "is_video": is_video,
        }
        if is_video:
            node |= {"video_url": _cdn(post, "child.mp4"), "video_view_count": 0, "has_audio": True}
        edges.append({"node": node})
    return edges


def media_of(post: Post, calendar: VirtualClock) -> Json:
    """The post's `xdt_shortcode_media`."""
    random, numbers, variant = post.random, numbers_of(post, calendar), post.variant % VARIANTS
    who = person(post.handle)
    is_video = variant not in _IMAGES + _CAROUSELS
    kind = "XDTGraphVideo" if is_video else "XDTGraphSidecar" if variant in _CAROUSELS else "XDTGraphImage"
    height, width = (1136, 640) if is_video else (957, 1080)
    caption, _, _ = words(random, post.tag)
    caption_edges = [] if variant == _SILENT else [_caption(post, caption, numbers)]
    comment_edges = [] if variant == _CLOSED else _comments(post, random, numbers)
    coauthors = [person(handle_from(random, 110))] if variant in (_PAID, _DUET) else []
    sponsors = [person(handle_from(random, 111))] if variant == _PAID else []
    tagged = [person(handle_from(random, slot)) for slot in (112, 113)] if variant in (_IMAGE, _PAID) else []
    media: Json = {
        "__typename": kind,
        "__isXDTGraphMediaInterface": kind,
        "id": post.post_id,
        "shortcode": post.code,
        "thumbnail_src": _cdn(post, "thumb.jpg"),
        "dimensions": {"height": height, "width": width},
        "gating_info": None,
        "fact_check_overall_rating": None,
        "fact_check_information": None,
        "sensitivity_friction_info": None,
        "sharing_friction_info": {"should_have_sharing_friction": False, "bloks_app_url": None},
        "media_overlay_info": None,
        "media_preview": None,
        "display_url": _cdn(post, "display.jpg"),
        "display_resources": [{"src": _cdn(post, "640.jpg"), "config_width": 640, "config_height": 1136}],
        "accessibility_caption": None,
        "is_video": is_video,
        "tracking_token": "invented",
        "upcoming_event": None,
        "edge_media_to_tagged_user": {
            "edges": [{"node": {"user": _user(user), "x": 0.5, "y": 0.5}} for user in tagged]
        },
        "owner": _owner(who),
        "edge_media_to_caption": {"edges": caption_edges},
        "can_see_insights_as_brand": False,
        "caption_is_edited": False,
        "has_ranked_comments": False,
        "like_and_view_counts_disabled": variant == _HIDDEN,
        "edge_media_to_parent_comment": {
            "count": 0 if variant == _CLOSED else numbers.comments,
            "page_info": {"has_next_page": False, "end_cursor": None},
            "edges": comment_edges,
        },
        "edge_media_to_hoisted_comment": {"edges": []},
        "edge_media_preview_comment": {"count": numbers.comments, "edges": comment_edges[:1]},
        "comments_disabled": variant == _CLOSED,
        "commenting_disabled_for_viewer": False,
        "taken_at_timestamp": numbers.posted_at,
        "edge_media_preview_like": {"count": -1 if variant == _HIDDEN else numbers.likes, "edges": []},
        "edge_media_to_sponsor_user": {"edges": [{"node": {"sponsor": _user(user)}} for user in sponsors]},
        "is_affiliate": False,
        "is_paid_partnership": variant == _PAID,
        "location": _location(random) if variant in (_IMAGE, _DUET) else None,
        "nft_asset_info": None,
        "viewer_has_liked": False,
        "viewer_has_saved": False,
        "viewer_can_reshare": True,
        "is_ad": variant == _MUTE,
        "edge_web_media_to_related_media": {"edges": []},
        "coauthor_producers": [_user(user) for user in coauthors],
        "pinned_for_users": [],
    }
    if variant in _CAROUSELS:
        media["edge_sidecar_to_children"] = {"edges": _children(post, random)}
    if is_video:
        media |= _video(post, random, numbers, variant, who)
    if variant == _OLD:
        _make_old(media)
    return media


def _caption(post: Post, text: str, numbers: Numbers) -> Json:
    return {"node": {"text": text, "created_at": str(numbers.posted_at + 1), "id": post.post_id}}


def _location(random: SeededRandom) -> Json:
    name = place(random, 114)
    return {
        "id": str(random.between(115, 10**8, 10**9)),
        "has_public_page": True,
        "name": name,
        "slug": "invented",
        "address_json": "{}",
    }


def _video(post: Post, random: SeededRandom, numbers: Numbers, variant: int, who: Person) -> Json:
    title, artist = song(random, 116)
    music = {
        "artist_name": artist if variant == _LOUD else who.handle,
        "song_name": title if variant == _LOUD else "Original audio",
        "uses_original_audio": variant != _LOUD,
        "should_mute_audio": False,
        "should_mute_audio_reason": "",
        "audio_id": str(random.between(118, 10**14, 10**15)),
    }
    return {
        "dash_info": {"is_dash_eligible": True, "video_dash_manifest": "<MPD/>", "number_of_qualities": 1},
        "has_audio": variant != _MUTE,
        "video_url": _cdn(post, "video.mp4"),
        "video_view_count": 0 if variant == _NO_VIEWS else numbers.views,
        "video_play_count": numbers.plays,
        "encoding_status": None,
        "is_published": True,
        "product_type": "clips" if variant != _HIDDEN else "igtv",
        "title": "",
        "video_duration": random.between(119, 3000, 89_999) / 1000,
        "clips_music_attribution_info": None if variant == _MUTE else music,
    }


def _make_old(media: Json) -> None:
    """Turn into the older form: no play count, no followers, other names of the edges."""
    for name in ("video_play_count", "video_duration", "__isXDTGraphMediaInterface", "is_paid_partnership", "is_ad"):
        media.pop(name, None)
    media["__typename"] = media["__typename"].removeprefix("XDT")
    media["owner"] = {"id": media["owner"]["id"], "username": media["owner"]["username"]}
    media["edge_media_to_comment"] = media.pop("edge_media_to_parent_comment")
    media["edge_liked_by"] = {"count": media["edge_media_preview_like"]["count"]}


def payload(post: Post, calendar: VirtualClock) -> Json:
    """What stands in the envelope's `data`, on every channel."""
    return {"data": {"xdt_shortcode_media": media_of(post, calendar)}, "extensions": {"is_final": True}, "status": "ok"}


def gone_payload() -> Json:
    """What Instagram says of a post that is private or removed."""
    return {"data": {"xdt_shortcode_media": None}, "extensions": {"is_final": True}, "status": "ok"}
