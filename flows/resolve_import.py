"""Flow `resolve-import`: decides an import that was sent and never answered, from the Prefect UI.

It runs by hand; it needs a database and calls nothing. `tagtrail resolve` does the same.
"""

from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.imports.submit import decide
from flows.steps.prefect_side.run_names import run_name


@flow(name="resolve-import", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def resolve_import(
    import_id: Annotated[str, Field(min_length=4, max_length=36)],
    decision: Literal["attach", "drop", "resubmit"],
    task_id: str = "",
) -> State[Any]:
    """Decide an import whose submission's outcome is unknown; the vendor's console shows whether the task is there.

    Args:
        import_id: The import, as `tagtrail status` and the run's summary show it; its first letters are enough.
        decision: attach if it arrived, drop to give it up, resubmit if it never arrived (if it did, it is paid twice).
        task_id: The task to poll from now on, for attach.
    """
    return await decide(import_id, decision, task_id)
