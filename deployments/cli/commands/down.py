"""`tagtrail down`: ends what Tagtrail started in the background."""

from __future__ import annotations

from blocks.settings import get_settings
from deployments import local_server
from deployments.cli.options import Loud
from deployments.cli.terminal import tell


def down(*, loud: Loud = Loud()) -> int:  # noqa: B008 - frozen
    """End what Tagtrail started in the background: its own Prefect server, also that of a demo that was killed."""
    home = get_settings().home
    ended = [place for place in (home, home / "demo") if local_server.stop(place)]
    for place in ended:
        tell(f"Ended Tagtrail's own Prefect server of {place}.")
    if not ended:
        tell("Nothing of Tagtrail's was running in the background.")
    return 0
