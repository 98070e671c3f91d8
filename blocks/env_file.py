"""The `.env` of the current folder and the names of settings, looked at before the settings are made of them."""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from blocks.errors import UsageError
from blocks.network import SET_ASIDE

ENV_FILE: Final = Path(".env")

PREFIXES: Final = ("TAGTRAIL_", "MEMORIES_")
"""What the names of settings begin with."""

_OTHERS: Final = ("TAGTRAIL_TEST_", "TAGTRAIL_STACK")
"""Names of the tests, and of the processes of `tagtrail up`; none is a setting."""
_OTHER_NAMES: Final = ("TAGTRAIL_RUNS_PER_WORKER", "TAGTRAIL_WORK_POOL", SET_ASIDE)
"""Names that the containers read, and what a process hands on to its children."""


def names_in_file(path: Path = ENV_FILE) -> list[str]:
    """The names that the file sets, in its order; none where there is no file.

    Raises:
        UsageError: it cannot be read; the sentence names the file and the line, never what stands there.
    """
    if not path.is_file():
        return []
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path.absolute()} cannot be read ({error.strerror}); it may hold settings") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path.absolute()}, line {line}: this is no UTF-8 text; save the file as UTF-8") from None
    found = list(parse_stream(io.StringIO(text)))
    wrong = next((one.original for one in found if one.error), None)
    if wrong is not None:
        # What was read begins with the empty lines before it.
        line = wrong.line + len(wrong.string) - len(wrong.string.lstrip("\r\n"))
        raise UsageError(f"{path.absolute()}, line {line}: this cannot be read; a line is NAME=value, or begins with #")
    return [one.key for one in found if one.key is not None]


def redirected(usual: Mapping[str, str], path: Path = ENV_FILE) -> str | None:
    """A sentence where the file sends a key elsewhere that it does not hold itself; None where it does not.

    Whoever wrote the file need not be who exported the key. `usual`: names of base URLs, and where they point by
    themselves.

    Raises:
        UsageError: the file cannot be read.
    """
    environ = {name.upper() for name, value in os.environ.items() if value}
    if "MEMORIES_API_KEY" not in environ or not names_in_file(path):
        return None
    in_file = {name.upper(): value for name, value in dotenv_values(path, encoding="utf-8").items() if value}
    named = {name: in_file[name] for name in usual if name in in_file and name not in environ}
    hosts = {name: _host(url) for name, url in named.items() if _host(url) != _host(usual[name])}
    if not hosts:
        return None
    where = " and ".join(dict.fromkeys(hosts.values()))
    return f"{path.absolute()} sets {' and '.join(hosts)}: the key of the environment goes to {where}"


def _host(url: str) -> str:
    host = url.partition("//")[2].partition("/")[0].rpartition("@")[2]
    return "".join(letter for letter in host[:100] if letter.isprintable())


def misspelt(settings: Iterable[str], path: Path = ENV_FILE) -> list[str]:
    """A sentence for each name in the environment or the file that looks like a setting and is none of `settings`.

    Names that begin with MEMORIES_ may be another program's: they are named only where they are near to one of ours.

    Raises:
        UsageError: the file cannot be read.
    """
    known = {name.upper() for name in settings}
    found = []
    for name in dict.fromkeys(name.upper() for name in (*sorted(os.environ), *names_in_file(path))):
        if not name.startswith(PREFIXES) or name in known:
            continue
        if name.startswith(_OTHERS) or name in _OTHER_NAMES:
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7) or sorted(
            one for one in known if one.startswith(f"{name}_")
        )
        if near:
            found.append(f"{name} is no setting; did you mean {near[0]}?")
        elif name.startswith("TAGTRAIL_"):
            found.append(f"{name} is no setting; the README lists them")
    return found
