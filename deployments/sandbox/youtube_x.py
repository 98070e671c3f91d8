"""Payloads of YouTube (an item of the Apify family, or a plain object) and of X (a list of one tweet)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from deployments.sandbox.catalog import Post, numbers_of
from deployments.sandbox.clock import VirtualClock
from deployments.sandbox.people import person, words

Json = dict[str, Any]


def youtube_payload(post: Post, calendar: VirtualClock, channel: str) -> Any:
    """The envelope's `data` for YouTube: a list of one item on channel apify, an object on the others.

    The contract does not know these shapes for certain; they follow the Apify family and a client's notes.
    """
    random, numbers, who = post.random, numbers_of(post, calendar), person(post.handle)
    text, tags, _ = words(random, post.tag)
    title, _, description = text.partition("\n")
    seconds = random.between(119, 9, 3700)
    posted = datetime.fromtimestamp(numbers.posted_at, UTC)
    channel_id = f"UC{post.seed % 10**18:018d}invt"
    short = post.variant % 3 == 1
    if channel != "apify":
        return {
            "videoId": post.post_id,
            "title": title,
            "description": description or text,
            "lengthSeconds": str(seconds),
            "viewCount": str(numbers.plays),
            "likeCount": str(numbers.likes),
            "commentCount": str(numbers.comments),
            "publishDate": posted.isoformat(),
            "keywords": tags,
            "isShort": short,
            "channel": {
                "id": channel_id,
                "name": who.name,
                "handle": f"@{who.handle}",
                "subscriberCount": who.followers,
                "isVerified": who.verified,
            },
        }
    hours, rest = divmod(seconds, 3600)
    item = {
        "id": post.post_id,
        "type": "short" if short else "video",
        "title": title,
        "text": description or text,
        "url": f"https://www.youtube.com/watch?v={post.post_id}",
        "thumbnailUrl": f"https://i.ytimg.example/vi/{post.post_id}/maxresdefault.jpg",
        "viewCount": numbers.plays,
        "likes": None if post.variant % 5 == 3 else numbers.likes,
        "commentsCount": None if post.variant % 7 == 4 else numbers.comments,
        "commentsTurnedOff": post.variant % 7 == 4,
        "date": posted.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "duration": f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}",
        "channelName": who.name,
        "channelUsername": who.handle,
        "channelId": channel_id,
        "channelUrl": f"https://www.youtube.com/@{who.handle}",
        "numberOfSubscribers": who.followers,
        "isChannelVerified": who.verified,
        "hashtags": [f"#{tag}" for tag in tags],
        "isPaidContent": post.variant % 6 == 5,
    }
    return [item]


def x_payload(post: Post, calendar: VirtualClock) -> list[Json]:
    """The envelope's `data` for X: a list of one tweet (known for channel apify, supposed for the others)."""
    random, numbers, who = post.random, numbers_of(post, calendar), person(post.handle)
    text, tags, mentions = words(random, post.tag)
    name = who.handle.replace(".", "_")
    posted = datetime.fromtimestamp(numbers.posted_at, UTC)
    media = [{"type": "video", "video_info": {"duration_millis": random.between(119, 4000, 120_000)}}]
    tweet = {
        "type": "tweet",
        "id": post.post_id,
        "url": f"https://x.com/{name}/status/{post.post_id}",
        "twitterUrl": f"https://twitter.com/{name}/status/{post.post_id}",
        "text": text,
        "fullText": text,
        "source": "Invented for the sandbox",
        "retweetCount": numbers.shares,
        "replyCount": numbers.comments,
        "likeCount": numbers.likes,
        "quoteCount": numbers.shares // 7,
        "viewCount": numbers.plays,
        "createdAt": posted.strftime("%a %b %d %H:%M:%S +0000 %Y"),
        "lang": "en",
        "bookmarkCount": numbers.saves,
        "isReply": False,
        "conversationId": post.post_id,
        "possiblySensitive": False,
        "isPinned": False,
        "author": {
            "type": "user",
            "userName": name,
            "url": f"https://x.com/{name}",
            "twitterUrl": f"https://twitter.com/{name}",
            "id": who.person_id,
            "name": who.name,
            "isVerified": False,
            "verifiedType": "Business" if who.verified else None,
            "isBlueVerified": who.verified,
            "profilePicture": f"https://pbs.twimg.example/{who.person_id}.jpg",
            "coverPicture": "",
            "description": "I do not exist.",
            "followers": who.followers,
        },
        "entities": {
            "hashtags": [{"text": tag} for tag in tags],
            "user_mentions": [{"screen_name": handle.replace(".", "_")} for handle in mentions],
        },
        "extendedEntities": {"media": media} if post.variant % 3 == 0 else {},
    }
    return [tweet]
