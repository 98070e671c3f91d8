"""What callbacks say of an import while it is followed: a reason to ask the API sooner, and never more than that."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from blocks.completion import Said
from blocks.database.engine import Store
from blocks.database.store import inbox
from blocks.database.store.import_polls import PollResult
from blocks.database.store.inbox import Heard
from flows.steps.run.halt_switch import HaltSwitch


class CallbackWatcher:
    """Watches the inbox for callbacks about one import; polls that were asked after a callback are what counts."""

    def __init__(self, store: Store, import_id: str) -> None:
        self._store, self._import_id = store, import_id
        self._heard = Heard(None)
        self._since: datetime | None = None
        self._quiet_polls = 0

    async def look(self) -> None:
        """Take in what has been said so far; to be called before each poll."""
        self._heard = await self._store.read(inbox.heard, self._import_id)

    async def answered(self, result: PollResult) -> Said | None:
        """Note that the poll was answered: what had been said before it, and how often nothing came of it since."""
        if self._heard.unhandled:
            await self._store.run(inbox.mark_handled, self._heard.unhandled)
        said = self._heard.said
        if said is None:
            return None
        if said.at != self._since:
            self._since, self._quiet_polls = said.at, 0
        self._quiet_polls = 0 if result.quiet_polls == 0 else self._quiet_polls + 1
        return replace(said, quiet_polls=self._quiet_polls)

    async def pause(self, halt: HaltSwitch, seconds: float, *, look_every: float) -> None:
        """Wait for the next poll: so long, or until a callback has come, or the run is halted."""
        while seconds > look_every and halt.reason is None:
            await halt.pause(look_every)
            seconds -= look_every
            if await self._store.read(inbox.unhandled, self._import_id):
                return
        await halt.pause(seconds)
