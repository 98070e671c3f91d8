"""Settings: wrong ones are refused in one plain sentence that names the setting, and no secret is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.env_file import misspelt, redirected
from blocks.errors import UsageError
from blocks.settings import V1_BASE_URL, V2_BASE_URL, Settings, get_settings
from tests.cases import each_case


def refused(name: str, value: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        with pytest.raises(UsageError) as caught:
            get_settings()
    assert caught.value.__cause__ is None
    return str(caught.value)


@each_case(
    ("value", "said"),
    [
        ('{"metadata": {"tiktok/apify": -1}}', '"metadata.tiktok/apify" has to be 0 or more'),
        ('{"metadata_default": -0.01}', '"metadata_default" has to be 0 or more'),
        ('{"import_post": -1}', '"import_post" has to be 0 or more'),
        ('{"import_post": NaN}', '"import_post" has to be a number'),
        ('{"metadata": {"tiktok/apify": "much"}}', '"metadata.tiktok/apify" has to be a number'),
        ('{"metadata": {"tiktok/apfy": 1}}', '"tiktok/apfy" names no price'),
        ('{"metadata": {"vine": 1}}', '"vine" names no price'),
        ('{"metadata": {"/rapid": 1}}', '"/rapid" names no price'),
        ('{"metadata": {"youtube/": 1}}', '"youtube/" names no price'),
        ('{"metadata": 3}', '"metadata" has to be a JSON object'),
        ('{"metdata": {}}', 'there is no entry "metdata"; the entries are import_post, metadata_default, metadata'),
        ('{"metadata": {"x": 1e-7}}', '"metadata.x" has to be 0, or 0.000001 US dollars or more'),
        ('{"import_post": 4e-7}', '"import_post" has to be 0, or 0.000001 US dollars or more'),
        ('{"import_post": 1e300}', '"import_post" has to be 1,000 or less'),
        ('{"metadata_default": Infinity}', '"metadata_default" has to be '),
        ("3", "it has to be a JSON object"),
        ("{import_post: 0.0413}", "this is no JSON"),
    ],
)
def test_prices_that_cannot_be_meant(value: str, said: str) -> None:
    sentence = refused("TAGTRAIL_PRICES", value)
    assert sentence.startswith(f"TAGTRAIL_PRICES: {said}")
    assert "0.0413" not in sentence
    assert "Input should" not in sentence


def test_prices_by_cell_channel_and_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = '{"metadata": {"tiktok/memories.ai": 0.03, "rapid": 0, "x": 0.02}, "metadata_default": 0.05}'
    monkeypatch.setenv("TAGTRAIL_PRICES", cells)
    prices = get_settings().tagtrail_prices
    asked = [("tiktok", "memories.ai"), ("x", "rapid"), ("x", "apify"), ("tiktok", "apify")]
    assert [prices.metadata_micros(*cell) for cell in asked] == [30_000, 0, 20_000, 50_000]


@each_case(
    ("name", "value", "said"),
    [
        ("TAGTRAIL_IN_FLIGHT", "many", "it has to be a whole number"),
        ("TAGTRAIL_IN_FLIGHT", "501", "it has to be 500 or less"),
        ("TAGTRAIL_TIMEOUT_SECONDS", "0", "it has to be 1 or more"),
        ("TAGTRAIL_IMPORTS_PER_MINUTE", "1e-300", "it has to be 0.01 or more"),
        ("TAGTRAIL_MAX_SPEND_USD_PER_RUN", "inf", "it has to be 1,000,000,000 or less"),
        ("TAGTRAIL_MAX_SPEND_USD_PER_DAY", "0.0000001", "it has to be 0, or 0.000001 US dollars or more"),
        ("TAGTRAIL_SNAPSHOT_AGES", "1h,999999d", "an age of the plan is at most 3650d"),
        ("TAGTRAIL_TIMEOUT_SECONDS", "soon", "it has to be a number"),
        ("TAGTRAIL_MAX_SPEND_USD_PER_RUN", "-3", "it has to be 0 or more"),
        ("TAGTRAIL_MAX_SPEND_USD_PER_DAY", "lots", "it has to be a number"),
        ("TAGTRAIL_COMMENTS", "hide", "it has to be one of 'pseudonymise', 'keep' or 'drop'"),
        ("TAGTRAIL_CHANNEL_ORDER", "apify,apfy", "name one or more of apify, rapid, memories.ai"),
        ("MEMORIES_V1_BASE_URL", "ftp://x", "a base URL starts with https://"),
    ],
)
def test_a_wrong_setting_is_named_and_explained(name: str, value: str, said: str) -> None:
    assert refused(name, value).startswith(f"{name}: {said}")


NUMBERS = [
    name
    for name, field in Settings.model_fields.items()
    if any(kind in str(field.annotation) for kind in ("float", "int")) and "Prices" not in str(field.annotation)
]


@each_case("value", ["inf", "-inf", "nan", "1e300", "-1", "9" * 400])
@each_case("name", NUMBERS)
def test_every_number_has_bounds(name: str, value: str) -> None:
    assert len(NUMBERS) > 15
    assert refused(name.upper(), value).startswith(f"{name.upper()}: ")


def test_no_secret_is_printed() -> None:
    settings = Settings(
        memories_api_key="hush-1",
        tagtrail_callback_secret="hush-2",
        tagtrail_database_url="postgresql://kites:hush-3@db.example/kites",
    )
    assert "hush" not in f"{settings!r} {settings}"
    assert settings.database_url.endswith("hush-3@db.example/kites")


@each_case(
    ("text", "line"),
    [
        (b"MEMORIES_API_KEY=hush\n\n\nthis is no assignment\n", 4),
        (b"some words here\n" * 300, 1),
        (b"TAGTRAIL_HOME='never closed\nmore\n", 1),
    ],
)
def test_a_broken_env_file_is_one_sentence_with_its_line(
    text: bytes, line: int, caplog: pytest.LogCaptureFixture
) -> None:
    Path(".env").write_bytes(text)
    with pytest.raises(UsageError, match=rf"/\.env, line {line}: this cannot be read; a line is NAME=value") as caught:
        get_settings()
    assert "hush" not in str(caught.value)
    assert not caplog.records


def test_an_env_file_in_another_encoding_is_one_sentence_with_its_line() -> None:
    Path(".env").write_bytes("A=1\r\n# Schlüssel\r\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"/\.env, line 2: this is no UTF-8 text"):
        get_settings()


def test_env_files_of_the_usual_forms_are_read() -> None:
    Path(".env").write_bytes(
        b'\n# mine\nexport TAGTRAIL_ACCOUNT="a-b" # ours\nOTHER\nTAGTRAIL_HOME=/srv/\xc3\xa9t\xc3\xa9'
    )
    settings = get_settings()
    assert settings.tagtrail_account == "a-b"


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    settings = get_settings()
    assert not settings.model_fields_set
    assert settings.tagtrail_home == Path("~/.tagtrail")
    assert settings.tagtrail_max_spend_usd_per_run == 5
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND_USD_PER_RUN", "none")
    assert get_settings().tagtrail_max_spend_usd_per_run is None


def test_names_that_are_no_settings_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "TAGTRAIL_MAX_SPEND_USD_PER_RUNS", "TAGTRAIL_MAX_SPEND", "TAGTRAIL_COLOUR_OF_THE_SKY", "MEMORIES_V1_BASEURL",
        "MEMORIES_OF_OTHERS", "TAGTRAIL_TEST_PICTURES", "TAGTRAIL_STACK", "TAGTRAIL_WORK_POOL", "TAGTRAIL_ACCOUNT",
    ):  # fmt: skip
        monkeypatch.setenv(name, "1")
    Path(".env").write_text("TAGTRAIL_HOMES=/x\ntagtrail_home=/x\n", encoding="utf-8")
    assert misspelt(Settings.model_fields) == [
        "MEMORIES_V1_BASEURL is no setting; did you mean MEMORIES_V1_BASE_URL?",
        "TAGTRAIL_COLOUR_OF_THE_SKY is no setting; the README lists them",
        "TAGTRAIL_MAX_SPEND is no setting; did you mean TAGTRAIL_MAX_SPEND_USD_PER_RUN?",
        "TAGTRAIL_MAX_SPEND_USD_PER_RUNS is no setting; did you mean TAGTRAIL_MAX_SPEND_USD_PER_RUN?",
        "TAGTRAIL_HOMES is no setting; did you mean TAGTRAIL_HOME?",
    ]


USUAL = {"MEMORIES_V1_BASE_URL": V1_BASE_URL, "MEMORIES_V2_BASE_URL": V2_BASE_URL}


def test_a_file_that_sends_an_exported_key_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redirected(USUAL) is None
    Path(".env").write_text(f"memories_v1_base_url=https://u:p@else.example/v1\nMEMORIES_V2_BASE_URL={V2_BASE_URL}\n")
    assert redirected(USUAL) is None, "no key is exported"
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    said = redirected(USUAL)
    assert said is not None
    assert said.endswith("/.env sets MEMORIES_V1_BASE_URL: the key of the environment goes to else.example")
    monkeypatch.setenv("MEMORIES_V1_BASE_URL", V1_BASE_URL)
    assert redirected(USUAL) is None, "the environment decides"


@each_case(("value", "meant"), [("1", True), ("0", False), ("true", True), ("", False)])
def test_a_switch(value: str, meant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_ALLOW_HTTP", value)
    assert get_settings().tagtrail_allow_http is meant
    assert refused("TAGTRAIL_ALLOW_HTTP", "perhaps") == "TAGTRAIL_ALLOW_HTTP: it has to be 1 or 0"
