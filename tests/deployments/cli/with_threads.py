"""The commands with one platform more, as if its file lay beside the others: all that a new platform takes."""

from __future__ import annotations

import sys

from blocks.posts.payloads.shape import Shape, always
from blocks.posts.platforms.registry import register
from blocks.posts.platforms.spec import PlatformSpec
from blocks.posts.record import PostRef
from blocks.posts.urls import POST_NUMBER, Address

ITEM = Shape(
    name="threads_item",
    platform="threads",
    marks=("pk", "text", "like_count"),
    ids=("pk",),
    columns={
        "author_id": ("user.pk",),
        "author_username": ("user.username",),
        "posted_at": ("taken_at",),
        "likes": ("like_count",),
        "comments": ("reply_count",),
    },
    caption=(("text",),),
    media=(always("image"),),
)


def url(post_id: str) -> str:
    return f"https://www.threads.example/t/{post_id}"


def read_address(address: Address) -> PostRef | None:
    parts = address.parts
    is_post = len(parts) == 2 and parts[0] == "t" and POST_NUMBER.match(parts[1])
    return PostRef("threads", parts[1], url(parts[1])) if is_post else None


THREADS = PlatformSpec(
    name="threads",
    label="Threads",
    hosts=("threads.example", "www.threads.example"),
    read_address=read_address,
    example=url("ID"),
    post_url=lambda post_id, _shortcode: url(post_id),
    metadata_path="/threads/post/metadata",
    shapes=(ITEM,),
)

if __name__ == "__main__":
    register(THREADS)
    from deployments.cli.main import main

    sys.exit(main())
