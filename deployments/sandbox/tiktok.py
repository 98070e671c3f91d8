"""TikTok's payloads: the list of one item (channel apify) and the object `itemInfo.itemStruct` (the others)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from deployments.sandbox.catalog import Post, numbers_of
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.people import person, song, words

VARIANTS = 8
_SLIDES, _SPONSORED, _NAMELESS_TAG, _AD, _UNSEEN, _, _SILENT = range(1, 8)

Json = dict[str, Any]


def _counts(post: Post, calendar: VirtualClock) -> tuple[Json, int]:
    numbers, variant = numbers_of(post, calendar), post.variant % VARIANTS
    counts = {
        "diggCount": numbers.likes,
        "shareCount": numbers.shares,
        # A real zero stays one.
        "playCount": 0 if variant == _UNSEEN else numbers.plays,
        "collectCount": numbers.saves,
        "commentCount": numbers.comments,
    }
    return counts, numbers.posted_at


def apify_payload(post: Post, calendar: VirtualClock) -> list[Json]:
    """The envelope's `data` on channel apify."""
    random, variant, who = post.random, post.variant % VARIANTS, person(post.handle)
    text, tags, mentions = words(random, post.tag)
    if variant == _SILENT:
        text, tags, mentions = "", [], []
    counts, posted_at = _counts(post, calendar)
    title, artist = song(random, 116)
    original = random.unit(120) < 0.5
    names: list[Json] = [{"name": tag} for tag in tags]
    if variant == _NAMELESS_TAG:
        names.append({"name": ""})
    item: Json = {
        "id": post.post_id,
        "text": text,
        "textLanguage": "en",
        "createTime": posted_at,
        "createTimeISO": datetime.fromtimestamp(posted_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "isAd": variant == _AD,
        "authorMeta": {
            "id": who.person_id,
            "name": who.handle,
            "profileUrl": f"https://www.tiktok.com/@{who.handle}",
            "nickName": who.name,
            "verified": who.verified,
            "signature": "I do not exist.",
            "bioLink": None,
            "avatar": f"https://p16.tiktokcdn.example/{who.person_id}.jpeg",
            "privateAccount": False,
            "ttSeller": False,
            "following": who.followers % 700,
            "friends": 0,
            "fans": who.followers,
            "heart": who.followers * 9,
            "video": who.followers % 500,
            "digg": 0,
        },
        "musicMeta": {
            "musicName": f"original sound - {who.name}" if original else title,
            "musicAuthor": who.name if original else artist,
            "musicOriginal": original,
            "playUrl": f"https://v77.tiktokcdn.example/{post.post_id}.mp3",
            "coverMediumUrl": f"https://p16.tiktokcdn.example/{post.post_id}-music.jpeg",
            "musicId": str(random.between(121, 7 * 10**18, 75 * 10**17)),
        },
        "webVideoUrl": f"https://www.tiktok.com/@{who.handle}/video/{post.post_id}",
        "mediaUrls": [],
        "videoMeta": {
            "height": 1024,
            "width": 576,
            "duration": 0 if variant == _SLIDES else random.between(119, 5, 90),
            "coverUrl": f"https://p16.tiktokcdn.example/{post.post_id}.jpeg",
            "originalCoverUrl": f"https://p16.tiktokcdn.example/{post.post_id}-o.jpeg",
            "definition": "540p",
            "format": "mp4",
            "subtitleLinks": [],
        },
        **counts,
        "mentions": [f"@{handle}" for handle in mentions],
        "detailedMentions": [{"name": handle, "nickName": person(handle).name} for handle in mentions],
        "hashtags": names,
        "effectStickers": [],
        "isSlideshow": variant == _SLIDES,
        "isPinned": False,
        "isSponsored": variant == _SPONSORED,
    }
    if variant == _AD:
        item["locationCreated"] = "DE"
    if variant == _SLIDES:
        item["slideshowImageLinks"] = [
            {"tiktokLink": f"https://p16.tiktokcdn.example/{post.post_id}-{place}.jpeg"} for place in range(3)
        ]
    return [item]


def item_payload(post: Post, calendar: VirtualClock) -> Json:
    """The envelope's `data` on channels rapid and memories.ai."""
    random, variant, who = post.random, post.variant % VARIANTS, person(post.handle)
    text, tags, mentions = words(random, post.tag)
    if variant == _SILENT:
        text, tags, mentions = "", [], []
    counts, posted_at = _counts(post, calendar)
    title, artist = song(random, 116)
    original = random.unit(120) < 0.5
    item: Json = {
        "id": post.post_id,
        "desc": text,
        "createTime": str(posted_at),
        "author": {
            "id": who.person_id,
            "uniqueId": who.handle,
            "nickname": who.name,
            "verified": who.verified,
            "signature": "I do not exist.",
        },
        "authorStats": {"followerCount": who.followers, "heartCount": who.followers * 9, "videoCount": 12},
        "music": {
            "id": str(random.between(121, 7 * 10**18, 75 * 10**17)),
            "title": f"original sound - {who.name}" if original else title,
            "authorName": who.name if original else artist,
            "original": original,
        },
        # The platform's own page gives one of the counts as text, the others as numbers.
        "stats": {**counts, "collectCount": str(counts["collectCount"])},
        "video": {
            "id": post.post_id,
            "height": 1024,
            "width": 576,
            "duration": 0 if variant == _SLIDES else random.between(119, 5, 90),
            "ratio": "540p",
            "playAddr": f"https://v16.tiktokcdn.example/{post.post_id}.mp4",
            "downloadAddr": f"https://v16.tiktokcdn.example/{post.post_id}-d.mp4",
            "cover": f"https://p16.tiktokcdn.example/{post.post_id}.jpeg",
        },
        "challenges": [{"id": str(place), "title": tag} for place, tag in enumerate(tags)],
        "textExtra": [{"hashtagName": tag} for tag in tags] + [{"userUniqueId": handle} for handle in mentions],
        "isAd": variant == _AD,
    }
    if variant == _SLIDES:
        item["imagePost"] = {"images": [{"imageURL": {"urlList": []}} for _ in range(3)]}
    return {"itemInfo": {"itemStruct": item}, "statusCode": 0, "statusMsg": ""}


def payload(post: Post, calendar: VirtualClock, channel: str) -> Any:
    """What stands in the envelope's `data` on that channel."""
    return apify_payload(post, calendar) if channel == "apify" else item_payload(post, calendar)


def gone_payload(channel: str) -> Any:
    """What the sandbox says of a post that is private or removed (the contract leaves it open)."""
    return [] if channel == "apify" else {"itemInfo": {"itemStruct": None}, "statusCode": 10204, "statusMsg": ""}
