"""`tagtrail setup`: makes on a Prefect server what Tagtrail needs there."""

from __future__ import annotations

import asyncio

from blocks.errors import UsageError
from blocks.memories.requests import checked_key
from blocks.settings import get_settings
from deployments.cli import running
from deployments.cli.options import Output, Switch, Typed
from deployments.cli.terminal import tell, write_json


def setup(
    *,
    work_pool: Typed = None,
    overwrite: Switch = False,
    notify: Typed = None,
    output: Output = Output(),
) -> int:
    """Make on the Prefect server in use what Tagtrail needs there: blocks, work pool, limit, deployments, automations.

    It can be run again at any time: what stands already is left as you set it (block documents, schedules, parameters,
    whether an automation is enabled), and each line says what was made and what stood. On Postgres it migrates the
    database too.

    Parameters
    ----------
    work_pool
        The work pool of the deployments; made, for workers of type process, if there is none of that name.
    overwrite
        Make the block documents from the settings although they exist.
    notify
        A notification block of yours, such as slack-webhook/team, to notify of failed, crashed and halted runs.
    """
    if work_pool is not None and not (work_pool := work_pool.strip()):
        raise UsageError("--work-pool is the name of a work pool, such as default; leave it out to keep the one in use")
    settings = get_settings()
    if key := settings.memories_api_key.get_secret_value():
        checked_key(key)
    server, _ = running.connect(settings, buys=False)

    # Prefect may be imported from here on: the line above made this process ready for the server.
    from deployments.setup.plan import Choices, set_up

    choices = Choices(work_pool=work_pool, overwrite=overwrite, notify=notify)
    with running.server_faults(server):
        steps = asyncio.run(set_up(settings, choices, lambda step: tell(step.sentence)))
    if output.json:
        write_json([step.document for step in steps])
    return 0
