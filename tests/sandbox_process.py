"""The sandbox without limits as a process of its own, on a free port; it prints its address."""

from __future__ import annotations

import argparse

from deployments.sandbox.server import serve
from deployments.sandbox.state import State

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="default")
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    asked = parser.parse_args()
    # Posts get old as they really do: what a busy machine takes longer for is to find the same ones.
    state = State(
        asked.scenario, time_scale=asked.time_scale, calendar_scale=1, limits=False, latency_ms=asked.latency_ms
    )
    serve(state, port=0, announce=lambda url: print(url, flush=True))
