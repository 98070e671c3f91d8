"""`tagtrail receive`: the webhook receiver alone, in the foreground."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated

from blocks.database.engine import open_store
from blocks.errors import TagtrailError, UsageError
from blocks.settings import Settings, get_settings
from deployments.cli import running, servers, stores
from deployments.cli.options import Loud, Whole
from deployments.cli.terminal import tell
from deployments.receiver.outbox_relay import PrefectSender
from deployments.receiver.server import DEFAULT_PORT, address_of, serve
from deployments.serving import PortTaken
from deployments.stack.process import check_port

SHORT_SECRET = 16


def receive(
    *,
    port: Annotated[int, Whole] = DEFAULT_PORT,
    host: str = "127.0.0.1",
    loud: Loud = Loud(),
) -> int:
    """Take the service's callbacks in until Ctrl-C, at the path of TAGTRAIL_CALLBACK_URL plus the secret.

    Each becomes a row of the inbox and an event of the Prefect server, which the automation "Tagtrail: collect on
    callback" waits for. GET /health answers 200. The service needs an HTTPS address on the internet: put a proxy in
    front, which hands the path on as it is and does not log it, for the secret is in it.

    Parameters
    ----------
    port
        Where it listens; 0 takes a free port.
    host
        The address of this machine on which it listens; 0.0.0.0 for all of them.
    """
    check_port(port, option="--port", least=0)
    settings = get_settings()
    address = address_of(settings)
    settings = _connected(settings)
    if len(settings.tagtrail_callback_secret.get_secret_value()) < SHORT_SECRET:
        tell(f"TAGTRAIL_CALLBACK_SECRET is short: with fewer than {SHORT_SECRET} characters it can be guessed.")
    # A request for each call of the Prefect server is nobody's news.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    store = open_store(settings.database_url, create=True)
    try:
        serve(
            address,
            store,
            PrefectSender(),
            host=host,
            port=port,
            say=_log,
            announce=lambda taken: tell(
                f"Callbacks for {address.base_url}/… are received on {host}:{taken} (health: /health); Ctrl-C ends it."
            ),
        )
    except PortTaken as error:
        raise UsageError(str(error.strerror)) from None
    except OSError as error:
        raise UsageError(f"--host: {host} cannot be listened on ({error.strerror or error})") from None
    finally:
        store.close()
    return 0


def _connected(settings: Settings) -> Settings:
    """The settings with the database that the flows use; a Prefect server that is away is no reason not to begin.

    Raises:
        TagtrailError: it is away, and nobody says which database is meant.
    """
    try:
        return running.connect(settings, buys=False)[1]
    except UsageError:
        raise
    except TagtrailError as error:
        if servers.configured() is None or not settings.tagtrail_database_url:
            raise
        tell(f"tagtrail: {error}. Until it answers, callbacks wait in the inbox of {stores.shown(settings)}.")
        return settings


def _log(line: str) -> None:
    tell(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
