"""Decisions about imports in doubt, as a step of a flow."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from blocks.database.engine import open_store
from blocks.database.store import import_planning
from blocks.database.store.import_planning import Decision
from blocks.errors import TagtrailError
from blocks.outside_words import for_log
from blocks.settings import get_settings
from flows.steps.run.accounts import saved_database_url

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
            row = await store.run_durable(import_planning.decide, import_id, decision, task_id=task_id)
        finally:
            store.close()
    except TagtrailError as error:
        return Failed(message=for_log(str(error)))
    return Completed(message=f"import {row.import_id} is {row.state} now; {NEXT[row.state]}")
