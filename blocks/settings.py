"""Settings of Tagtrail, read from the environment or `.env`; made when asked for, never at import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from blocks.env_file import ENV_FILE, names_in_file
from blocks.errors import UsageError
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import CHANNELS, Channel
from blocks.posts.snapshot_plan import SnapshotPlan, parse_ages

V1_BASE_URL = "https://api.memories.ai/serve/api/v1"
V2_BASE_URL = "https://mavi-backend.memories.ai/serve/api/v2"

LEAST_USD = 0.000_001
"""Money is counted in millionths of a US dollar: less would round to nothing."""

MAX_PRICE_USD, MAX_CAP_USD = 1_000.0, 1_000_000_000.0
MAX_RATE = 100_000.0
MAX_HOURS = 876_000.0
"""Ages and times of re-use are no longer than a hundred years: dates before the year 1 cannot be written."""

DAY_SECONDS = 86_400.0


def _no_less_than_a_millionth(value: float) -> float:
    if 0 < value < LEAST_USD:
        raise PydanticCustomError("too_little_money", "less than a millionth")
    return value


Usd = Annotated[float, Field(ge=0, le=MAX_PRICE_USD, allow_inf_nan=False), AfterValidator(_no_less_than_a_millionth)]

CommentPolicy = Literal["pseudonymise", "keep", "drop"]


class Prices(BaseModel, extra="forbid"):
    """What a call costs, in US dollars; all defaults are estimates, for the vendor prints no price list.

    `metadata` may name single cells as `platform/channel` (`{"youtube/rapid": 0.02}`), a channel or a
    platform alone; the most exact entry wins, then `metadata_default`.
    """

    import_post: Usd = Field(default=0.01, description="One imported post.")
    metadata_default: Usd = Field(default=0.01, description="One metadata call.")
    metadata: dict[str, Usd] = Field(default_factory=dict, description="Metadata calls by cell.")

    @field_validator("metadata")
    @classmethod
    def _are_cells(cls, value: dict[str, float]) -> dict[str, float]:
        for cell in value:
            platform, slash, channel = cell.partition("/")
            if cell not in (*CHANNELS, *PLATFORMS) and not (slash and platform in PLATFORMS and channel in CHANNELS):
                raise ValueError(
                    f'"{cell}" names no price: give a platform ({", ".join(PLATFORMS)}), a channel '
                    f"({', '.join(CHANNELS)}) or both as platform/channel"
                )
        return value

    def import_micros(self, posts: int) -> int:
        """The price of an import of `posts` posts, in millionths of a US dollar."""
        return round(self.import_post * 1_000_000) * posts

    def metadata_micros(self, platform: str, channel: str) -> int:
        """The price of one metadata call, in millionths of a US dollar."""
        for cell in (f"{platform}/{channel}", channel, platform):
            if cell in self.metadata:
                return round(self.metadata[cell] * 1_000_000)
        return round(self.metadata_default * 1_000_000)

    def cheapest_micros(self, channels: Sequence[Channel]) -> dict[str, int]:
        """The price of the cheapest metadata call through one of the channels, by platform."""
        return {one: min(self.metadata_micros(one, channel) for channel in channels) for one in PLATFORMS}


def _channels(value: Any) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not value or any(part not in CHANNELS for part in value) or len(set(value)) != len(value):
        raise ValueError(f"name one or more of {', '.join(CHANNELS)}, separated by commas, each once")
    return tuple(value)


def _cap(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("none", "") else value


TrendingTimes = Annotated[float, Field(gt=1, le=1_000_000)]
_CapUsd = Annotated[float, Field(ge=0, le=MAX_CAP_USD), AfterValidator(_no_less_than_a_millionth)]
Cap = Annotated[_CapUsd | None, BeforeValidator(_cap)]


class Settings(BaseSettings):
    """All settings by their public names (upper case in the environment)."""

    # An empty value is none: TAGTRAIL_HOME= does not mean the current folder, nor an empty cap no cap (`none` does).
    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
    )

    memories_api_key: SecretStr = Field(default=SecretStr(""), description="The API key; sent bare, without Bearer.")
    memories_v1_base_url: str = Field(default=V1_BASE_URL, description="Where imports are asked for.")
    memories_v2_base_url: str = Field(default=V2_BASE_URL, description="Where metadata is asked for.")
    tagtrail_allow_http: bool = Field(
        default=False, description="1: the key may go unencrypted, over `http://`, to another machine."
    )
    tagtrail_account: str = Field(
        default="",
        description="What the account is called in the database, the same for all its keys; empty: a name of the key.",
    )
    tagtrail_home: Path = Field(
        default=Path("~/.tagtrail"), description="Folder of the database, logs and the local server."
    )
    tagtrail_database_url: str = Field(  # It may hold a password.
        default="", repr=False, description="SQLAlchemy URL; empty: a SQLite file in the home."
    )
    tagtrail_imports_per_minute: float = Field(
        default=1, ge=0.01, le=MAX_RATE, description="Imports submitted, per account."
    )
    tagtrail_status_per_second: float = Field(
        default=1, ge=0.001, le=MAX_RATE, description="Polls of imports, per account."
    )
    tagtrail_metadata_per_second: float = Field(
        default=10, ge=0.001, le=MAX_RATE, description="Metadata calls, per account and channel."
    )
    tagtrail_poll_seconds: float = Field(
        default=5, ge=0.01, le=3600, description="First interval between polls of an import."
    )
    tagtrail_import_quiet_seconds: float = Field(
        default=120, ge=0, le=DAY_SECONDS, description="No new post for so long after the first: finished."
    )
    tagtrail_import_deadline_seconds: float = Field(
        default=900, gt=0, le=7 * DAY_SECONDS, description="An import is given up after so long."
    )
    tagtrail_import_reuse_hours: float = Field(
        default=6, ge=0, le=MAX_HOURS, description="A like import younger than this is used again."
    )
    tagtrail_max_age_hours: float = Field(
        default=12, ge=0, le=MAX_HOURS, description="Metadata younger than this is not bought again."
    )
    tagtrail_snapshot_ages: Annotated[tuple[int, ...], NoDecode] = Field(
        default=SnapshotPlan.ages,
        description="Ages at which posts are measured again by `refresh`; `none`: no plan.",
    )
    tagtrail_snapshot_tolerance_percent: float = Field(
        default=SnapshotPlan.tolerance_percent,
        gt=0,
        le=100,
        description="So much of the gap to the next age a snapshot may be late; then it is missed.",
    )
    tagtrail_rest_percent: float = Field(
        default=SnapshotPlan.rest_percent,
        ge=0,
        le=100,
        description="A post whose counts all change by less rests; 0: none ever does.",
    )
    tagtrail_rest_snapshots: int = Field(
        default=SnapshotPlan.rest_snapshots,
        ge=2,
        le=20,
        description="Over so many snapshots, and at least a day.",
    )
    tagtrail_channel_order: Annotated[tuple[Channel, ...], NoDecode] = Field(
        default=CHANNELS, description="Channels in the order in which `auto` tries them."
    )
    tagtrail_max_spend_usd_per_run: Cap = Field(default=5, description="Cap on one run's spending; `none` for no cap.")
    tagtrail_max_spend_usd_per_day: Cap = Field(
        default=20, description="Cap on a UTC day's spending; `none` for no cap."
    )
    tagtrail_max_spend_usd_per_collection: Cap = Field(
        default=None, description="Cap on all that one collection ever spends, over all its runs; `none` for no cap."
    )
    tagtrail_prices: Prices = Field(default_factory=Prices, description="Price table (JSON), in US dollars; estimates.")
    tagtrail_comments: CommentPolicy = Field(
        default="pseudonymise", description="What is kept of commenters: pseudonymise, keep or drop."
    )
    tagtrail_retention_days: Annotated[Annotated[int, Field(ge=1, le=36_500)] | None, BeforeValidator(_cap)] = Field(
        default=None, description="What was last measured so many days ago is erased by the purge; `none`: kept."
    )
    tagtrail_callback_url: str = Field(
        default="", description="Where the vendor reaches `tagtrail receive`; sent with each import, with the secret."
    )
    tagtrail_callback_secret: SecretStr = Field(
        default=SecretStr(""), description="Last part of the callback's path; URL-safe, it goes to the vendor."
    )
    tagtrail_trending_times: Annotated[tuple[TrendingTimes, ...], NoDecode] = Field(
        default=(100.0, 500.0),
        description="An event says that a post has so many times its peers' median; `none`: no event.",
    )
    tagtrail_trending_peers: int = Field(
        default=30,
        ge=30,
        le=1_000_000,
        description="A trending post is compared with so many posts of its hashtag at least.",
    )
    tagtrail_reports_url: str = Field(
        default="",
        description="Where the folder `reports` of the home can be opened from; shown with each report.",
    )
    tagtrail_in_flight: int = Field(
        default=50, ge=1, le=500, description="Metadata calls under way at once in one run."
    )
    tagtrail_timeout_seconds: float = Field(
        default=90, ge=1, le=3600, description="How long one call of the API may take."
    )
    tagtrail_retry_seconds: float = Field(
        default=1, ge=0, le=60, description="First wait before a failed call is made again; doubles, up to 32 times it."
    )
    tagtrail_channel_rest_seconds: float = Field(
        default=60, ge=0, le=3600, description="A channel that fails again and again is not asked for so long."
    )

    @field_validator("tagtrail_channel_order", mode="before")
    @classmethod
    def _split_channels(cls, value: Any) -> Any:
        return _channels(value)

    @field_validator("tagtrail_trending_times", mode="before")
    @classmethod
    def _split_times(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",")]
        return () if value.strip().lower() == "none" else tuple(part for part in parts if part)

    @field_validator("tagtrail_snapshot_ages", mode="before")
    @classmethod
    def _split_ages(cls, value: Any) -> Any:
        return parse_ages(value) if isinstance(value, str) else value

    @field_validator("memories_v1_base_url", "memories_v2_base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("a base URL starts with https:// (or http://)")
        return value.rstrip("/")

    @property
    def snapshot_plan(self) -> SnapshotPlan:
        """The ages at which posts are measured, and when they rest."""
        return SnapshotPlan(
            ages=self.tagtrail_snapshot_ages,
            tolerance_percent=self.tagtrail_snapshot_tolerance_percent,
            rest_percent=self.tagtrail_rest_percent,
            rest_snapshots=self.tagtrail_rest_snapshots,
        )

    @field_validator("tagtrail_home")
    @classmethod
    def _is_one_line(cls, value: Path) -> Path:
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in str(value)):
            raise ValueError("it holds a line break or another control character; name the folder without it")
        return value

    @property
    def home(self) -> Path:
        """The home folder, absolute; it may not exist yet.

        Raises:
            UsageError: it is not set, and the user has no home folder in which it would be.
        """
        try:
            return self.tagtrail_home.expanduser().absolute()
        except RuntimeError:
            raise UsageError("TAGTRAIL_HOME is not set, and this user has no home folder; name a folder") from None

    @property
    def database_file(self) -> Path:
        """The SQLite file in the home; it is the database unless TAGTRAIL_DATABASE_URL names another."""
        return self.home / "tagtrail.db"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in use; the default is the file in the home."""
        # SQLAlchemy takes longer to load than all that a command without a database needs.
        from blocks.database.connections import of_file

        return self.tagtrail_database_url or of_file(self.database_file)


def get_settings(**overrides: Any) -> Settings:
    """Read the settings anew; `overrides` (field names) come before the environment.

    Raises:
        UsageError: a setting cannot be used; the message names it, never its value. Or `.env` cannot be read.
    """
    names_in_file()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "the settings"
        raise UsageError(f"{name}: {_sentence(first)}") from None
    except SettingsError as error:
        # Its text names the field and the source; its cause holds the value.
        named = [field for field in Settings.model_fields if f'"{field}"' in str(error)]
        name = named[0].upper() if named else "the settings"
        raise UsageError(f"{name}: this is no JSON; give an object such as {_PRICES_EXAMPLE}") from None


_PRICES_EXAMPLE = '{"import_post": 0.01, "metadata": {"youtube/rapid": 0.02}}'


def _plain(limit: float) -> str:
    return f"{limit:,.0f}" if limit == int(limit) else f"{limit:g}"


def _sentence(error: ErrorDetails) -> str:
    """What is wrong with a setting, in words for people who never heard of the validating library."""
    within = [str(part) for part in error["loc"][1:]]
    entry = f'"{".".join(within)}"' if within else "it"
    limits = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"there is no entry {entry}; the entries are {', '.join(Prices.model_fields)}"
        case "int_parsing" | "int_type" | "int_from_float":
            return f"{entry} has to be a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            return f"{entry} has to be a number"
        case "greater_than_equal":
            return f"{entry} has to be {_plain(limits['ge'])} or more"
        case "greater_than":
            return f"{entry} has to be more than {_plain(limits['gt'])}"
        case "less_than_equal":
            return f"{entry} has to be {_plain(limits['le'])} or less"
        case "too_little_money":
            return f"{entry} has to be 0, or {LEAST_USD:.6f} US dollars or more"
        case "bool_parsing" | "bool_type":
            return f"{entry} has to be 1 or 0"
        case "literal_error":
            return f"{entry} has to be one of {limits['expected']}"
        case "model_type" | "dict_type":
            return f"{entry} has to be a JSON object, such as {_PRICES_EXAMPLE}"
    return error["msg"].removeprefix("Value error, ")
