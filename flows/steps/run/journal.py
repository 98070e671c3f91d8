"""What a run has noted so far: its posts, and what its summary is to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from blocks.outside_words import for_log
from flows.steps.enrichment.post_state import PostTask
from flows.steps.run.progress import Progress


class Journal:
    """The notes of one run; steps add to them, and the run's end reads them."""

    def __init__(self, progress: Progress) -> None:
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
        self._progress = progress

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
