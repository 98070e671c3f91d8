"""`tagtrail sandbox`: the sandbox API alone, in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.errors import UsageError
from deployments.cli.options import Loud, Number, Switch, Whole
from deployments.cli.terminal import tell
from deployments.sandbox.payloads import BadPayload
from deployments.sandbox.scenarios import SCENARIOS
from deployments.sandbox.server import DEFAULT_PORT, serve
from deployments.sandbox.state import State
from deployments.serving import PortTaken
from deployments.stack.environment import account_of_sandbox
from deployments.stack.process import check_port


def sandbox(
    *,
    scenario: str = "default",
    port: Annotated[int, Whole] = DEFAULT_PORT,
    time_scale: Annotated[float, Number] = 1.0,
    latency_ms: Annotated[float, Number] = 0.0,
    payloads: Annotated[Path | None, Parameter(show_default=False)] = None,
    scenarios: Switch = False,
    loud: Loud = Loud(),
) -> int:
    """Serve an API on 127.0.0.1 that answers like the real one, with invented posts, until Ctrl-C.

    Any key that begins with sk- is good. What it prints is to be set in the shell where `tagtrail run` is tried.

    Parameters
    ----------
    scenario
        How it behaves: default, today (TikTok only), or a fault by its name.
    port
        Where it listens; 0 takes a free port.
    time_scale
        60: its time, and so its imports and limits, run 60 times as fast.
    latency_ms
        Milliseconds added to every answer.
    payloads
        A folder of PLATFORM_ID.json files to serve as the metadata of those posts.
    scenarios
        List all scenarios, and serve nothing.
    """
    if scenarios:
        width = max(map(len, SCENARIOS))
        sys.stdout.writelines(f"{name:{width}}  {one.about}\n" for name, one in SCENARIOS.items())
        return 0
    check_sandbox(scenario, time_scale)
    if latency_ms > 60_000:
        raise UsageError(f"--latency-ms is 60,000 at most; not {latency_ms:g}")
    check_port(port, option="--port", least=0)

    def announce(url: str) -> None:
        tell(f"The sandbox serves scenario {scenario} at {url}; Ctrl-C ends it. For another shell:")
        sys.stdout.writelines(f"export {name}={value}\n" for name, value in account_of_sandbox(url).items())
        sys.stdout.flush()

    try:
        state = State(scenario, time_scale=time_scale, latency_ms=latency_ms, payloads=payloads)
        serve(state, port=port, announce=announce)
    except PortTaken as error:
        raise UsageError(str(error.strerror)) from None
    except BadPayload as error:
        raise UsageError(str(error)) from None
    return 0


def check_sandbox(scenario: str, time_scale: float) -> None:
    """Refuse a scenario that there is not, and a time that runs too slowly or too fast.

    Raises:
        UsageError: the message names the option.
    """
    if scenario not in SCENARIOS:
        raise UsageError(f"there is no scenario {scenario}; `tagtrail sandbox --scenarios` lists them")
    if not 0.001 <= time_scale <= 100_000:
        raise UsageError(f"--time-scale is between 0.001 and 100,000; not {time_scale:g}")
