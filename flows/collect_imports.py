"""Flow `collect-imports`: takes up every open import of the ledger and every post that was left pending.

It runs by schedule (the sweep), after a callback, and by hand; it needs a key and a database like `track-hashtags`.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.steps.enrichment.dispatcher import Enrichment
from flows.steps.imports.sweep import Sweep
from flows.steps.prefect_side.run_names import run_name
from flows.steps.run.lifecycle import open_run
from flows.steps.run.request import ChannelChoice, request_for_sweep


@flow(name="collect-imports", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def collect_imports(
    channel: ChannelChoice = "auto",
    max_spend_usd: Annotated[float, Field(ge=0)] = 5.0,
    max_age_hours: Annotated[float, Field(ge=0)] = 12,
    credentials: str = "default",
    look_again_at: list[str] | None = None,
    held: bool = False,
    collection: str = "",
) -> State[Any]:
    """Follow all open imports to their end and enrich what they list; look again at those that ended empty or short.

    A callback is why it runs, never what it goes by: every import that is due is read again from the API. Nothing is
    submitted; imports that are ambiguous, or were never sent, are left alone. What is bought counts under the cap of
    the run that asked for it as well; what a person stopped is left alone.

    Args:
        channel: Where metadata comes from; auto tries apify, rapid and memories.ai in the settings' order.
        max_spend_usd: Cap on what this run may spend, in US dollars (estimated by the price table).
        max_age_hours: Metadata younger than this is not bought again.
        credentials: Name of the memories-credentials block; without such a block the settings are used.
        look_again_at: Finished imports to be polled once more, and nothing else: an item that was listed without a
            URL may have one now. By itself all that is open is taken up.
        held: Go on with what a person's stop holds, and with nothing else; imports that were never sent are sent. It
            counts under this run's cap.
        collection: With held, only what this collection pays for; empty means all of it.
    """
    async with open_run("collect-imports", credentials=credentials) as opened:
        request = request_for_sweep(
            channel=channel,
            max_spend_usd=max_spend_usd,
            max_age_hours=max_age_hours,
            held=held,
            collection=collection,
            asks=look_again_at is not None,
        )
        run = await opened.accept(request)
        async with Enrichment(run) as enrichment:
            sweep = Sweep(run, enrichment)
            if held:
                await sweep.take_up_what_is_held()
            elif look_again_at is None:
                await sweep.take_up_what_is_open()
            else:
                await sweep.recheck_imports(look_again_at)
    return opened.state
