"""The sandbox as a process of its own: `python -m deployments.sandbox --scenario today --time-scale 60`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deployments.sandbox.payloads import BadPayload
from deployments.sandbox.scenarios import UnknownScenario
from deployments.sandbox.server import DEFAULT_PORT, PortTaken, serve
from deployments.sandbox.state import State


def main(words: list[str] | None = None) -> int:
    """Serve until told to stop; gives the exit status (2: wrong usage)."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.sandbox", description="The sandbox API on a local port."
    )
    parser.add_argument("--scenario", default="default", help="how it behaves; a wrong name lists all")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument("--time-scale", type=float, default=1.0, help="60: its time runs 60 times as fast")
    parser.add_argument("--limits", choices=("enforce", "off"), default="enforce")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to every answer")
    parser.add_argument("--payloads", type=Path, help="folder of <platform>_<id-or-shortcode>.json files to serve")
    asked = parser.parse_args(words)
    try:
        state = State(
            asked.scenario,
            time_scale=asked.time_scale,
            limits=asked.limits == "enforce",
            latency_ms=asked.latency_ms,
            payloads=asked.payloads,
        )
        serve(state, host=asked.host, port=asked.port, announce=_say)
    except (UnknownScenario, BadPayload, PortTaken) as error:
        sys.stderr.write(f"{error.strerror if isinstance(error, PortTaken) else error}\n")
        return 2
    return 0


def _say(url: str) -> None:
    sys.stdout.write(f"sandbox: {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
