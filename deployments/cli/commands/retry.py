"""`tagtrail retry`: takes failures up again, or closes those that cannot be."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from blocks.database.store import Connection, failures, money, runs, stale_work, work
from blocks.database.store.failures import POST_STAGES
from blocks.database.store.stale_work import Held
from blocks.errors import UsageError
from blocks.posts.identity import parse_post_url
from blocks.settings import Settings, get_settings
from deployments.cli import stores
from deployments.cli.estimates import tell_cost, tell_estimate
from deployments.cli.options import Buying, Output, Platform, Switch, Typed, moment
from deployments.cli.results import as_json, tell_result
from deployments.cli.running import connect, finish, require_key, run_flow
from deployments.cli.terminal import counted, tell, write_json, write_result
from flows.steps.run.request import request_for_urls

FLOW: Final = "flows.enrich_posts:enrich_posts"
COLLECT_FLOW: Final = "flows.collect_imports:collect_imports"
GRAVITY: Final = (0, 3, 1, 4)
"""Exit statuses, the gravest last."""

NOBODYS: Final = "default"
"""The collection of posts that none is known to have found."""

CLOSES: Final = "`tagtrail retry --close` gives them up"


def retry(
    *,
    error: Typed = None,
    platform: Platform = None,
    before: Typed = None,
    buying: Buying = Buying(),
    held: Switch = False,
    collection: Typed = None,
    close: Switch = False,
    dry_run: Switch = False,
    output: Output = Output(),
) -> int:
    """Take failed posts up again: each is asked for anew, and its failure is closed if that succeeds.

    Imports that listed items without a URL are polled once more, which costs nothing: where the URL has come, the post
    is enriched and the failure closed.

    With --held: go on with what a person's stop (Ctrl-C, a cancelled run) holds, under this command's cap.

    Exit status: 0 done or nothing to do, 1 failed, 3 some failed again, 4 halted (credits, key, cap).

    Parameters
    ----------
    error
        Only failures of this class, as `tagtrail status` names them.
    platform
        Only this platform.
    before
        Only what failed last before: 2026-11-01, 2026-11-01T08:00Z, or 7d, 24h ago.
    held
        Take up what is held instead of failures: imports that were not sent, and posts that were not bought.
    collection
        With --held, only what this collection pays for.
    close
        Take nothing up: close the failures of listed items that name no post, as seen and given up. With --held: give
        up what is held.
    dry_run
        Print what would be taken up and what it may cost, and call and change nothing.
    """
    settings = get_settings()
    terms = buying.parameters(settings)
    if held and (error, platform, before) != (None, None, None):
        raise UsageError("--error, --platform and --before choose failures; --held takes --collection")
    if collection is not None and not held:
        raise UsageError("--collection goes with --held")
    if held and close:
        return _close_held(collection, settings, output, dry_run=dry_run)
    if held:
        terms |= {"max_age_hours": settings.tagtrail_max_age_hours}
        return _go_on(collection, terms, settings, output, dry_run=dry_run)
    older_than = None if before is None else moment("--before", before, datetime.now(UTC))
    chosen = {"error_class": error, "platform": platform, "older_than": older_than}
    found = stores.ask(settings, lambda conn: _failed(conn, chosen), Found())
    if close:
        return _close(found, settings, output, dry_run=dry_run)
    if dry_run:
        return _tell_dry(found, terms, settings, output)
    for sentence in _of_nameless(found):
        tell(sentence)
    if not found.posts and not found.without_url:
        tell("There is no failed post to take up again.")
        if output.json:
            write_json([])
        return 0
    require_key(settings)
    server, settings = connect(settings)
    if found.posts:
        tell_cost(request_for_urls(found.urls, max_age_hours=0, **terms), settings)
    # A post that failed lately is left alone unless its work is pending again. Not before there is a server to run on:
    # until then nothing is changed.
    with stores.opened(settings, quiet=True) as store:
        if store is not None:
            with store.begin() as conn:
                work.requeue(conn, [parse_post_url(url) for url in found.urls], "enrich")
    statuses, summaries = [0], []
    for flow, parameters, expected in _runs(found, terms, settings):
        summary = run_flow(flow, parameters, server=server, expected=expected, output=output)
        statuses.append(summary.exit_status)
        summaries.append(as_json(summary))
        if not output.json:
            tell_result(summary, [], where=[], json=False)
    if _still_without_url(found, settings):
        statuses.append(3)
    if output.json:
        write_json(summaries)
    return max(statuses, key=GRAVITY.index)


@dataclass(frozen=True)
class Found:
    """Open failures: URLs of `posts` by collection, listed items `without_url` by import, and others (`odd`).

    `odd` are listed items whose URL names no post. Both are known by the failures' item keys.
    """

    posts: dict[str, list[str]] = field(default_factory=dict)
    without_url: dict[str, list[str]] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        """All posts, whatever their collection."""
        return [url for urls in self.posts.values() for url in urls]

    @property
    def nameless(self) -> list[str]:
        """Item keys of all failures of listed items that name no post."""
        return [*(key for keys in self.without_url.values() for key in keys), *self.odd]


def _failed(conn: Connection, chosen: dict[str, Any]) -> Found:
    """What may be taken up; each post is in the collection whose run gave it up.

    A run over all collections (a sweep, a refresh) has none: then it is the one that found the post first, and pays
    for it.
    """
    rows = failures.find(conn, stages=POST_STAGES, **chosen)
    of_run = runs.collections_of(conn, {row.run_id for row in rows if row.run_id is not None})
    orphans = [(row.platform, row.post_id) for row in rows if row.platform and row.post_id and row.run_id not in of_run]
    payer = money.paying_collections(conn, orphans) if orphans else {}
    posts: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        if row.url is not None:
            collection = of_run.get(row.run_id or "") or payer.get((row.platform or "", row.post_id or ""), NOBODYS)
            posts[collection][row.url] = None
    without_url: dict[str, list[str]] = defaultdict(list)
    odd: list[str] = []
    for row in failures.find(conn, stages=("identify",), **chosen):
        if row.url is None and row.import_id is not None:
            without_url[row.import_id].append(row.item_key)
        else:
            odd.append(row.item_key)
    return Found({collection: list(urls) for collection, urls in posts.items()}, dict(without_url), odd)


def _runs(found: Found, terms: dict[str, Any], settings: Settings) -> list[tuple[str, dict[str, Any], int]]:
    """The flows to run, with their parameters and the most posts that each may find."""
    asked: list[tuple[str, dict[str, Any], int]] = []
    if found.without_url:
        look: dict[str, Any] = {"max_age_hours": settings.tagtrail_max_age_hours}
        items = sum(len(keys) for keys in found.without_url.values())
        asked.append((COLLECT_FLOW, terms | look | {"look_again_at": list(found.without_url)}, items))
    for collection, urls in found.posts.items():
        asked.append((FLOW, {"urls": urls, **terms, "collection": collection, "max_age_hours": 0}, len(urls)))
    return asked


def _of_nameless(found: Found) -> list[str]:
    """What is said of listed items that name no post."""
    sentences = []
    if found.without_url:
        items = counted(sum(len(keys) for keys in found.without_url.values()), "item")
        sentences.append(
            f"Listed without a URL: {items} of {counted(len(found.without_url), 'import')}, polled once more, which "
            f"costs nothing; the metadata of posts whose URL has come is bought. {CLOSES}."
        )
    if found.odd:
        sentences.append(f"Listed with a URL that names no post: {counted(len(found.odd), 'item')}; {CLOSES}.")
    return sentences


def _still_without_url(found: Found, settings: Settings) -> bool:
    """Whether items that were looked at again have no URL yet; how many is said."""
    looked_at = {key for keys in found.without_url.values() for key in keys}
    if not looked_at:
        return False

    def still_open(conn: Connection) -> int:
        return sum(row.item_key in looked_at for row in failures.find(conn, stages=("identify",)))

    left = stores.ask(settings, still_open, 0)
    if left:
        tell(f"Still without a URL: {left:,} of {counted(len(looked_at), 'item')}; {CLOSES}.")
    return left > 0


def _close(found: Found, settings: Settings, output: Output, *, dry_run: bool) -> int:
    """Close the failures of listed items that name no post."""
    closed = len(found.nameless)
    with stores.opened(settings, quiet=True) as store:
        if store is not None and found.nameless and not dry_run:
            with store.begin() as conn:
                closed = failures.resolve(conn, found.nameless, datetime.now(UTC), stages=("identify",))
    said = (
        f"{'Would be closed' if dry_run else 'Closed'}: {counted(closed, 'failure')} of listed items that name no post."
    )
    write_result({"dry_run": dry_run, "closed": closed}, [said], json=output.json)
    return 0


def _tell_dry(found: Found, terms: dict[str, Any], settings: Settings, output: Output) -> int:
    facts = {
        "collections": {collection: len(urls) for collection, urls in found.posts.items()},
        "items_without_url": sum(len(keys) for keys in found.without_url.values()),
        "imports_to_poll": list(found.without_url),
        "items_naming_no_post": len(found.odd),
    }
    by_collection = ", ".join(f"{collection} {len(urls):,}" for collection, urls in found.posts.items())
    lines = [*([f"By collection: {by_collection}."] if found.posts else []), *_of_nameless(found)]
    if found.posts:
        request = request_for_urls(found.urls, max_age_hours=0, **terms)
        return tell_estimate(request, settings, output, facts=facts, lines=lines)
    document = {"dry_run": True, "urls": 0, "posts": 0, "total_usd": 0.0, **facts}
    said = ["There is no failed post to take up again.", *lines, "Nothing was called."]
    write_result(document, said, json=output.json)
    return 0


def _go_on(collection: str | None, terms: dict[str, Any], settings: Settings, output: Output, *, dry_run: bool) -> int:
    """Have a run ask for what is held, under the terms of this command; nothing held is nothing to do."""
    found = _find_held(settings, collection)
    if dry_run or not (found.posts or found.imports):
        named = _named(found, collection)
        if output.json:
            write_json({"dry_run": dry_run, "posts": len(found.posts), "imports": len(found.imports)})
        else:
            tell(f"Held: {named}. Nothing was called." if found.posts or found.imports else "Nothing is held.")
        return 0
    require_key(settings)
    server, settings = connect(settings)
    tell(f"Held: {_named(found, collection)}; this run goes on with it, under its own cap.")
    asked = {**terms, "held": True, "collection": collection or ""}
    summary = run_flow(COLLECT_FLOW, asked, server=server, expected=len(found.posts), output=output)
    return finish(summary, server=server, settings=settings, output=output)


def _close_held(collection: str | None, settings: Settings, output: Output, *, dry_run: bool) -> int:
    """Give up what is held; nothing is called."""
    found = _find_held(settings, collection)
    posts, unsent = len(found.posts), stores.ask(settings, lambda conn: stale_work.count_unsent(conn, found), 0)
    with stores.opened(settings, quiet=True) as store:
        if store is not None and not dry_run:
            with store.begin(durable=True) as conn:
                posts, unsent = stale_work.give_up_held(conn, collection=collection, now=datetime.now(UTC))
    what = f"{counted(posts, 'held post')} and {counted(unsent, 'import')} that {'was' if unsent == 1 else 'were'}"
    said = f"{'Would be given up' if dry_run else 'Given up'}: {what} not sent."
    write_result({"dry_run": dry_run, "posts": posts, "imports": unsent}, [said], json=output.json)
    return 0


def _find_held(settings: Settings, collection: str | None) -> Held:
    return stores.ask(settings, lambda conn: stale_work.find_held(conn, collection=collection), Held([], []))


def _named(found: Held, collection: str | None) -> str:
    of = f" of collection {collection}" if collection is not None else ""
    return f"{counted(len(found.posts), 'post')} and {counted(len(found.imports), 'import')}{of}"
