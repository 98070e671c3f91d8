"""The set-up as a process of its own, so that what watches the stack never loads Prefect."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from blocks.errors import TagtrailError, UsageError
from blocks.outside_words import for_terminal
from blocks.settings import Settings, get_settings
from deployments.sandbox.app import SANDBOX_KEY
from deployments.setup.deployments import flow_of, read_definitions
from deployments.setup.plan import Choices, set_up
from deployments.setup.step import Step
from deployments.stack import own_server
from deployments.stack.environment import IS_SANDBOX, POOL
from deployments.stack.process import wait_until
from flows.steps.run.garbage import end_without_collecting

NOT_OURS = (
    "the block memories-credentials/default of this home holds an account of yours, which --sandbox does not touch; "
    "give the sandbox a home of its own: TAGTRAIL_HOME=… tagtrail up --sandbox"
)


def main() -> int:
    """Set up the server that the environment names; 2 and a sentence where that must not be."""
    settings = get_settings()
    try:
        # While the server is still starting.
        for definition in read_definitions():
            flow_of(definition)
        _wait_for_server(settings)
        asyncio.run(_prepare(settings))
    except TagtrailError as error:
        sys.stderr.write(f"{for_terminal(str(error))}\n")
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _wait_for_server(settings: Settings) -> None:
    answers = lambda: own_server.running(settings.home) is not None  # noqa: E731
    if not wait_until(answers, own_server.START_SECONDS, alive=lambda: True):
        raise TagtrailError(f"the Prefect server does not answer; its log is {own_server.log_file(settings.home)}")


async def _prepare(settings: Settings) -> None:
    sandbox = IS_SANDBOX in os.environ
    if sandbox:
        await refuse_real_account()
    # The sandbox may have another port than last time.
    await set_up(settings, Choices(work_pool=POOL, overwrite=sandbox), _say)


async def refuse_real_account() -> None:
    """Make sure that the block that the runs use is the sandbox's, or missing.

    Raises:
        UsageError: it holds a key of the user's.
    """
    async with get_client() as client:
        try:
            found = await client.read_block_document_by_name("default", "memories-credentials", include_secrets=True)
        except ObjectNotFound:
            return
    if found.data.get("api_key") != SANDBOX_KEY:
        raise UsageError(NOT_OURS)


def _say(step: Step[Any]) -> None:
    # Blocks of an earlier day come first in every run, whatever the environment says today.
    did = "warning" if step.did == "kept" and step.differences else step.did
    sys.stdout.write(f"{did}: {step.sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    end_without_collecting()
    sys.exit(main())
