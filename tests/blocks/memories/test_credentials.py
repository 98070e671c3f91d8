"""Both blocks: Prefect's own standard tests, what they hand out, and what they never show."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect.testing.standard_test_suites import blocks as standard
from pydantic import ValidationError

from blocks.database.credentials import TagtrailDatabase
from blocks.errors import UsageError
from blocks.memories.client import MemoriesClient
from blocks.memories.credentials import MAX_CONNECTIONS, MemoriesCredentials
from blocks.settings import Settings
from tests.cases import each_case

KEY = "sk-mavi-invented-key-0123456789"


class Standard(BlockStandardTestSuite):
    """The suite as it is; only the look at the logo is answered here, for tests reach no network."""

    @pytest.fixture(autouse=True)
    def logo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def opened(url: str) -> io.BytesIO:
            assert url == str(Secret._logo_url)
            drawn = io.BytesIO()
            Image.new("RGB", (64, 64)).save(drawn, "PNG")
            drawn.seek(0)
            return drawn

        monkeypatch.setattr(standard, "urlopen", opened)


class TestMemoriesCredentialsByPrefect(Standard):
    @pytest.fixture
    def block(self) -> type[Block]:
        return MemoriesCredentials


class TestTagtrailDatabaseByPrefect(Standard):
    @pytest.fixture
    def block(self) -> type[Block]:
        return TagtrailDatabase


@each_case(
    ("block", "name", "slug", "secrets"),
    [
        (MemoriesCredentials, "Memories.ai Credentials", "memories-credentials", ["api_key", "callback_secret"]),
        (TagtrailDatabase, "Tagtrail Database", "tagtrail-database", ["url"]),
    ],
)
def test_names_and_secrets(block: type[Block], name: str, slug: str, secrets: list[str]) -> None:
    assert block.get_block_type_name() == name
    assert block.get_block_type_slug() == slug
    assert block.model_json_schema()["secret_fields"] == secrets
    assert "```" not in str(block.get_description())
    assert block._to_block_type().name == name


def test_old_documents_load() -> None:
    """A document that was saved when a block had its first field only."""
    block = MemoriesCredentials.model_validate({"api_key": KEY})
    settings = Settings(_env_file=None)
    assert block.v1_base_url == settings.memories_v1_base_url
    assert block.v2_base_url == settings.memories_v2_base_url
    assert block.timeout_seconds == settings.tagtrail_timeout_seconds
    assert TagtrailDatabase.model_validate({"url": "sqlite://"}).get_url() == "sqlite://"


def test_the_client_is_made_of_the_block() -> None:
    given: dict[str, Any] = {"v1_base_url": "http://127.0.0.1:9/one/", "v2_base_url": "http://127.0.0.1:9/two"}
    client = MemoriesCredentials(api_key=KEY, timeout_seconds=7, **given).get_client()
    assert isinstance(client, MemoriesClient)
    assert "one'" in repr(client)
    assert "two'" in repr(client)
    assert vars(client)["_timeout_seconds"] == 7


def test_the_clients_connections_are_no_bound() -> None:
    in_flight = Settings.model_fields["tagtrail_in_flight"].metadata
    assert max(bound.le for bound in in_flight if hasattr(bound, "le")) < MAX_CONNECTIONS


def test_wrong_fields() -> None:
    with pytest.raises(ValidationError):
        MemoriesCredentials(api_key=KEY, timeout_seconds=0)
    with pytest.raises(UsageError, match="MEMORIES_API_KEY is not set"):
        MemoriesCredentials(api_key="").get_client()
    with pytest.raises(UsageError, match="MEMORIES_V2_BASE_URL"):
        MemoriesCredentials(api_key=KEY, v2_base_url="api.example").get_client()


def test_secrets_are_shown_by_neither() -> None:
    for block, secret in (
        (MemoriesCredentials(api_key=KEY), KEY),
        (TagtrailDatabase(url="postgresql+psycopg://me:hidden@127.0.0.1/t"), "hidden"),
    ):
        for shown in (repr(block), str(block), block.model_dump_json(), str(block.model_dump())):
            assert secret not in shown


def test_a_block_sends_its_key_in_clear_only_where_this_machine_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("v1_base_url", "v2_base_url"):
        block = MemoriesCredentials(api_key=KEY, **{name: "http://api.example/v1"})
        with pytest.raises(UsageError, match=rf"{name.upper()} sends the key unencrypted to api\.example"):
            block.get_client()
        with monkeypatch.context() as patch:
            patch.setenv("TAGTRAIL_ALLOW_HTTP", "1")
            block.get_client()


@each_case("seconds", [0, -1, 3601, 1e300, float("inf"), float("nan")])
def test_a_blocks_timeout_has_bounds(seconds: float) -> None:
    with pytest.raises(ValidationError):
        MemoriesCredentials(api_key=KEY, timeout_seconds=seconds)
