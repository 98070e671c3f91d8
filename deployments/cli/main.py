"""The console script `tagtrail`: finds the command, and turns whatever happens into an exit status and one sentence."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Final

from cyclopts import App, CycloptsError, UnusedCliTokensError

from blocks.errors import NO_ROOM, TagtrailError, UsageError, is_full
from deployments.cli.terminal import flush, make_ready, nobody_reads, tell, tell_trace
from flows.steps.run.garbage import quick_to_load_and_to_end

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
HALTED: Final = 4
INTERRUPTED: Final = 130

HOME_OR_TEMPORARY: Final = "TAGTRAIL_HOME (or in the folder for temporary files)"
"""Where commands write, apart from what is named on the command line."""

COMMANDS: Final = {
    "demo": "The whole chain on the built-in sandbox: no account, no network.",
    "run": "Follow hashtags once, here: import, enrich, store.",
    "enrich": "Enrich given post URLs, without an import.",
    "doctor": "Check all that Tagtrail needs, and say what to do.",
    "refresh": "Measure known posts again, by the snapshot plan.",
    "status": "Open imports, pending posts, failures, spend.",
    "top": "The leading posts, of a hashtag or of all.",
    "export": "Write posts, snapshots, creators, comments, imports or failures.",
    "report": "One offline HTML file with tables and plots.",
    "resolve": "Decide an import whose submission ended in doubt.",
    "retry": "Take failures up again.",
    "reparse": "Rebuild rows from stored raw payloads, with a difference.",
    "purge": "Retention and erasure: posts, creators, all that is older.",
    "setup": "Make on a Prefect server what Tagtrail needs there.",
    "sandbox": "The sandbox API alone: a local server that answers like the real one.",
    "up": "The local stack in one command: Prefect server and UI, worker, deployments, receiver.",
    "receive": "The webhook receiver alone: the service's callbacks become events.",
    "down": "End what Tagtrail started in the background.",
}


def make_app(arguments: Sequence[str] = ()) -> App:
    """The command line; commands are named by import path, so that `--help` imports none of them.

    A text that is given here stands in the list of commands, and would replace the command's own longer help: so
    what `arguments` name gets none.
    """
    app = App(
        name="tagtrail",
        help="Follows hashtags: hosted import, enrichment, and a history of metrics in SQL.",
        version=lambda: version("tagtrail"),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )

    def short(name: str, text: str) -> str | None:
        return None if name in arguments else text

    for place, (name, text) in enumerate(COMMANDS.items()):
        app.command(f"deployments.cli.commands.{name}:{name}", name=name, help=short(name, text), sort_key=place)
    app.command("deployments.cli.commands.demo:demo_chain", name="demo-chain", show=False)
    database = App(name="db", help="The database's schema.", sort_key=len(COMMANDS))
    text = "Bring the schema to this version."
    database.command("deployments.cli.commands.db:upgrade", name="upgrade", help=short("upgrade", text))
    app.command(database)
    imports = App(name="import", help="The chain from other sources: post URLs, creators.", sort_key=2)
    for source, text in (("urls", "Import given posts, and enrich them."), ("creators", "Follow creators once.")):
        imports.command(f"deployments.cli.commands.imports:{source}", name=source, help=short(source, text))
    app.command(imports)
    return app


def call(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status.

    0 done · 1 failed · 2 wrong usage · 3 done, but something needs you · 4 halted · 130 interrupted.
    """
    verbose = "--verbose" in arguments
    try:
        _tell_odd_settings(arguments)
        status = make_app(arguments)(_joined(arguments), exit_on_error=False, print_error=False)
        flush()
    except UnusedCliTokensError as error:
        words = " ".join(error.unused_tokens or ())
        return _say(f"unexpected argument: {words}; --help shows what the command takes", WRONG_USAGE)
    except CycloptsError as error:
        error.verbose = False
        return _say(" ".join(str(error).split()), WRONG_USAGE)
    except UsageError as error:
        return _report(error, WRONG_USAGE, verbose=verbose)
    except TagtrailError as error:
        return _report(error, HALTED if error.halts else FAILED, verbose=verbose)
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        nobody_reads()
        return DONE
    except OSError as error:
        if not is_full(error):
            raise
        if verbose:
            tell_trace(error)
        return _say(f"{_what_found_no_room(error)} cannot be written: {NO_ROOM}", FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; what was bought so far is stored, and the same command continues", INTERRUPTED)
    return status if isinstance(status, int) else DONE


def _tell_odd_settings(arguments: Sequence[str]) -> None:
    """Say what is odd about the names of settings in the environment and `.env`; help needs no settings."""
    if not arguments or arguments[0] not in (*COMMANDS, "db", "import") or "--help" in arguments or "-h" in arguments:
        return
    from blocks.env_file import misspelt, redirected
    from blocks.settings import V1_BASE_URL, V2_BASE_URL, Settings

    usual = {"MEMORIES_V1_BASE_URL": V1_BASE_URL, "MEMORIES_V2_BASE_URL": V2_BASE_URL}
    for sentence in (*misspelt(Settings.model_fields), redirected(usual)):
        if sentence is not None:
            _say(sentence, DONE)


def _joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--file -` and `--output -` in one word each: a lone `-` would be taken for an option."""
    joined: list[str] = []
    for word in arguments:
        if word == "-" and joined and joined[-1] in ("--file", "--output"):
            joined[-1] += "=-"
        else:
            joined.append(word)
    return joined


def _what_found_no_room(error: OSError) -> str:
    """What could not be written because a disk is full; what standard output still holds has nowhere to go."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = sys.stdout.fileno()
        out, nowhere = os.fstat(descriptor), os.stat(os.devnull)
        device = stat.S_ISCHR(out.st_mode) and not os.isatty(descriptor) and out.st_rdev != nowhere.st_rdev
        on_full_disk = stat.S_ISREG(out.st_mode) and not os.fstatvfs(descriptor).f_bavail
        if error.filename is None and (device or on_full_disk):
            nobody_reads()
            return "standard output"
    return f"a file in {HOME_OR_TEMPORARY}" if error.filename is None else str(error.filename)


def main() -> int:
    """The console script: as `call`, and a fault of ours is one sentence too (Python then exits with 1)."""
    if "--verbose" not in sys.argv:
        sys.excepthook = _tell_a_fault
        # What is cut off by a fault may meet another one while it is thrown away.
        sys.unraisablehook = lambda _: None
    make_ready()
    if not _is_somewhere():
        return _say("the current folder is gone, or you may not enter it; change to another one", WRONG_USAGE)
    _have_a_home()
    quick_to_load_and_to_end()
    return call(sys.argv[1:])


def _is_somewhere() -> bool:
    """Whether there is a current folder: what is named without a path is looked for there, `.env` among it."""
    try:
        return os.access(os.getcwd(), os.X_OK)
    except OSError:
        return False


def _have_a_home() -> None:
    """Where the user has no home folder, as in containers, Tagtrail's is it: Prefect does not even load without one."""
    try:
        Path.home()
    except RuntimeError:
        from blocks.settings import get_settings

        with contextlib.suppress(UsageError):
            os.environ["HOME"] = str(get_settings().home)


def _tell_a_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _say(f"internal error (please report it): {kind.__name__}: {error}; --verbose shows where", FAILED)


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more (a socket may break as well)."""
    with contextlib.suppress(OSError, ValueError):
        pipe = select.poll()
        pipe.register(sys.stdout.fileno(), 0)
        return bool(pipe.poll(0))
    return False


def _report(error: TagtrailError, status: int, *, verbose: bool) -> int:
    if verbose:
        tell_trace(error)
    return _say(str(error), status)


def _say(sentence: str, status: int) -> int:
    tell(f"tagtrail: {sentence}")
    return status


if __name__ == "__main__":
    sys.exit(main())
