"""What was erased on request is not asked for again: it is taken out of a request before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from blocks.database.engine import Store
from blocks.database.store import erased_names
from blocks.dedup_keys import dedup_key
from blocks.posts.identity import item_key, parse_creator_url, parse_post_url
from flows.steps.run.request import RequestedImport, RunRequest
from flows.steps.run.summary import ImportSummary, plural


async def without_erased(store: Store, request: RunRequest, note: Callable[[str], None]) -> RunRequest:
    """The request without imports of erased creators, and without erased posts in the imports of posts.

    Batches of posts keep their places, so that the other batches are known again. Creators that are left out are
    noted; given posts are when they are taken up.
    """
    kept: list[RequestedImport] = []
    for one in request.imports:
        if one.kind == "creator":
            kept += await _creator(store, one)
        elif one.kind == "urls":
            kept += await _posts(store, request, one)
        else:
            kept.append(one)
    if left_out := sum(one.kind == "creator" for one in request.imports) - sum(one.kind == "creator" for one in kept):
        note(
            f"{plural(left_out, 'creator')} left out: erased on request (`tagtrail purge`); nothing was bought of them"
        )
    return request.changed(imports=tuple(kept))


async def _creator(store: Store, one: RequestedImport) -> list[RequestedImport]:
    platform, handle, _ = parse_creator_url(one.wanted["creator"])
    return [] if await store.read(erased_names.creators_among, [(platform, handle)]) else [one]


async def _posts(store: Store, request: RunRequest, one: RequestedImport) -> list[RequestedImport]:
    refs = [parse_post_url(url) for url in one.wanted["urls"]]
    out = await store.read(erased_names.posts_among, refs)
    left = [ref for ref in refs if (ref.platform, ref.post_id) not in out]
    if not out or not left:
        return [one] if left else []
    key = dedup_key("urls", [item_key(ref) for ref in left], request.namespace, request.library)
    return [replace(one, wanted={"urls": [ref.url for ref in left]}, requested=len(left), key=key)]


def listed_again(imports: Sequence[ImportSummary]) -> list[str]:
    """A sentence where imports listed what was erased: the service bills it all the same."""
    withheld = sum(one.withheld for one in imports)
    if not withheld:
        return []
    return [
        f"{plural(withheld, 'listed post')} left out: erased on request (`tagtrail purge`); the import bills it anyway"
    ]
