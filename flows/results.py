"""What flows of other projects get from a run of Tagtrail: its typed summary, also across processes."""

from uuid import UUID

from blocks.database.store import runs
from blocks.errors import UsageError
from flows.steps.run.accounts import open_database
from flows.steps.run.summary import ImportSummary, RunEnded, RunFailed, RunHalted, RunSummary

__all__ = ["ImportSummary", "RunEnded", "RunFailed", "RunHalted", "RunSummary", "read_summary"]


async def read_summary(flow_run_id: UUID | str, database_url: str | None = None) -> RunSummary:
    """The summary of a run that has ended, by the id of its flow run, as `run_deployment` gives it.

    The database is `database_url`, else the block `tagtrail-database/default`, else TAGTRAIL_DATABASE_URL.

    Raises:
        UsageError: no such run has ended in this database.
        StoreError: the database cannot be used.
    """
    async with open_database(database_url, create=False) as store:
        row = await store.read(runs.get, str(flow_run_id))
    if row is None or row.summary is None:
        raise UsageError(f"no run {flow_run_id} has ended in this database; look at its state in Prefect")
    return RunSummary.model_validate(row.summary)
