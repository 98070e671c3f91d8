"""Events out: what automations can listen to; ids and counts only, sent as far as it goes, and each only once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid4, uuid5

from prefect.events import emit_event
from prefect.logging import get_logger
from prefect.settings import PREFECT_API_URL

from blocks.database.store.overview import RunOutputs
from blocks.database.tables import Import
from blocks.errors import TagtrailError
from blocks.outside_words import plain_data
from flows.steps.run.summary import RunSummary

IMPORT_COMPLETED = "tagtrail.import.completed"
RUN_COMPLETED = "tagtrail.run.completed"
RUN_HALTED = "tagtrail.run.halted"
POSTS_FAILED = "tagtrail.posts.failed"
GAP_FOUND = "tagtrail.import.gap"
RUN_HELD = "tagtrail.run.held"
POST_TRENDING = "tagtrail.post.trending"

MATERIALIZED = "prefect.asset.materialization.succeeded"
"""The event by which Prefect knows that a run wrote to an asset."""

MOST_HASHTAGS = 50
"""An event takes a hundred related resources at most, and Prefect adds the run's own."""

MOST_IMPORTS = 100
"""So many imports of a run are listed in its event; a sweep may have more."""

COUNTS = (
    "requested", "enriched", "failed", "gone", "pending", "fresh", "new_enriched", "platforms", "calls", "failures",
    "cost_usd", "usd_per_1000_new",
)  # fmt: skip

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
        # Nobody would get it; Prefect would start a server of its own for it.
        return
    try:
        emit_event(
            event,
            {"prefect.resource.id": resource_id},
            related=plain_data(related),
            payload=plain_data(payload),
            id=event_id or uuid4(),
        )
    except Exception as error:  # noqa: BLE001 - whatever Prefect's sender has, it is no reason for a run to fail
        get_logger(__name__).warning("the event %s could not be sent: %s", event, type(error).__name__)


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


def import_ended(row: Import, *, run_id: str) -> None:
    """Announce an import that this run ended complete, empty or failed; once for each of these states."""
    announce(
        IMPORT_COMPLETED,
        resource_id=f"tagtrail.import.{row.import_id}",
        related=related_to(collection=row.collection, hashtags=[row.hashtag]),
        payload={
            "import_id": row.import_id,
            "task_id": row.task_id,
            "kind": row.kind,
            "state": row.state,
            "requested": row.requested,
            "seen": row.seen,
            "new": row.new,
            "known": row.known,
            "run_id": run_id,
        },
        event_id=event_id(IMPORT_COMPLETED, row.import_id, row.state),
    )


def run_ended(summary: RunSummary, halted: TagtrailError | None) -> None:
    """Announce how a run ended, by what `halted` it; a halt, a hold, each class of failures and each gap have events
    of their own.

    A run that is taken up again under its own id is announced anew only where it ended in another way.
    """
    related = related_to(collection=summary.collection, hashtags=(one.hashtag for one in summary.imports))

    def send(event: str, payload: dict[str, Any], *about: str) -> None:
        announce(
            event,
            resource_id=f"tagtrail.run.{summary.run_id}",
            related=related,
            payload={"run_id": summary.run_id, "flow": summary.flow, "collection": summary.collection, **payload},
            event_id=event_id(event, summary.run_id, *about),
        )

    for error_class, count in summary.failures.items():
        send(POSTS_FAILED, {"error_class": error_class, "count": count}, error_class)
    if summary.outcome == "halted" and halted is not None:
        send(RUN_HALTED, {"error_class": halted.error_class, "reason": summary.halted_because})
    if summary.outcome == "cancelled" and (summary.held or summary.held_imports):
        send(RUN_HELD, {"posts": summary.held, "imports": summary.held_imports})
    for one in summary.imports:
        if one.overlap == 0:
            send(GAP_FOUND, {"import_id": one.import_id, "hashtag": one.hashtag, "seen": one.seen}, one.import_id)
    numbers = summary.model_dump(mode="json", include=set(COUNTS))
    imports = [{"import_id": one.import_id, "how": one.how, "state": one.state} for one in summary.imports]
    ended = {"outcome": summary.outcome, "exit_status": summary.exit_status, "seconds": round(summary.seconds, 3)}
    send(RUN_COMPLETED, {**ended, **numbers, "imports": imports[:MOST_IMPORTS]}, summary.outcome)


def assets_written(written: RunOutputs, *, run_id: str) -> None:
    """Tell Prefect which tables of the database a run wrote to: one asset each, with the number of its rows."""
    for table, rows in written.by_table().items():
        if rows:
            announce(
                MATERIALIZED,
                resource_id=asset_key(written.database, table),
                payload={"rows": rows, "run_id": run_id},
                event_id=event_id(MATERIALIZED, run_id, table, str(rows)),
            )


def asset_key(database: str, table: str) -> str:
    """A table as an asset: by the database's name, for a path or a host would name a machine."""
    return f"tagtrail://{re.sub(r'[^A-Za-z0-9._-]+', '-', database).strip('-') or 'default'}/{table}"
