"""What a run says of itself to Prefect when it ends: its outcome, its failures, and what it wrote, by table."""

from __future__ import annotations

import re
from typing import Any

from blocks.database.store.imports import OpenImport
from blocks.database.store.provenance import RunOutputs
from blocks.errors import TagtrailError
from flows.steps.prefect_side.events import (
    GAP_FOUND,
    IMPORT_COMPLETED,
    POSTS_FAILED,
    RUN_COMPLETED,
    RUN_HALTED,
    RUN_HELD,
    announce,
    event_id,
    related_to,
)
from flows.steps.run.summary import RunSummary

MATERIALIZED = "prefect.asset.materialization.succeeded"
"""The event by which Prefect knows that a run wrote to an asset."""

COUNTS = (
    "requested", "enriched", "failed", "gone", "pending", "fresh", "new_enriched", "platforms", "calls", "failures",
    "cost_usd", "usd_per_1000_new",
)  # fmt: skip


def import_ended(row: OpenImport, *, run_id: str) -> None:
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

    def tell(event: str, payload: dict[str, Any], *about: str) -> None:
        announce(
            event,
            resource_id=f"tagtrail.run.{summary.run_id}",
            related=related,
            payload={"run_id": summary.run_id, "flow": summary.flow, "collection": summary.collection, **payload},
            event_id=event_id(event, summary.run_id, *about),
        )

    for error_class, count in summary.failures.items():
        tell(POSTS_FAILED, {"error_class": error_class, "count": count}, error_class)
    if summary.outcome == "halted" and halted is not None:
        tell(RUN_HALTED, {"error_class": halted.error_class, "reason": summary.halted_because})
    if summary.outcome == "cancelled" and (summary.held or summary.held_imports):
        tell(RUN_HELD, {"posts": summary.held, "imports": summary.held_imports})
    for one in summary.imports:
        if one.overlap == 0:
            tell(GAP_FOUND, {"import_id": one.import_id, "hashtag": one.hashtag, "seen": one.seen}, one.import_id)
    numbers = summary.model_dump(mode="json", include=set(COUNTS))
    imports = [{"import_id": one.import_id, "how": one.how, "state": one.state} for one in summary.imports]
    ended = {"outcome": summary.outcome, "exit_status": summary.exit_status, "seconds": round(summary.seconds, 3)}
    tell(RUN_COMPLETED, {**ended, **numbers, "imports": imports[:MOST_IMPORTS]}, summary.outcome)


MOST_IMPORTS = 100
"""So many imports of a run are listed in its event; a sweep may have more."""


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
