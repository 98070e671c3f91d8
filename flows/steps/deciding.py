"""Decisions about imports in doubt, as a step of a flow."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from blocks.database.engine import open_store
from blocks.database.store import Connection
from blocks.database.store import imports as ledger
from blocks.database.store.imports import Decision, OpenImport
from blocks.memories.errors import TagtrailError, UsageError
from blocks.settings import get_settings
from flows.steps.accounts import saved_database_url

NEXT = {
    "planned": "the next run of the same wish sends it",
    "submitted": "the next run or sweep follows it",
    "dropped": "its wish is free for a new import",
}


async def decide(import_id: str, decision: Decision, task_id: str) -> State[Any]:
    """Carry one decision out; Failed with one sentence where there is nothing to decide."""
    try:
        url = await saved_database_url() or get_settings().database_url
        store = await asyncio.to_thread(open_store, url, create=True)
        try:
            row = await store.run(_resolve, import_id, decision, task_id, durable=True)
        finally:
            store.close()
    except TagtrailError as error:
        return Failed(message=str(error))
    return Completed(message=f"import {row.import_id} is {row.state} now; {NEXT[row.state]}")


def _resolve(conn: Connection, import_id: str, decision: Decision, task_id: str) -> OpenImport:
    found = ledger.find_imports(conn, import_id.strip().lower())
    if len(found) != 1:
        what = "more than one import begins" if found else "no import begins"
        raise UsageError(f"{what} with {import_id!r}; `tagtrail status` shows those in doubt with their ids")
    if not ledger.resolve(conn, found[0].import_id, decision, task_id=task_id):
        row = found[0]
        raise UsageError(f"import {row.import_id} is {row.state}, neither in doubt nor left planned: nothing to decide")
    return ledger.get(conn, found[0].import_id)
