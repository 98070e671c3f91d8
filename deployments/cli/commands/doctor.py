"""`tagtrail doctor`: checks what Tagtrail needs, and, with `--live`, what the API's contract leaves open."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from typing import Annotated, Any, Final

from cyclopts import Parameter
from rich.text import Text

from blocks.database.engine import open_store
from blocks.errors import UsageError, ValveClosed
from blocks.settings import Settings, get_settings
from deployments.cli.options import Output, Spend, Switch, Typed, spend_cap
from deployments.cli.terminal import counted, print_labelled, results, say, tell, write_json
from deployments.doctor.checks import failed
from deployments.doctor.examination import Examined, examine

LIVE_CAP_USD: Final = 0.10

STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red"}
VERDICTS: Final = {"confirmed": "green", "contradicted": "bold yellow", "unknown": "dim"}


def doctor(
    *,
    live: Switch = False,
    max_spend: Spend = None,
    hashtag: str = "travel",
    url: Annotated[tuple[str, ...], Parameter(show_default=False, negative="")] = (),
    work_pool: Typed = None,
    output: Output = Output(),
) -> int:
    """Check all that Tagtrail needs, and say of each thing what to do; nothing is started, bought or changed.

    With --live it buys one import of one post, and one metadata call per platform and channel, and says of each open
    point of the API's contract: confirmed, contradicted, or unknown. What was found is kept in the database.

    Exit status: 0 all that matters is well, 1 something failed, 2 wrong usage, 4 the live look was halted.

    Parameters
    ----------
    live
        Buy a little, to see what the API really answers.
    max_spend
        Cap on what --live may spend, in US dollars; 0.10 by itself. All of it costs about 0.13.
    hashtag
        The hashtag of which --live imports one post.
    url
        A post to ask metadata of in --live, for platforms of which the database has none (may be repeated).
    work_pool
        The work pool that should have a worker; by itself that of the deployments, else `tagtrail`.
    """
    cap = LIVE_CAP_USD if max_spend is None else spend_cap(max_spend, None)
    if not live and (max_spend is not None or url):
        raise UsageError("--max-spend and --url belong to --live; say `tagtrail doctor --live`")
    try:
        settings = get_settings()
    except UsageError as error:
        return _show(Examined([failed("settings", str(error))]), None, output)
    examined = examine(settings, work_pool)
    if not live:
        return _show(examined, None, output)
    if not output.json:
        _show_checks(examined)
    return _show(examined, _look(examined, settings, hashtag, url, cap), output, checks_shown=not output.json)


def _look(examined: Examined, settings: Settings, hashtag: str, urls: tuple[str, ...], cap: float) -> Any:
    """The live look, or a UsageError that says why there can be none."""
    account = examined.account
    if account is None:
        key = next(check for check in examined.checks if check.name == "key")
        raise UsageError(f"{key.said}, so there is nobody to look as: {key.advice}")
    # Prefect is imported by this, and needs no server for it.
    from deployments.doctor.live import Wanted, look
    from flows.steps.prefect_side.kill_switch import KILL_SWITCH

    if any(check.name == f"limit {KILL_SWITCH}" and check.verdict == "warning" for check in examined.checks):
        raise ValveClosed(f"the Prefect limit {KILL_SWITCH} is 0: an operator stopped all buying")
    store = open_store(examined.database_url, create=True)
    try:
        return asyncio.run(look(settings, store, account, Wanted(hashtag, urls, cap), tell))
    finally:
        store.close()


def _show_checks(examined: Examined) -> None:
    rows = [(Text(check.line[:8], style=STYLES[check.verdict]), check.line[8:]) for check in examined.checks]
    print_labelled(results(), rows, joint="")


def _show(examined: Examined, look: Any, output: Output, *, checks_shown: bool = False) -> int:
    status: int = examined.exit_status
    if look is not None:
        status = max(status, {"failed": 1, "halted": 4}.get(look.summary.outcome, 0))
    if output.json:
        write_json(
            {
                "checks": [dataclasses.asdict(check) for check in examined.checks],
                "points": None if look is None else [dataclasses.asdict(one) for one in look.findings],
                "cost_usd": None if look is None else look.summary.cost_usd,
                "exit_status": status,
            }
        )
        return status
    if not checks_shown:
        _show_checks(examined)
    console = results()
    if look is not None:
        rows = [(Text(one.line[:13], style=VERDICTS[one.verdict]), one.line[13:]) for one in look.findings]
        print_labelled(console, rows, joint="")
        for note in (look.summary.halted_because, *look.summary.notes):
            if note:
                say(f"Note: {note}")
        found = Counter(one.verdict for one in look.findings)
        verdicts = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS)
        points, cost_usd = counted(len(look.findings), "point"), look.summary.cost_usd
        console.print(f"Live: {points}: {verdicts}; {cost_usd:.2f} USD (estimate).")
    counts = Counter(str(check.verdict) for check in examined.checks)
    console.print(", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES) + ".")
    return status
