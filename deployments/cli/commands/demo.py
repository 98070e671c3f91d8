"""`tagtrail demo`: the whole chain against the built-in sandbox; no account, no network.

The flows run in a process of their own: `tagtrail demo-chain`, which no help shows.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from blocks.database.tables import Post
from blocks.errors import UsageError
from blocks.settings import get_settings
from deployments.cli import demo_month, stores
from deployments.cli.commands import enrich, run
from deployments.cli.commands.report import open_in_browser, write_report
from deployments.cli.options import Loud, Output, Switch
from deployments.cli.results import tell_result
from deployments.cli.running import connect, leading_posts, run_flow
from deployments.cli.terminal import tell
from deployments.sandbox.server import SandboxServer
from deployments.stack import own_server
from deployments.stack.environment import TIME_SCALE, account_of_sandbox, quick
from deployments.stack.process import locked
from flows.reporting.period import period_of

HASHTAGS: Final = ("slowfashion", "streetstyle")
POSTS: Final = 15
REPORT: Final = "report.html"
URLS: Final = ("https://www.instagram.com/p/DTagtrail01/", "https://www.instagram.com/reel/DTagtrail02/")


def demo(*, open: Switch = False, loud: Loud = Loud()) -> int:
    """Follow two hashtags and enrich two Instagram posts on the built-in sandbox, and show what comes of it.

    Then a month of one hashtag is simulated, so that the report has a history to show.

    All data is invented and lies in `demo` under the home; each demo begins with an empty database, and ends
    everything that it started.

    Parameters
    ----------
    open
        Open the report in the browser.
    """
    home = get_settings().home / "demo"
    with _alone(home), SandboxServer(time_scale=TIME_SCALE) as sandbox:
        for file in home.glob("tagtrail.db*"):
            file.unlink()
        tell(f"The sandbox API runs at {sandbox.url}, {TIME_SCALE:.0f} times as fast as the real one.")
        tell("All its posts, people and numbers are invented.")
        try:
            own_server.ensure(home, tell)
            status = _chain(home, sandbox, loud)
        finally:
            own_server.stop(home)
    if status == 0:
        for line in _farewell(home):
            tell(line)
        if open:
            open_in_browser(home / REPORT)
    return status


def _chain(home: Path, sandbox: SandboxServer, loud: Loud) -> int:
    """Run the flows in a process of their own: nothing of the user's settings is in it, and nothing of it here."""
    command = [sys.executable, "-m", "deployments.cli.main", "demo-chain", *(["--verbose"] if loud.verbose else [])]
    # Not in the user's folder: neither its .env nor its prefect.toml has a say.
    with subprocess.Popen(command, env=_environment(home, sandbox), cwd=home) as chain:
        while True:
            try:
                return chain.wait()
            except KeyboardInterrupt:
                # It was interrupted as well, and says so.
                continue


def demo_chain(*, loud: Loud = Loud()) -> int:
    """Follow two hashtags and enrich two posts, with the settings that `tagtrail demo` has set."""
    server, settings = connect(get_settings())
    output = Output(verbose=loud.verbose)

    def step(typed: str, flow: str, parameters: dict[str, Any], expected: int, *, leading: bool) -> int:
        tell(f"\n$ tagtrail {typed}")
        summary = run_flow(flow, parameters, server=server, expected=expected, output=output)
        posts: Sequence[Post] = []
        with stores.opened(settings, quiet=True) as store:
            if leading and store is not None:
                posts = leading_posts(store, summary)
        tell_result(summary, posts, where=[], json=False)
        return summary.exit_status

    tags = step(
        f"run {' '.join(HASHTAGS)} --posts {POSTS}",
        run.FLOW,
        {"hashtags": list(HASHTAGS), "posts_per_hashtag": POSTS},
        POSTS * len(HASHTAGS),
        leading=True,
    )
    urls = step(f"enrich {' '.join(URLS)}", enrich.FLOW, {"urls": list(URLS)}, len(URLS), leading=False)
    if max(tags, urls) == 0:
        now = datetime.now(UTC)
        with stores.opened(settings, quiet=True) as store:
            if store is not None:
                tell(f"\nSimulating a month of #{demo_month.HASHTAG}: invented posts, a clock that jumps, no network …")
                demo_month.simulate(store, settings.snapshot_plan, now)
        tell("\n$ tagtrail report")
        period = period_of(now=now)
        write_report(settings, collection=None, hashtag=None, period=period, output=settings.home / REPORT, quiet=True)
    return max(tags, urls)


def _environment(home: Path, sandbox: SandboxServer) -> dict[str, str]:
    ours = ("MEMORIES_", "TAGTRAIL_", "PREFECT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "TAGTRAIL_HOME": str(home),
        **account_of_sandbox(sandbox.url),
        **quick(TIME_SCALE),
        # A profile of the user's is not asked: the demo has a Prefect server of its own.
        "PREFECT_PROFILES_PATH": str(home / "none.toml"),
    }


def _farewell(home: Path) -> list[str]:
    tagtrail = f"TAGTRAIL_HOME={_typed(home)} {_program()}"
    return [
        "",
        "The sandbox finds TikTok and Instagram posts for a hashtag; the real service's",
        "hashtag import finds TikTok posts only today.",
        "",
        "Next steps:",
        f"  {tagtrail} top slowfashion --by likes",
        f"  {tagtrail} export posts > posts.csv",
        f"  {_program()} up --sandbox     # Prefect's UI and run form, without an account",
        f"  MEMORIES_API_KEY=… {_program()} run LVMH dior --posts 25",
        "",
        "The report, one file for any browser, with a simulated month (all of it invented):",
        f"  {home / REPORT}",
    ]


def _typed(home: Path) -> str:
    """The folder as a shell takes it; `~` for the user's own, so that a command fits a line."""
    with suppress(ValueError, RuntimeError):
        return f"~/{shlex.quote(str(home.relative_to(Path.home())))}"
    return shlex.quote(str(home))


def _program() -> str:
    """How this program can be called from here."""
    return "tagtrail" if shutil.which("tagtrail") else os.path.relpath(sys.argv[0])


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One demo at a time in a home; the lock goes with the process."""
    for folder in (home.parent, home):
        stores.make_home(folder)
    busy = UsageError(f"another demo is running in {home}; wait for it, or set TAGTRAIL_HOME")
    with locked(home / "demo.lock", seconds=0, error=busy):
        yield
