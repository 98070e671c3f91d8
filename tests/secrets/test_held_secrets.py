"""What holds a secret does not show it, and no error of the client repeats one, whatever the service answers."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, Final

import pytest
from pydantic import SecretStr

from blocks import errors
from blocks.database.credentials import TagtrailDatabase
from blocks.memories.client import MemoriesClient
from blocks.memories.credentials import MemoriesCredentials
from blocks.posts.identity import parse_post_url
from blocks.settings import Settings
from deployments.doctor.service import Account
from deployments.receiver.server import Address
from deployments.sandbox.faults import KINDS

pytestmark = pytest.mark.integration

POST: Final = "https://www.instagram.com/p/CxYz012abcE/"


def callback_url(alone: Any) -> str:
    return f"https://hooks.example.com/tagtrail/{alone.callback_secret}"


def test_nothing_that_holds_a_secret_shows_it(alone: Any) -> None:
    url = f"postgresql+psycopg://tagtrail:{alone.password}@127.0.0.1:1/tagtrail"
    key, secret, callback = SecretStr(alone.key), SecretStr(alone.callback_secret), callback_url(alone)
    where = {"v1_base_url": "http://127.0.0.1:1/v1", "v2_base_url": "http://127.0.0.1:1/v2"}
    held = [
        MemoriesClient(key, callback_url=callback, **where),
        Settings(memories_api_key=key, tagtrail_callback_secret=secret),
        MemoriesCredentials(api_key=key, callback_url="https://hooks.example.com", callback_secret=secret),
        TagtrailDatabase(url=SecretStr(url)),
    ]
    shown = [text for one in held for text in (repr(one), str(one), f"{one}", repr(vars(one)))]
    shown += [one.model_dump_json() for one in held[1:]]  # type: ignore[attr-defined]
    # These have slots and no `vars`.
    shown.append(repr(Settings(tagtrail_database_url=url)))
    shown += [repr(Account("tests", key, *where.values(), 1, callback)), repr(Address("http://x", f"/{secret}"))]
    for text in shown:
        assert not alone.secrets_found(text)
    assert alone.secrets_found(f"…{alone.key}…"), "the search finds"


@pytest.mark.parametrize("call", ["submit", "status", "metadata"])
async def test_no_error_of_the_client_holds_a_secret(alone: Any, call: str) -> None:
    """Each fault once, one after the other; those that are no error have to be known as such."""
    ref = parse_post_url(POST)
    key = {"submit": "moss", "status": "", "metadata": f"instagram:{ref.post_id}"}[call]
    # A body that drips is the one that is waited for, so once is enough.
    kinds = [kind for kind in KINDS if kind != "drip" or call == "metadata"]
    met = set()
    client = MemoriesClient(
        SecretStr(alone.key),
        v1_base_url=alone.sandbox.v1_base_url,
        v2_base_url=alone.sandbox.v2_base_url,
        timeout_seconds=2,
        callback_url=callback_url(alone),
    )
    async with client:
        for kind in kinds:
            alone.faults[call, key] = (kind, None)
            try:
                if call == "submit":
                    await client.import_hashtag("moss", 1, callback_url=callback_url(alone))
                elif call == "status":
                    await client.import_status("no-such-task")
                else:
                    await client.metadata(ref, "apify")
            except (errors.MemoriesError, errors.PayloadError) as error:
                met.add(kind)
                assert_silent(alone, error)
    assert {"bad", "key", "credits", "not_json", "reset", "html_500"} <= met
    assert set(alone.struck) == {f"{call} {kind}" for kind in kinds}


def assert_silent(alone: Any, error: BaseException | None) -> None:
    while error is not None:
        for text in (str(error), repr(error), repr(error.__dict__), *traceback.format_exception(error)):
            assert not alone.secrets_found(text)
        assert not alone.secrets_found(pickle.dumps(error).decode("latin-1"))
        error = error.__cause__ or error.__context__
