"""Runs a flow in this process, against a real Prefect server, with its progress shown and Prefect silent."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from blocks.errors import NO_ROOM, TagtrailError, UsageError, is_full
from blocks.memories.requests import checked_base_url, checked_key
from blocks.outside_words import plain
from blocks.settings import Settings
from deployments.cli import account, servers, stores
from deployments.cli.options import Output
from deployments.cli.servers import PrefectServer
from deployments.cli.terminal import tell, tell_trace
from deployments.stack import own_server

if TYPE_CHECKING:
    from prefect import State

    from blocks.database.engine import Store
    from blocks.database.tables import Post
    from blocks.memories.credentials import MemoriesCredentials
    from deployments.stack.own_server import ServerInfo
    from flows.steps.run.progress import Progress
    from flows.steps.run.summary import RunSummary


LOOK_SECONDS: Final = 2.0
"""How often a run looks whether Tagtrail's own server is still there."""

TERMINATED: Final = 143


def require_key(settings: Settings) -> None:
    """Refuse to begin without a key and two base URLs, unless a block on the Prefect server in use may hold them.

    Raises:
        UsageError: there is no key, or what is there cannot be one, or no base URL.
    """
    no_block = servers.find(settings.home) is None
    if no_block:
        for name in ("memories_v1_base_url", "memories_v2_base_url"):
            checked_base_url(name.upper(), getattr(settings, name), allow_http=settings.tagtrail_allow_http)
    if key := settings.memories_api_key.get_secret_value():
        checked_key(key)
    elif no_block:
        raise UsageError("MEMORIES_API_KEY is not set; put your key there or in .env, or try `tagtrail demo`")


def connect(settings: Settings, *, buys: bool = True) -> tuple[PrefectServer, Settings]:
    """The Prefect server in use, with this process made ready for it, and the settings that hold on it.

    Blocks that are saved on it come before the settings, as they do for the flows: the database and the account.
    Names server and database in one line, and, for a command that `buys`, the API's host where it is not the vendor's.

    Raises:
        TagtrailError: Tagtrail's own server did not start, or the user's cannot be used; the database is damaged.
        UsageError: the home cannot be made; the saved account is not the sandbox that the settings name; the database
            holds the sandbox's posts, and the account is a real one.
    """
    configured = servers.configured()
    if configured is None or not settings.tagtrail_database_url:
        stores.make_home(settings.home)
    if configured is None:
        # A server is started for seconds: what would be in the way then is better said at once.
        stores.check(settings)
    server = servers.choose(settings.home, tell)
    server.into(os.environ)
    # What Prefect cannot write to its server is not to go to the terminal either, nor are its warnings.
    logging.raiseExceptions = False
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    url, block = _saved(server)
    if url is not None:
        settings = settings.model_copy(update={"tagtrail_database_url": url})
    service = account.service_of(settings, block)
    where = f" · API: {service.hosts}" if buys and not service.is_real else ""
    tell(f"Prefect server: {server.shown} · database: {stores.shown(settings)}{where}")
    if buys:
        if block is not None and (sentence := account.overruled(settings, block)) is not None:
            tell(sentence)
        account.must_not_mix(settings, service, tell)
    return server, settings


def _saved(server: PrefectServer) -> tuple[str | None, MemoriesCredentials | None]:
    """The database's URL and the account that are saved on the server as the blocks named default."""
    from prefect.client.orchestration import get_client

    from flows.steps.run.accounts import saved_account, saved_database_url

    async def ask() -> tuple[str | None, MemoriesCredentials | None]:
        async with get_client() as client:
            if (fault := await client.api_healthcheck()) is not None:
                raise _unreachable(server) from fault
        return await saved_database_url(), await saved_account()

    with server_faults(server):
        return asyncio.run(ask())


def _saved_database_url(server: PrefectServer) -> str | None:
    return _saved(server)[0]


def where_runs_are(settings: Settings) -> tuple[PrefectServer | None, Settings]:
    """As `connect`, for a command that runs nothing: no server is started, None where there is none.

    This process is made ready for the server; a database block that is saved on it comes before the settings.

    Raises:
        TagtrailError: the user's own server cannot be used, and so nobody can say which database its runs use.
    """
    server = servers.find(settings.home)
    if server is None:
        return None, settings
    server.into(os.environ)
    if (url := _saved_database_url(server)) is not None:
        settings = settings.model_copy(update={"tagtrail_database_url": url})
    return server, settings


def run_flow(
    entrypoint: str, parameters: dict[str, Any], *, server: PrefectServer, expected: int, output: Output
) -> RunSummary:
    """Call the flow `module:name` on a server that `connect` gave; `expected` posts at most.

    Raises:
        TagtrailError: the run ended before it had a result, for one because the server cannot be reached.
    """
    from deployments.cli.progress import shown
    from flows.steps.run.progress import Progress, watch

    module, _, name = entrypoint.partition(":")
    progress = Progress()
    outcome: object = None
    fault: TagtrailError | None = None
    # Prefect is imported here, under the picture: it takes a second or more.
    with shown(progress, expected=expected, quiet=output.json), _kept_alive(server), watch(progress):
        flow = getattr(importlib.import_module(module), name)
        try:
            with server_faults(server):
                outcome = _run(flow, parameters)
        except TagtrailError as error:
            fault = error
    if progress.ended_by == signal.SIGINT:
        raise KeyboardInterrupt
    if progress.ended_by is not None:
        _tell_ended()
    if fault is not None:
        return _sums_despite(fault, progress)
    if isinstance(outcome, BaseException) and not _told_by_its_summary(outcome):
        _tell_fault(outcome, verbose=output.verbose)
    if progress.summary is None:
        raise TagtrailError(f"the run ended without a result; the Prefect server {server.shown} holds its log")
    if progress.summary.wrong_usage:
        # Refused before anything was opened: the sentence is all there is to it.
        raise UsageError(progress.summary.message)
    return progress.summary


def _sums_despite(fault: TagtrailError, progress: Progress) -> RunSummary:
    """The run's result where the Prefect server failed it: what was bought is stored, and its sums are known.

    Raises:
        TagtrailError: the fault, with what was counted until then, where the run had no result yet.
    """
    if progress.summary is not None:
        outcome = "halted" if progress.summary.outcome == "halted" else "failed"
        tell(f"tagtrail: {fault}")
        return progress.summary.model_copy(update={"outcome": outcome})
    if not progress.found and not progress.imports_open:
        raise fault
    raise TagtrailError(
        f"{fault}. Until then: {progress.found:,} posts found, {progress.enriched:,} enriched, {progress.failed:,} "
        f"failed, {progress.gone:,} gone, about {progress.spent_usd:.2f} USD; `tagtrail status` shows what is stored"
    ) from fault


def _run(flow: Callable[..., Awaitable[State[Any]]], parameters: dict[str, Any]) -> object:
    from prefect.exceptions import TerminationSignal

    try:
        return asyncio.run(_outcome(flow, parameters))
    except (TerminationSignal, asyncio.CancelledError) as ended:
        # By a signal: before the run heard of it, or heard by the run.
        return ended


async def _outcome(flow: Callable[..., Awaitable[State[Any]]], parameters: dict[str, Any]) -> object:
    """What the flow returned, or the exception that broke it."""
    state = await flow(**parameters, return_state=True)
    return await state.aresult(raise_on_failure=False)


def _told_by_its_summary(outcome: BaseException) -> bool:
    """Whether the run ended in order, halted or failed: its summary says why, as the command's result."""
    from flows.steps.run.summary import RunEnded

    return isinstance(outcome, RunEnded)


def _tell_fault(fault: BaseException, *, verbose: bool) -> None:
    """What broke a run that is nobody's fault but ours; its result follows all the same."""
    from prefect.exceptions import TerminationSignal

    if isinstance(fault, TerminationSignal):
        _tell_ended()
    if verbose:
        tell_trace(fault)
    elif isinstance(fault, OSError) and is_full(fault):
        tell(f"tagtrail: {fault.filename or 'a file'} cannot be written: {NO_ROOM}")
    else:
        tell(f"tagtrail: internal error (please report it): {type(fault).__name__}: {fault}; --verbose shows where")


def _tell_ended() -> NoReturn:
    """A signal ended the command, which is no fault."""
    tell(
        "tagtrail: ended from outside; what was bought so far is stored, what is left is held, and the same command "
        "continues"
    )
    raise SystemExit(TERMINATED)


@contextmanager
def _kept_alive(server: PrefectServer) -> Iterator[None]:
    """Start Tagtrail's own server again, once, if it dies under a run: without it the run's end waits for minutes."""
    own = server.own
    if own is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if own_server.recorded(own.home) is None:
                if own_server.ended_on_purpose(own.home):
                    tell("Tagtrail's Prefect server was ended under this run, which therefore takes longer to end.")
                    return
                with suppress(TagtrailError):
                    own_server.ensure(own.home, tell)
                return

    thread = threading.Thread(target=look, name="tagtrail-server-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def server_faults(server: PrefectServer) -> Iterator[None]:
    """Say in a sentence that the Prefect server cannot be used; Prefect raises these before a run begins."""
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status >= 500 and server.own is not None:
            raise _own_fault(server.own, f"answers with HTTP {status}") from error
        what = "does not accept your credentials" if status in (401, 403) else f"answers with HTTP {status}"
        raise TagtrailError(f"the Prefect server {server.shown} {what}; mend {_SETTINGS}, or {_UNSET}") from error
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        raise _unreachable(server) from error


def _own_fault(own: ServerInfo, what: str) -> TagtrailError:
    """What is wrong with Tagtrail's own server, which nobody else can mend: mostly its disk."""
    log = own_server.log_file(own.home)
    message = f"Tagtrail's own Prefect server {what}; its log is {log}; run the same command again"
    return TagtrailError(own_server.full_disk(own.home) or message)


def _unreachable(server: PrefectServer) -> TagtrailError:
    if server.own is not None:
        return _own_fault(server.own, "cannot be reached")
    return TagtrailError(f"the Prefect server {server.shown} cannot be reached; start it, or {_UNSET}")


_SETTINGS: Final = "PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
_UNSET: Final = "unset PREFECT_API_URL (or leave the profile) to have Tagtrail use a server of its own"


def finish(summary: RunSummary, *, server: PrefectServer, settings: Settings, output: Output) -> int:
    """Write a run's result, with the leading posts of its collection, and return its exit status."""
    from deployments.cli.results import next_steps, tell_result

    leading: Sequence[Post] = []
    failed: list[str] = []
    names: dict[str, str] = {}
    if not output.json and (summary.requested or summary.imports):
        with stores.opened(settings, quiet=True) as store:
            if store is not None:
                leading, failed = leading_posts(store, summary), failed_posts(store, summary)
                names = import_names(store, summary)
    where = [*failed, *where_to_look(settings, server, next_steps(summary))]
    tell_result(summary, leading, where=where, json=output.json, names=names)
    return summary.exit_status


def import_names(store: Store, summary: RunSummary) -> dict[str, str]:
    """What the imports of creators are called on this terminal; the summary, which Prefect keeps, names nobody."""
    from blocks.database.store import imports
    from blocks.dedup_keys import import_shown

    ids = [one.import_id for one in summary.imports if one.kind == "creator"]
    with store.connect() as conn:
        rows = [imports.get(conn, one) for one in ids]
    return {row.import_id: import_shown(row.kind, row.hashtag, row.wanted, row.import_id) for row in rows}


MAX_FAILED: Final = 3


def failed_posts(store: Store, summary: RunSummary) -> list[str]:
    """The first posts that this run gave up, each with the reason."""
    from blocks.database.store.failures import find

    if not summary.failed:
        return []
    with store.connect() as conn:
        rows = find(conn, run_id=summary.run_id, limit=MAX_FAILED)
    more = summary.failed - len(rows)
    sentences = [f"Failed: {plain(f'{row.url}: {row.message}' if row.url else row.message)}" for row in rows]
    return sentences + ([f"… and {more:,} more."] if more > 0 else [])


LEADING: Final = 5


def leading_posts(store: Store, summary: RunSummary) -> list[Post]:
    """The five posts with the most plays among those that this run measured; with the most likes, without plays."""
    if summary.enriched <= summary.fresh:
        return []
    return _leading(store, summary, "plays") or _leading(store, summary, "likes")


def _leading(store: Store, summary: RunSummary, metric: str) -> list[Post]:
    from blocks.database.store.overview import top

    limit = 200
    with store.connect() as conn:
        while True:
            # Ever more of the collection, until enough of it is of this run.
            found = top(conn, metric=metric, collection=summary.collection, limit=limit)
            ours = [post for post in found if post.run_id == summary.run_id]
            if len(ours) >= LEADING or len(found) < limit:
                return ours[:LEADING]
            limit *= 10


def where_to_look(settings: Settings, server: PrefectServer, next_: str) -> list[str]:
    """Where the data and the run can be seen, and what is next."""
    lines = [f"Database: {stores.shown(settings)}", f"Next: {next_}"]
    if server.own is not None:
        auth = own_server.auth_file(server.own.home)
        lines.append(f"Prefect UI: {server.own.url} (it asks for the string in {auth}); `tagtrail down` ends it")
    return lines
