"""All that the sandbox knows while it runs: scenario, time, posts, imports, limits, and what was asked and answered."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.sandbox.answers import Answer, Writer
from deployments.sandbox.catalog import Catalog
from deployments.sandbox.clock import Limits, VirtualClock
from deployments.sandbox.imports import Callbacks, Imports
from deployments.sandbox.payloads import load_payloads
from deployments.sandbox.scenarios import Scenario, scenario_named

CALENDAR_SCALE = 60.0
"""So many times as fast as really posts get old, at most."""

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


@dataclass(frozen=True, slots=True)
class Request:
    """One call: `key` is the API key that was accepted."""

    path: str
    query: dict[str, str]
    body: bytes
    key: str


class State:
    """The sandbox's memory; it belongs to the one event loop that serves it.

    `time_scale` 60 lets the sandbox's time run 60 times as fast: imports fill sooner, limits allow more in a real
    second. `latency_ms` (real milliseconds) is added to every answer. `keys` are the API keys that are accepted
    (None: any that starts with `sk-`).

    Raises:
        UnknownScenario: there is no such scenario; the message lists all.
        BadPayload: a file of `payloads` cannot be served.
    """

    def __init__(
        self,
        scenario: str | Scenario = "default",
        *,
        time_scale: float = 1.0,
        calendar_scale: float = CALENDAR_SCALE,
        limits: bool = True,
        latency_ms: float = 0,
        payloads: Path | None = None,
        keys: frozenset[str] | None = None,
    ) -> None:
        self.clock = VirtualClock(time_scale)
        # Imports and limits may run as fast as one likes; posts get old at most `calendar_scale` times as fast as
        # really, so that a short run sees one and the same world.
        self.calendar = VirtualClock(min(time_scale, calendar_scale))
        self.catalog = Catalog(self.calendar)
        self.payloads = load_payloads(payloads) if payloads is not None else {}
        self.latency_ms = latency_ms
        self.enforces_limits = limits
        self._keys = keys
        self.answer_by: Callable[..., Answer] | None = None
        """Answers the calls that faults could strike, instead of these; see `SandboxServer.answer_by`."""
        self.limits = Limits(self.clock)
        self.callbacks = Callbacks(self.clock, lambda sent: self.accounting.callbacks.append(sent))
        self.reset()
        self.play(scenario)

    def play(self, scenario: str | Scenario) -> None:
        """Behave by `scenario` from now on; what was imported and counted stays."""
        self.scenario_name = scenario if isinstance(scenario, str) else scenario.about
        self.scenario = scenario_named(scenario) if isinstance(scenario, str) else scenario
        self.writer = Writer(self.scenario)
        self.hits: Counter[tuple[int, str]] = Counter()
        self.readable_before = self.accounting.readable

    def reset(self) -> None:
        """Forget imports, counts and used-up limits, and begin the time anew."""
        self.clock.restart()
        self.calendar.restart()
        self.accounting = Accounting()
        self.imports = Imports(self.clock)
        self.limits.forget()
        self.hits = Counter()
        self.readable_before = 0

    def accepts_key(self, header: str) -> bool:
        """Whether the Authorization header is a bare key that is accepted."""
        if self._keys is not None:
            return header in self._keys
        return header.startswith("sk-") and " " not in header

    def limited(self, request: Request, kind: str, count: float, seconds: float, version: int) -> Answer | None:
        """A refusal where one more call of `kind` is over the account's limit."""
        self.accounting.times[kind].append(self.clock.wall())
        if not self.enforces_limits or self.limits.allows(request.key, kind, count, seconds):
            return None
        return self.writer.refusal("limit", version)
