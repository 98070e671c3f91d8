"""What a live look at the API brought, as it came: the facts by which the open points of its contract are judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from blocks.memories.requests import STATUS_PATH
from blocks.memories.responses import load_json
from blocks.posts.platforms.registry import PLATFORMS

SUBMIT_PATHS = ("/scraper_tag", "/scraper_tag_public")

Verdict = Literal["confirmed", "contradicted", "unknown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `document` is its JSON object, None where it is none."""

    endpoint: str
    http_status: int
    document: dict[str, Any] | None

    @property
    def code(self) -> Any:
        return None if self.document is None else self.document.get("code")

    @property
    def is_success(self) -> bool:
        """By the code alone, as the contract lists them."""
        document = self.document or {}
        return str(document.get("code")) in ("0000", "0", "200") and document.get("failed") is not True

    @property
    def version(self) -> int:
        return 2 if self.endpoint in {spec.metadata_path for spec in PLATFORMS.values()} else 1


@dataclass(frozen=True, slots=True)
class Metered:
    """What came of one metadata call: the shape that was read, or the class of the error and its words."""

    shape: str | None = None
    error: str | None = None
    said: str = ""
    forms: Mapping[str, bool] = field(default_factory=dict)
    """The forms of the post's URL that were answered (see `outgoing.url_form`), and whether each was served."""


@dataclass(slots=True)
class Evidence:
    """All that was seen. `hashtag_platforms`: posts that hashtag imports of this account ever listed, by platform."""

    answers: list[Answer] = field(default_factory=list)
    unknown_task: Answer | None = None
    callback_sent: bool = False
    namespace: str = "default"
    requested: int = 1
    metadata: dict[tuple[str, str], Metered] = field(default_factory=dict)
    hashtag_platforms: Mapping[str, int] = field(default_factory=dict)

    def witness(self, endpoint: str, http_status: int, body: bytes) -> None:
        """Take an answer in (see `MemoriesClient`)."""
        try:
            document = load_json(body)
        except ValueError:
            document = None
        self.answers.append(Answer(endpoint, http_status, document if isinstance(document, dict) else None))

    @property
    def submission(self) -> Answer | None:
        """The answer to the import's submission."""
        return next((one for one in reversed(self.answers) if one.endpoint in SUBMIT_PATHS), None)

    def lists(self) -> Iterator[dict[str, Any]]:
        """The `data` of each poll of the import that listed something."""
        for one in self.answers:
            if one.endpoint == STATUS_PATH and one is not self.unknown_task and one.is_success:
                data = (one.document or {}).get("data")
                if isinstance(data, dict) and any(isinstance(value, list) and value for value in data.values()):
                    yield data

    def items(self) -> list[dict[str, Any]]:
        """The listed items that are objects, of all polls."""
        return [
            item
            for data in self.lists()
            for listed in data.values()
            if isinstance(listed, list)
            for item in listed
            if isinstance(item, dict)
        ]
