"""Flow `purge`: erases what is older than TAGTRAIL_RETENTION_DAYS, in the database and on the Prefect server.

It runs by schedule; it needs a database and calls nothing that costs. One post or creator is erased by the command
`tagtrail purge`: as a parameter of a run their name would stay on the server.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.prefect_side.run_names import run_name
from flows.steps.upkeep.erasure import erase_what_is_old


@flow(name="purge", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def purge(older_than_days: Annotated[int, Field(ge=0, le=36_500)] = 0, dry_run: bool = False) -> State[Any]:
    """Erase posts that were last measured longer ago, and older snapshots, raw payloads, comments, runs and artifacts.

    Args:
        older_than_days: Age in days; 0 takes TAGTRAIL_RETENTION_DAYS, and does nothing where that is not set.
        dry_run: Only count what would be erased.
    """
    return await erase_what_is_old(older_than_days, dry_run=dry_run)
