"""`tagtrail down`: ends what Tagtrail started in the background."""

from __future__ import annotations

from blocks.settings import get_settings
from deployments.cli.options import Loud
from deployments.cli.terminal import tell
from deployments.stack import local_stack, own_server


def down(*, loud: Loud = Loud()) -> int:
    """End what Tagtrail started: a running `up` with all its parts, its own Prefect server, also that of a demo.

    What an `up` or a demo that was killed has left is ended as well. Runs that are under way store what they bought.
    """
    home = get_settings().home
    ended = local_stack.end(home, tell)
    for place in (home, home / "demo"):
        if own_server.stop(place):
            tell(f"Ended Tagtrail's own Prefect server of {place}.")
            ended = True
    if not ended:
        tell("Nothing of Tagtrail's was running in the background.")
    return 0
