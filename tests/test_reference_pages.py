"""The pages of `docs/` that are made from the code: commands, settings, data dictionary.

After a change that is meant, `python tests/test_reference_pages.py` writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from blocks.database import What
from blocks.database.data_dictionary import column_facts
from blocks.settings import Settings
from deployments.cli.main import COMMANDS, make_app
from tests.cases import each_case

DOCS = Path(__file__).parent.parent / "docs"

MADE = "<!-- Made from the code by tests/test_reference_pages.py; change it there. -->"

SUBCOMMANDS = ("upgrade", "urls", "creators")


def commands() -> str:
    """Every command with all its options, as `--help` tells them."""
    app = make_app((*COMMANDS, *SUBCOMMANDS))
    made = app.generate_docs(output_format="markdown", recursive=True)
    _, _, body = made.partition("**Commands**:")
    return "\n".join((
        "# Commands", "", MADE, "",
        "For everybody who types `tagtrail`. The same text stands in `tagtrail COMMAND --help`.",
        "What an exit status means: [when something went wrong](troubleshooting.md#exit-status).", "",
        body.strip().replace("tagtrail COMMAND [ARGS]", "tagtrail COMMAND"),
    ))  # fmt: skip


def settings() -> str:
    """Every setting with its default and meaning."""
    return "\n".join((
        "# Settings", "", MADE, "",
        "For whoever installs or runs Tagtrail. Set a setting as an environment variable, or in a file `.env`.",
        "A saved Prefect block comes before a setting. A parameter of a flow or an option of a command comes before "
        "both.",
        "An empty value counts as not set. `none` lifts a cap.", "",
        "| setting | default | meaning |", "|---|---|---|",
        *(f"| `{name}` | {default} | {meaning} |" for name, default, meaning in setting_rows()), "",
        "Every rate is the whole account's. All runs and workers that use the key and the database share it.",
        "[Money and limits](money.md) has an example of a price table.",
    ))  # fmt: skip


def setting_rows() -> Iterator[tuple[str, str, str]]:
    """(name, default as Markdown, meaning) of each setting, in the order of the code."""
    for name, field in Settings.model_fields.items():
        value = field.get_default(call_default_factory=True)
        yield name.upper(), _default(value), str(field.description).replace("|", "\\|")


def _default(value: Any) -> str:
    if value is None:
        return "`none`"
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if value in ("", PydanticUndefined):
        return "–"
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, tuple):
        value = ",".join(
            _age(one) if isinstance(one, int) else f"{one:g}" if isinstance(one, float) else one for one in value
        )
    if hasattr(value, "model_dump_json"):
        value = value.model_dump_json()
    return f"`{value}`"


def _age(seconds: int) -> str:
    hours = seconds // 3600
    return f"{hours // 24}d" if hours > 72 else f"{hours}h"


def data_dictionary() -> str:
    """Every column of every export with its type, unit and meaning."""
    lines = [
        "# Data dictionary", "", MADE, "",
        "For whoever reads an export or the database. `tagtrail export … --output FILE` writes a dictionary beside "
        "FILE, which also counts the values that are missing and says why.", "",
    ]  # fmt: skip
    for what in get_args(What):
        lines += [f"## {what}", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
        lines += [f"| `{one.name}` | {one.kind} | {one.unit} | {one.meaning} |" for one in column_facts(what)]
        lines.append("")
    return "\n".join(lines).rstrip()


PAGES = {"commands.md": commands, "settings.md": settings, "data-dictionary.md": data_dictionary}


@each_case("name", PAGES)
def test_a_page_that_is_made_from_the_code_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]() + "\n", f"run: python {Path(__file__).name}"


def test_every_setting_says_what_it_is() -> None:
    rows = list(setting_rows())
    assert len(rows) == len(Settings.model_fields)
    assert all(meaning.endswith((".", ")")) and meaning != "None" for _, _, meaning in rows), json.dumps(rows)


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    for page, make in PAGES.items():
        (DOCS / page).write_text(make() + "\n", encoding="utf-8")
