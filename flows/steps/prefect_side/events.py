"""Events out: what automations can listen to; ids and counts only, sent as far as it goes, and each only once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4, uuid5

from prefect.events import emit_event
from prefect.logging import get_logger
from prefect.settings import PREFECT_API_URL

from blocks.outside_words import plain_data

IMPORT_COMPLETED = "tagtrail.import.completed"
RUN_COMPLETED = "tagtrail.run.completed"
RUN_HALTED = "tagtrail.run.halted"
POSTS_FAILED = "tagtrail.posts.failed"
GAP_FOUND = "tagtrail.import.gap"
RUN_HELD = "tagtrail.run.held"
POST_TRENDING = "tagtrail.post.trending"

MOST_HASHTAGS = 50
"""An event takes a hundred related resources at most, and Prefect adds the run's own."""

_NAMESPACE = UUID("6d0c5c1e-2a3d-5d0f-9a57-7461677472a1")


def announce(
    event: str,
    *,
    resource_id: str,
    payload: dict[str, Any],
    related: Sequence[dict[str, str]] = (),
    event_id: UUID | None = None,
) -> None:
    """Hand an event to Prefect's sender, which works in the background; never raises, and never waits for a server.

    The payload holds ids and counts: no caption, no person's name, no secret. In a flow run Prefect itself adds the
    run, its flow, deployment, work pool and tags to the related resources. An id that the server knows is dropped.
    """
    if not PREFECT_API_URL.value():
        # There is nobody to tell; Prefect would start a server of its own for it.
        return
    with _as_far_as_it_goes(event):
        emit_event(
            event,
            {"prefect.resource.id": resource_id},
            related=plain_data(related),
            payload=plain_data(payload),
            id=event_id or uuid4(),
        )


def event_id(event: str, *about: str) -> UUID:
    """The id of an event about these things: the same whoever announces it, and however often."""
    return uuid5(_NAMESPACE, "\n".join((event, *about)))


def related_to(*, collection: str | None = None, hashtags: Iterable[str | None] = ()) -> list[dict[str, str]]:
    """A collection and hashtags as related resources, which automations can match."""
    tags = sorted({tag for tag in hashtags if tag})[:MOST_HASHTAGS]
    named = [("collection", collection)] if collection else []
    return [
        {
            "prefect.resource.id": f"tagtrail.{role}.{name}",
            "prefect.resource.name": name,
            "prefect.resource.role": role,
        }
        for role, name in (*named, *(("hashtag", tag) for tag in tags))
    ]


@contextmanager
def _as_far_as_it_goes(event: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever Prefect's sender has, it is no reason for a run to fail
        get_logger(__name__).warning("the event %s could not be sent: %s", event, type(error).__name__)
