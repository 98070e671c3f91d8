"""`tagtrail top`: the leading posts."""

from __future__ import annotations

from typing import Annotated

from blocks.database.store import overview
from blocks.errors import UsageError
from blocks.posts.captions import hashtag_key, normalise_hashtag
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.cli.options import Output, Platform, Typed, Whole
from deployments.cli.posts_table import Metric, posts_table
from deployments.cli.stores import INVENTED, holds_invented
from deployments.cli.terminal import results, tell, write_json
from deployments.cli.writers import iso

_SHOWN = (
    "platform", "post_id", "shortcode", "url", "author_username", "posted_at", "caption", "plays", "views", "likes",
    "likes_hidden", "comments", "shares", "saves", "author_followers", "observed_at",
)  # fmt: skip


def top(
    hashtag: Typed = None,
    /,
    *,
    by: Metric = "plays",
    limit: Annotated[int, Whole] = 10,
    collection: Typed = None,
    platform: Platform = None,
    output: Output = Output(),
) -> int:
    """Show the posts that lead in one number of their latest measurement.

    Parameters
    ----------
    hashtag
        Only posts that an import of this hashtag found; with a collection, an import of that collection.
    by
        The number that decides.
    limit
        How many posts.
    collection
        Only what this collection brought in.
    platform
        Only this platform.
    """
    if limit < 1:
        raise UsageError(f"--limit is 1 or more, not {limit}")
    tag = None if hashtag is None else hashtag_key(normalise_hashtag(hashtag))
    with stores.opened(get_settings()) as store:
        posts, invented = [], False
        if store is not None:
            stores.require_collection(store, collection)
            invented = holds_invented(store, collection)
            with store.connect() as conn:
                posts = overview.top(
                    conn, metric=by, hashtag=tag, collection=collection, platform=platform, limit=limit
                )
        if store is not None and not stores.tell_unknown(store, hashtag=tag) and not posts:
            tell(f"There is no such post with a known number of {by.replace('_', ' ')}.")
    if invented and posts:
        tell(INVENTED) if output.json else results().print(INVENTED)
    if output.json:
        rows = [{name: getattr(post, name) for name in _SHOWN} for post in posts]
        for row in rows:
            row |= {name: iso(row[name]) for name in ("posted_at", "observed_at") if row[name] is not None}
        write_json(rows)
    elif posts:
        console = results()
        console.print(posts_table(posts, width=console.width, by=by))
    return 0
