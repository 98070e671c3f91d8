"""What a run notes: its posts, sentences for its summary, and about ten lines for Prefect's log; nothing of people."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from blocks.errors import MemoriesError, TagtrailError
from blocks.outside_words import for_log
from flows.steps.enrichment.post_state import PostTask
from flows.steps.run.progress import Progress

MAX_IMPORTS_LOGGED = 3
"""A run of more imports logs each of them at DEBUG only, so that its log stays short."""

POSTS_BETWEEN_LINES = 50
LINES_OF_PROGRESS = 5
"""A large run logs its progress so often, a small one every 50 posts."""


def reason_of(error: TagtrailError) -> str:
    """Why a call failed, in a few words of our own: `HTTP 502`, `code 0429`, or the error's class in words.

    Never the service's words: they may name a person, and Prefect keeps its log.
    """
    if not isinstance(error, MemoriesError):
        return error.error_class
    if error.http_status is not None and error.http_status != 200:
        return f"HTTP {error.http_status}"
    return error.what if error.code is None else f"{error.what} (code {error.code})"


class RunLog:
    """Writes one run's lines; in a flow run they go to Prefect's run logger, elsewhere to a logger of this name."""

    def __init__(self) -> None:
        try:
            self._logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = get_run_logger()
        except MissingContextError:
            self._logger = get_logger(__name__)
        self._imports = 0
        self._expected_posts = 0
        self._next_line_at = POSTS_BETWEEN_LINES
        self._failures: Counter[tuple[str, str]] = Counter()

    def accepted(self, what: str, *, where: str, cap_usd: float | None, imports: int, posts: int) -> None:
        """The run begins: `what` it was asked for, `where` it works, and what it may spend."""
        self._imports, self._expected_posts = imports, posts
        cap = "no cap" if cap_usd is None else f"at most {cap_usd:.2f} USD"
        self._write(logging.INFO, "Accepted: %s; %s; %s", what, where, cap)

    def of_import(self, line: str, *values: object) -> None:
        """A step of one import: submitted, joined, re-used, listed, ended."""
        self._write(logging.INFO if self._imports <= MAX_IMPORTS_LOGGED else logging.DEBUG, line, *values)

    def call_failed(self, error: TagtrailError, channel: str, *, attempt: int, of: int) -> None:
        """A metadata call failed; the first of its kind on a channel is a warning, the others are counted."""
        kind = (error.error_class, channel)
        self._failures[kind] += 1
        level = logging.WARNING if self._failures[kind] == 1 else logging.DEBUG
        then = f"call {attempt} of {of}" if of > 1 else "not tried again there"
        self._write(level, "%s from %s, %s", reason_of(error), channel, then)

    def post_settled(self, post: PostTask, progress: Progress, now: datetime) -> None:
        """One post came to its end; every so many posts: how many are settled, how fast, and what was spent."""
        self._write(logging.DEBUG, "%s/%s: %s", post.ref.platform, post.shown, post.outcome)
        if (settled := progress.settled) < self._next_line_at:
            return
        step = max(POSTS_BETWEEN_LINES, max(progress.found, self._expected_posts) // LINES_OF_PROGRESS)
        self._next_line_at = settled + step
        per_second = progress.rate_per_second(now)
        rate = "" if per_second is None else f", {per_second:.1f} a second"
        line = "%s of %s posts settled%s, about %.2f USD so far"
        self._write(logging.INFO, line, settled, progress.found, rate, progress.spent_usd)

    def ended(self, message: str, *, needs_you: bool) -> None:
        """How the run ended, and what to do; what failed again and again is named with its count."""
        for (error_class, channel), count in self._failures.items():
            if count > 1:
                self._write(logging.INFO, "%s from %s: %s calls in all", error_class, channel, count)
        self._write(logging.WARNING if needs_you else logging.INFO, "Ended: %s", message)

    def _write(self, level: int, line: str, *values: object) -> None:
        """One line; what a name or an id holds steers nobody's log."""
        self._logger.log(level, line, *(for_log(value) if isinstance(value, str) else value for value in values))


class Journal:
    """The notes of one run; steps add to them, and the run's end reads them."""

    def __init__(self, progress: Progress, clock: Callable[[], datetime]) -> None:
        self.log = RunLog()
        self.posts: dict[str, PostTask] = {}
        """All posts that the run has to account for, by key."""
        self.fresh: set[str] = set()
        """Posts whose stored metadata is young enough."""
        self.failed_before: set[str] = set()
        """Posts that were given up lately, and are not asked for again in this run."""
        self.continues = False
        """It goes on with an import whose other posts an earlier run measured."""
        self.served = False
        """Whether a paid call was answered: the service does not refuse this account (any more)."""
        self.on_trial = False
        """A sweep where the service refused lately: one call, and the others only once that is answered."""
        self.poll_errors: Counter[str] = Counter()
        self.notes: list[str] = []
        self._progress, self._clock = progress, clock

    def settle(self, post: PostTask, outcome: Literal["enriched", "failed", "gone"]) -> None:
        now = self._clock()
        post.outcome = outcome
        self._progress.count(outcome, now)
        self.log.post_settled(post, self._progress, now)

    def note(self, sentence: str) -> None:
        """Say something in the summary and to whoever watches; never a caption or a person's name."""
        if (said := for_log(sentence)) not in self.notes:
            self.notes.append(said)
            self._progress.notes.append(said)

    def leave_out(self, keys: Iterable[str]) -> None:
        """Posts that were erased on request meanwhile are none of the run's posts any more."""
        for key in keys:
            self.posts.pop(key, None)
            self.fresh.discard(key)
