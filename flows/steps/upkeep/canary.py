"""Canary: known posts are measured, and the form of their payloads is compared with the last time's."""

from __future__ import annotations

from typing import Any

from blocks.database.engine import Store
from blocks.database.store import raw_payloads
from blocks.database.store.raw_payloads import RunAnswer
from blocks.database.tables import CanaryShape
from blocks.errors import MemoriesError, PayloadError, UsageError
from blocks.memories import responses
from blocks.posts.payloads.locate import locate
from blocks.posts.payloads.outline import outline, outline_difference
from flows.steps.prefect_side.events import announce, event_id, related_to
from flows.steps.run.context import RunContext
from flows.steps.run.request import RunRequest, request_for_urls
from flows.steps.run.summary import plural

SHAPES_CHANGED = "tagtrail.shapes.changed"
"""The event: its payload names posts, channels, shapes and keys, and no value of any payload."""

MOST_KEYS = 50
"""So many keys of a difference are named."""

MOST_POSTS = 20


def request_for_canary(urls: list[str], **common: Any) -> RunRequest:
    """Check a canary's posts; they are measured whenever it runs, however young their metadata is.

    Raises:
        UsageError: no post or too many, a URL that names no post, or a bad common parameter.
    """
    if not urls:
        raise UsageError(
            "name the canary's posts: about three URLs of posts that stay public, such as one of each platform in use"
        )
    if len(urls) > MOST_POSTS:
        raise UsageError(f"a canary needs few posts, at most {MOST_POSTS}; each is bought anew every time it runs")
    return request_for_urls(urls, max_age_hours=0, **common)


async def compare_shapes(run: RunContext) -> None:
    """Compare what this run was answered with the last time; differences become notes and one event."""
    keys = [(ref.platform, ref.post_id) for ref, _ in run.request.posts]
    answers = await run.store.read(raw_payloads.answers_of, run.run_id, keys)
    changes = [change for answer in answers if (change := await _compare(run.store, answer)) is not None]
    missing = len(keys) - len(answers)
    if missing:
        run.journal.note(f"{plural(missing, 'post')} of the canary gave no payload, and nothing was compared for them")
    if not changes:
        run.journal.note(f"{plural(len(answers), 'payload')} compared: no shape has changed")
        return
    for change in changes:
        run.journal.note(_sentence(change))
    announce(
        SHAPES_CHANGED,
        resource_id=f"tagtrail.run.{run.run_id}",
        related=related_to(collection=run.request.collection),
        payload={"run_id": run.run_id, "collection": run.request.collection, "posts": changes},
        event_id=event_id(SHAPES_CHANGED, run.run_id),
    )


async def _compare(store: Store, answer: RunAnswer) -> dict[str, Any] | None:
    """One payload beside the one before it, which it replaces; None for the first, and where nothing differs."""
    now = await _seen(store, answer)
    before = await store.read(raw_payloads.seen_before, now.platform, now.post_id, now.channel)
    gone, new = outline_difference(before.keys, now.keys) if before is not None else ([], [])
    changed = before is not None and (before.shape != now.shape or bool(gone or new))
    await store.run(raw_payloads.note_shape, now, changed=changed)
    if before is None or not changed:
        return None
    return {
        "platform": now.platform,
        "post_id": now.post_id,
        "channel": now.channel,
        "shape_before": before.shape,
        "shape_now": now.shape,
        "seen_before_at": before.observed_at.isoformat(),
        "keys_gone": gone[:MOST_KEYS],
        "keys_new": new[:MOST_KEYS],
    }


async def _seen(store: Store, answer: RunAnswer) -> CanaryShape:
    body = await store.read(raw_payloads.load_raw, answer.raw_sha256)
    shape, keys = None, []
    try:
        data = responses.open_stored(body)
        keys = outline(data)
        shape = locate(data, answer.ref).shape.name
    except (MemoriesError, PayloadError):
        # An answer that no mapper knows has no shape; its keys say what it is like.
        shape = None
    return CanaryShape(
        platform=answer.ref.platform,
        post_id=answer.ref.post_id,
        channel=answer.channel,
        shape=shape,
        keys=keys,
        observed_at=answer.fetched_at,
        changed_at=answer.fetched_at,
    )


def _sentence(change: dict[str, Any]) -> str:
    parts = []
    if change["shape_before"] != change["shape_now"]:
        parts.append(f"shape {change['shape_before'] or 'unknown'} became {change['shape_now'] or 'unknown'}")
    parts += [
        f"keys {word}: {', '.join(keys[:10])}{' …' if len(keys) > 10 else ''}"
        for word, keys in (("gone", change["keys_gone"]), ("new", change["keys_new"]))
        if keys
    ]
    return f"the payload of {change['platform']} through {change['channel']} has changed: {'; '.join(parts)}"
