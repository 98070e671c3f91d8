"""What callbacks say of an import while it is followed: a reason to ask the API sooner, and never more than that."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from blocks.completion import Said
from blocks.database.store import inbox
from blocks.database.store.imports import PollResult
from blocks.database.store.inbox import Heard
from flows.steps.run.lifecycle import Run


class Hearing:
    """Listens for callbacks about one import; polls that were asked after a callback are what counts."""

    def __init__(self, run: Run, import_id: str) -> None:
        self._run, self._import_id = run, import_id
        self._heard = Heard(None)
        self._since: datetime | None = None
        self._quiet_polls = 0

    async def listen(self) -> None:
        """Take in what has been said so far; to be called before each poll."""
        self._heard = await self._run.store.read(inbox.heard, self._import_id)

    async def answered(self, result: PollResult) -> Said | None:
        """Note that the poll was answered: what had been said before it, and how often nothing came of it since."""
        if self._heard.unhandled:
            await self._run.store.run(inbox.mark_handled, self._heard.unhandled)
        said = self._heard.said
        if said is None:
            return None
        if said.at != self._since:
            self._since, self._quiet_polls = said.at, 0
        self._quiet_polls = 0 if result.quiet_polls == 0 else self._quiet_polls + 1
        return replace(said, quiet_polls=self._quiet_polls)

    async def pause(self, seconds: float) -> None:
        """Wait for the next poll: so long, or until a callback has come, or the run is halted."""
        step = self._run.settings.tagtrail_poll_seconds
        while seconds > step and self._run.halted is None:
            await self._run.pause(step)
            seconds -= step
            if await self._run.store.read(inbox.unhandled, self._import_id):
                return
        await self._run.pause(seconds)
