"""Which Prefect server a command works with, found without importing Prefect."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings, SettingsConfigDict

from blocks import network
from blocks.errors import UsageError
from deployments.stack import own_server
from deployments.stack.own_server import ServerInfo

EXAMPLE = "http://127.0.0.1:4200/api"

LOGGING_FILE = Path(__file__).with_name("prefect_logging.yml")


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """A server in use: `shown` names it for the user, `own` is set when it is Tagtrail's own."""

    shown: str
    own: ServerInfo | None = None
    is_here: bool = True
    api_url: str = ""

    @classmethod
    def configured(cls, url: str, where: str) -> PrefectServer:
        """The user's own server."""
        is_here = network.is_here(urlsplit(url).hostname)
        return cls(f"{_without_password(url)} ({where})", is_here=is_here, api_url=url)

    @classmethod
    def of_our_own(cls, info: ServerInfo) -> PrefectServer:
        """Tagtrail's own server."""
        return cls(f"{info.url} (Tagtrail's own)", info, api_url=info.api_url)

    def into(self, environ: MutableMapping[str, str]) -> None:
        """Make Prefect, once imported, work with this server, and keep off the terminal.

        Raises:
            UsageError: the server is on another machine, and a variable about proxies or certificates cannot be used.
        """
        if self.is_here:
            network.set_aside(environ)
        else:
            network.mend(environ)
        if self.own is not None:
            for name in [name for name in environ if name.startswith("PREFECT_")]:
                del environ[name]
            environ.update(own_server.env_for(self.own))
        environ["DO_NOT_TRACK"] = "1"
        # A server that cannot be reached is an error, not a reason to start an ephemeral one.
        environ["PREFECT_SERVER_EPHEMERAL_ENABLED"] = "false"
        environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"
        environ["PREFECT_LOGGING_CONFIG_PATH"] = str(LOGGING_FILE)


class _PrefectSettings(BaseSettings):
    """What Prefect itself would read from the environment or `.env`."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True)

    prefect_api_url: str = ""
    prefect_home: str = ""
    prefect_profiles_path: str = ""


def choose(home: Path, announce: Callable[[str], None]) -> PrefectServer:
    """The user's server if one is configured, else Tagtrail's own, started if need be.

    Raises:
        TagtrailError: Tagtrail's own server did not start.
        UsageError: the user's profiles cannot be read.
    """
    return find(home) or PrefectServer.of_our_own(own_server.ensure(home, announce))


def find(home: Path) -> PrefectServer | None:
    """As `choose`, but none is started: None where the user configured none and Tagtrail's own does not run.

    Raises:
        UsageError: the user's profiles cannot be read.
    """
    if (found := configured()) is not None:
        return PrefectServer.configured(*found)
    own = own_server.running(home)
    return None if own is None else PrefectServer.of_our_own(own)


def configured() -> tuple[str, str] | None:
    """The API URL that the user configured for Prefect, and where; None if nowhere.

    Raises:
        UsageError: what is configured is no URL, or a file of Prefect's cannot be read.
    """
    found = _configured()
    if found is not None and not re.match(r"https?://[^/\s]", found[0], re.IGNORECASE):
        url, where = found
        raise UsageError(f"{where} names {url} as the Prefect API; it has to be a URL such as {EXAMPLE}")
    return found


def _configured() -> tuple[str, str] | None:
    settings = _PrefectSettings()
    if settings.prefect_api_url:
        return settings.prefect_api_url, "PREFECT_API_URL"
    for file, path in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        table = _toml(Path(file))
        for key in (*path, "api"):
            table = table.get(key, {})
        if isinstance(url := table.get("url"), str) and url:
            return url, file
    try:
        home = Path(settings.prefect_home or "~/.prefect").expanduser()
    except RuntimeError:
        # Nobody's profiles: this user has no home folder.
        return None
    profiles = _toml(Path(settings.prefect_profiles_path or home / "profiles.toml"))
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
    url = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return (str(url), f"profile {active}") if url else None


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); mend it, or set PREFECT_API_URL") from None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
