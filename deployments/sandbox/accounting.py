"""The sandbox's accounting: everything that was asked of it and what it answered, for whoever wants to check."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Any

_KEPT = 20_000


def busiest(times: deque[float], seconds: float = 1.0) -> int:
    """The most entries of `times` (ascending Unix times) that lie within any `seconds`."""
    most = first = 0
    listed = list(times)
    for last, at in enumerate(listed):
        while at - listed[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


class Accounting:
    """Counts by what they are about; times are Unix times in seconds, the newest 20,000 of each kind."""

    def __init__(self) -> None:
        self.requests = 0
        self.answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.submissions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.accepted: Counter[str] = Counter()
        self.imports: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.status_polls: Counter[str] = Counter()
        self.metadata: defaultdict[str, defaultdict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.metadata_served: Counter[str] = Counter()
        self.readable = 0
        self.faults: Counter[str] = Counter()
        self.faulted: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self.times: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self.callbacks: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def as_dict(self) -> dict[str, Any]:
        """The accounting as plain JSON.

        `submissions` counts answers by target (`hashtag:lvmh`, `url:tiktok:71…`, `creator:instagram:name`),
        `accepted` the imports that exist for it; `metadata` counts answers by post, channel and code,
        `metadata_served` those that were worked out, whether or not they arrived; `struck` lists, by fault, the posts,
        imports and targets that it was injected into; `busiest_second` is the most calls of a kind in any one real
        second.
        """
        return {
            "requests": self.requests,
            "answers": {name: dict(codes) for name, codes in self.answers.items()},
            "submissions": {target: dict(codes) for target, codes in self.submissions.items()},
            "accepted": dict(self.accepted),
            "imports": list(self.imports),
            "status_polls": dict(self.status_polls),
            "metadata": {
                post: {channel: dict(codes) for channel, codes in channels.items()}
                for post, channels in self.metadata.items()
            },
            "metadata_served": dict(self.metadata_served),
            "metadata_readable": self.readable,
            "faults": dict(self.faults),
            "struck": {kind: list(keys) for kind, keys in self.faulted.items()},
            "times": {kind: list(times) for kind, times in self.times.items()},
            "busiest_second": {kind: busiest(times) for kind, times in self.times.items()},
            "callbacks": list(self.callbacks),
        }
