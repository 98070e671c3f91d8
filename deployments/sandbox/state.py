"""All that the sandbox knows while it runs: scenario, time, posts, imports, limits and accounting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deployments.sandbox.accounting import Accounting
from deployments.sandbox.answers import Answer, Writer
from deployments.sandbox.callbacks import Callbacks
from deployments.sandbox.catalog import Catalog
from deployments.sandbox.clock import Limits, VirtualClock
from deployments.sandbox.imports import Imports
from deployments.sandbox.payloads import load_payloads
from deployments.sandbox.scenarios import Scenario, scenario_named

CALENDAR_SCALE = 60.0


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
        limits: bool = True,
        latency_ms: float = 0,
        payloads: Path | None = None,
        keys: frozenset[str] | None = None,
    ) -> None:
        self.clock = VirtualClock(time_scale)
        # Imports and limits may run as fast as one likes; posts get old at most 60 times as fast as really, so that
        # a short run sees one and the same world.
        self.calendar = VirtualClock(min(time_scale, CALENDAR_SCALE))
        self.catalog = Catalog(self.calendar)
        self.payloads = load_payloads(payloads) if payloads is not None else {}
        self.latency_ms = latency_ms
        self.enforces_limits = limits
        self._keys = keys
        self.limits = Limits(self.clock)
        self.callbacks = Callbacks(self.clock, Accounting())
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
        self.callbacks.accounting = self.accounting
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
