"""`tagtrail purge`: retention and erasure, in the database, on the Prefect server, and a list of what is left."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from blocks.database.engine import Store
from blocks.database.purge import Purged, Target, names_of
from blocks.database.purge import purge as erase
from blocks.errors import TagtrailError, UsageError
from blocks.exported_files import Exported, exported
from blocks.posts.identity import parse_creator_url, parse_post_url
from blocks.settings import get_settings
from deployments.cli import stores
from deployments.cli.options import Output, Switch, Typed, moment
from deployments.cli.running import server_faults, where_runs_are
from deployments.cli.servers import PrefectServer
from deployments.cli.terminal import tell, write_result


def purge(
    *,
    older_than: Typed = None,
    creator: Typed = None,
    post: Typed = None,
    dry_run: Switch = False,
    yes: Switch = False,
    output: Output = Output(),
) -> int:
    """Erase posts with all that is stored about them, and say what was erased; with --dry-run first, only count.

    Rows, raw payloads, comments, snapshots, failures and creators go, and on the Prefect server artifacts and runs
    that name them. Exported files that may hold them are listed, not touched. Money that was spent stays in the books.
    A post or creator that is erased by name stays out when an import finds it again; what is only old does not.
    The database is the one that runs use: a block that is saved on the Prefect server comes before the settings.

    Parameters
    ----------
    older_than
        Everything measured before: 90d, 2026-11-01; posts by their last measurement.
    creator
        A user name, or the URL of a profile: all their posts, and their comments.
    post
        The URL of one post.
    dry_run
        Only count.
    yes
        Do not ask.
    """
    target = _target(older_than, creator, post)
    server, settings = where_runs_are(get_settings())
    with stores.opened(settings, quiet=output.json) as store:
        if not (dry_run or yes):
            _ask(store, target)
        if store is None:
            done = Purged(naming=names_of(target).naming())
            if target.on_request and not dry_run:
                done.notes.append("there is no database yet, in which it could be noted that this is to stay out")
        else:
            done = asyncio.run(erase(store, target, dry_run=dry_run))
        on_server = _on_server(server, target, done, dry_run=dry_run)
    # What was nowhere is in no file either; of what has left the database by another purge, that one listed the files.
    files = exported(settings.home) if done.erased.total() or on_server.total() else []
    stays_out = target.on_request and store is not None and not dry_run
    document = as_json(done, on_server, files, dry_run=dry_run, stays_out=stays_out)
    write_result(document, lines(done, on_server, files, dry_run=dry_run), json=output.json)
    return 0


def _target(older_than: str | None, creator: str | None, post: str | None) -> Target:
    """
    Raises:
        UsageError: not exactly one of the three, or one that cannot be read.
    """
    if sum(one is not None for one in (older_than, creator, post)) != 1:
        raise UsageError("say one of --older-than 90d, --creator USERNAME_OR_URL and --post URL")
    if older_than is not None:
        cutoff = moment("--older-than", older_than, datetime.now(UTC))
        if cutoff > datetime.now(UTC):
            raise UsageError(f"--older-than is a time in the past, such as 90d; not {older_than}")
        return Target(cutoff=cutoff)
    if post is not None:
        return Target(post=parse_post_url(post))
    typed = (creator or "").strip()
    if "/" in typed or ("." in typed and typed.lower().startswith(("http", "www."))):
        platform, handle, _ = parse_creator_url(typed)
        return Target(platform=platform, creator=handle)
    name = typed.removeprefix("@")
    if not re.fullmatch(r"[\w.\-·]{1,200}", name):
        raise UsageError("--creator is a user name, such as @loom.works, or the URL of a profile")
    return Target(creator=name)


def _ask(store: Store | None, target: Target) -> None:
    """
    Raises:
        UsageError: nobody can be asked, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise UsageError("this erases for good: look at it with --dry-run first, then say --yes")
    would = Purged() if store is None else asyncio.run(erase(store, target, dry_run=True))
    tell(f"This erases for good: {_counts(would.erased) or 'nothing'}. Type yes to go on:")
    if sys.stdin.readline().strip().lower() != "yes":
        raise UsageError("nothing was erased")


def _on_server(server: PrefectServer | None, target: Target, done: Purged, *, dry_run: bool) -> Counter[str]:
    """Erase on the Prefect server in use, if there is one; where it cannot be used that is a note."""
    if server is None:
        done.notes.append(
            "no Prefect server runs, so that its artifacts and runs were not looked through; with one running the same "
            "command does that"
        )
        return Counter()
    from flows.steps.upkeep.erasure import erase_on_server

    try:
        with server_faults(server):
            return asyncio.run(erase_on_server(naming=done.naming, before=target.cutoff, dry_run=dry_run))
    except TagtrailError as error:
        done.notes.append(f"artifacts and runs on the Prefect server were not looked through: {error}")
        return Counter()


def as_json(
    done: Purged, on_server: Counter[str], files: list[Exported], *, dry_run: bool, stays_out: bool
) -> dict[str, Any]:
    """What was erased, for `--json`."""
    return {
        "dry_run": dry_run,
        "stays_out": stays_out,
        "erased": dict(sorted(done.erased.items())),
        "prefect": dict(sorted(on_server.items())),
        "exported_files": [{"path": str(one.path), "what": one.what, "rows": one.rows, "at": one.at} for one in files],
        "notes": done.notes,
    }


def lines(done: Purged, on_server: Counter[str], files: list[Exported], *, dry_run: bool) -> list[str]:
    """What was erased and what is left, as sentences."""
    word = "Would be erased" if dry_run else "Erased"
    sentences = [f"{word}: {_counts(done.erased) or 'nothing; the database holds nothing of it'}."]
    if on_server:
        sentences.append(f"{word} on the Prefect server: {_counts(on_server)}.")
    if files:
        sentences.append("Exported files that may hold it, for you to delete or to write anew:")
        sentences += [f"  {one.path} ({one.what}, written {one.at})" for one in files]
    return sentences + [f"Note: {note}." for note in done.notes]


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
