"""What the documents name exists: commands, files, make targets, settings, pages and their sections; examples run."""

from __future__ import annotations

import re
from pathlib import Path

from blocks.settings import Settings
from deployments.cli.main import COMMANDS
from tests.cases import each_case

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
ALL = "\n".join(PAGES.values())
SETTINGS = {name.upper() for name in Settings.model_fields}
OF_TESTS = {
    "TAGTRAIL_TEST_POSTGRES_URL",
    "TAGTRAIL_TEST_STACK_POSTGRES_URL",
    "TAGTRAIL_TEST_PICTURES",
    "TAGTRAIL_STACK",
}


def anchors(text: str) -> set[str]:
    """The sections of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    dead = []
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            path, _, section = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            if not file.exists() or (section and section not in anchors(file.read_text(encoding="utf-8"))):
                dead.append(f"{page}: {target}")
    assert dead == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), ["README.md"]
    while queue:
        page = queue.pop()
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)", PAGES.get(page, "")):
            named = ((ROOT / page).parent / target).resolve().relative_to(ROOT)
            queue += [str(named)] if str(named) in PAGES and str(named) not in reached else []
    assert PAGES.keys() <= reached


def test_every_command_that_is_named_exists() -> None:
    # In code only: after `$ `, or between backticks.
    named = set(re.findall(r"(?:^\$ |`)tagtrail ([a-z]+)", ALL, flags=re.MULTILINE))
    assert {"run", "enrich", "export", "status", "retry"} <= named
    assert named <= {*COMMANDS, "import", "db"}


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make ([a-z]+)\b", ALL, flags=re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:blocks|flows|deployments|tests|docs)/[\w/.]*)`", ALL))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"\b(?:TAGTRAIL|MEMORIES)_[A-Z0-9_]+\b", ALL))
    assert named - SETTINGS - OF_TESTS == set()


def test_the_example_environment_holds_real_settings_only() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line.lstrip("#").partition("=")[0] for line in lines if "=" in line} <= SETTINGS


def test_the_readme_shows_the_main_flow_as_it_is() -> None:
    [shown] = re.findall(r"^```python\n(.*?)^```$", PAGES["README.md"], flags=re.MULTILINE | re.DOTALL)
    flow = (ROOT / "flows" / "track_hashtags.py").read_text(encoding="utf-8")
    lines = [line.partition("(...)")[0].rstrip() for line in shown.splitlines()]
    assert 5 <= len(lines) <= 15
    assert [line for line in lines if line not in flow] == []


@each_case("page", [page for page, text in PAGES.items() if "```python" in text])
def test_python_examples_compile(page: str) -> None:
    for code in re.findall(r"^```python\n(.*?)^```$", PAGES[page], flags=re.MULTILINE | re.DOTALL):
        if not code.startswith(" "):
            compile(code, page, "exec")
