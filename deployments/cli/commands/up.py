"""`tagtrail up`: the whole local stack, in the foreground."""

from __future__ import annotations

from typing import Annotated

from blocks.errors import UsageError
from blocks.memories.requests import checked_key
from blocks.settings import get_settings
from deployments.cli import servers, stores
from deployments.cli.commands.sandbox import check_sandbox
from deployments.cli.options import Loud, Number, Port, Switch
from deployments.cli.terminal import tell
from deployments.stack.environment import TIME_SCALE
from deployments.stack.local_stack import AlreadyUp, Running, Stack, Wanted, find_running
from deployments.stack.process import check_port


def up(
    *,
    sandbox: Switch = False,
    scenario: str = "default",
    time_scale: Annotated[float, Number] = TIME_SCALE,
    server_port: Port = None,
    receiver_port: Port = None,
    sandbox_port: Port = None,
    loud: Loud = Loud(),
) -> int:
    """Start the local stack and stay with it: Prefect server and UI, worker, deployments, webhook receiver.

    It prints the addresses and the file that holds the string for signing in. Ctrl-C (or `tagtrail down`) ends all of
    it; what was bought is stored, and the sweep of the next `up` goes on. A second `up` says what runs.

    Parameters
    ----------
    sandbox
        Start the sandbox API too, and work with it: no account, no network. Its posts are invented: use a home without
        real ones.
    scenario
        How the sandbox behaves; `tagtrail sandbox --scenarios` lists all.
    time_scale
        How much faster than the real service's the sandbox's time is, and the clocks of the runs with it.
    server_port
        Port of the Prefect server and its UI; by itself the one of last time, or any that is free.
    receiver_port
        Port of the webhook receiver.
    sandbox_port
        Port of the sandbox API.
    """
    check_port(server_port, option="--server-port")
    check_port(receiver_port, option="--receiver-port")
    check_port(sandbox_port, option="--sandbox-port")
    check_sandbox(scenario, time_scale)
    settings = get_settings()
    wanted = Wanted(
        sandbox=sandbox,
        scenario=scenario,
        time_scale=time_scale,
        server_port=server_port,
        receiver_port=receiver_port,
        sandbox_port=sandbox_port,
    )
    if key := settings.memories_api_key.get_secret_value():
        checked_key(key)
    stores.make_home(settings.home)
    if (there := find_running(settings.home)) is not None:
        return _tell_running(there, wanted)
    if (found := servers.configured()) is not None:
        shown = servers.PrefectServer.configured(*found).shown
        tell(f"Note: other commands work with {shown}; unset it to have them work with this stack.")
    try:
        return Stack(settings, wanted, tell).run()
    except AlreadyUp:
        there = find_running(settings.home)
        if there is None:
            tell("Another `tagtrail up` of this home is just starting or ending.")
            return 0
        return _tell_running(there, wanted)


def _tell_running(there: Running, wanted: Wanted) -> int:
    """Say what runs.

    Raises:
        UsageError: something else was asked for.
    """
    if there.sandbox != wanted.sandbox:
        how = "on the sandbox" if there.sandbox else "without the sandbox"
        raise UsageError(f"the stack of this home runs already, {how}; `tagtrail down` ends it")
    tell(f"`tagtrail up` runs already (process {there.pid}){'' if there.ready else ', and is still starting'}:")
    for line in there.lines:
        tell(line)
    return 0
