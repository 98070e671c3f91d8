"""The part of the demo that runs flows, in a process of its own: what `run` and `enrich` do, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from blocks.database.tables import Post
from blocks.settings import get_settings
from deployments.cli import demo_month
from deployments.cli.commands import enrich, run
from deployments.cli.commands.report import write_report
from deployments.cli.options import Loud, Output
from deployments.cli.results import tell_result
from deployments.cli.running import connect, leading_posts, run_flow
from deployments.cli.stores import opened
from deployments.cli.terminal import tell
from flows.reporting.period import period_of

HASHTAGS: Final = ("slowfashion", "streetstyle")
POSTS: Final = 15
REPORT: Final = "report.html"
URLS: Final = ("https://www.instagram.com/p/DTagtrail01/", "https://www.instagram.com/reel/DTagtrail02/")


def demo_chain(*, loud: Loud = Loud()) -> int:  # noqa: B008 - frozen
    """Follow two hashtags and enrich two posts, with the settings that `tagtrail demo` has set."""
    server, settings = connect(get_settings())
    output = Output(verbose=loud.verbose)

    def step(typed: str, flow: str, parameters: dict[str, Any], expected: int, *, leading: bool) -> int:
        tell(f"\n$ tagtrail {typed}")
        summary = run_flow(flow, parameters, server=server, expected=expected, output=output)
        posts: Sequence[Post] = []
        with opened(settings, quiet=True) as store:
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
        with opened(settings, quiet=True) as store:
            if store is not None:
                tell(f"\nSimulating a month of #{demo_month.HASHTAG}: invented posts, a clock that jumps, no network …")
                demo_month.simulate(store, settings.snapshot_plan, now)
        tell("\n$ tagtrail report")
        period = period_of(now=now)
        write_report(settings, collection=None, hashtag=None, period=period, output=settings.home / REPORT, quiet=True)
    return max(tags, urls)
