"""Flow `report`: one self-contained HTML file for each collection, in TAGTRAIL_HOME/reports of the worker.

It runs by schedule (weekly) and by hand; it needs a database and calls nothing. `tagtrail report` does the same.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.prefect_side.run_names import run_name
from flows.steps.upkeep.reports import write_reports


@flow(name="report", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def report(
    collection: str = "",
    hashtag: str = "",
    days: Annotated[int, Field(ge=0, le=3650)] = 7,
) -> State[Any]:
    """Write reports with tables and plots of what is stored; nothing is asked of the API.

    Args:
        collection: Only this collection; empty means each collection, in a file of its own.
        hashtag: Only posts that an import of this hashtag found; empty means all.
        days: Posts of so many days before the run, beside as many days before them; 0 means all time.
    """
    return await write_reports(collection, hashtag, days)
