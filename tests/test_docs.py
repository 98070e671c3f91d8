"""What the documents name exists: settings, commands, files, flows, the public columns."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DEFAULTS = {name.upper(): field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}


def test_the_readme_names_every_setting_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_0-9]+)` \| (.*?) \|", README, flags=re.MULTILINE))
    assert rows.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("name", [name for name, value in DEFAULTS.items() if isinstance(value, int | float)])
def test_the_readme_tells_the_true_default(name: str) -> None:
    [told] = re.findall(rf"^\| `{name}` \| `([^`]*)` \|", README, flags=re.MULTILINE)
    assert float(told) == float(DEFAULTS[name])


def commands_in(text: str) -> set[str]:
    return set(re.findall(r"`?tagtrail ([a-z]+)", text))


def test_every_command_of_the_readme_exists() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "deployments.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=99,
    ).stdout
    real = set(re.findall(r"^\W*([a-z]+)\s{2,}", shown, flags=re.MULTILINE))
    assert {"run", "enrich", "export", "status", "demo"} <= real
    assert commands_in(README) <= real


def test_every_make_target_of_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make ([a-z]+)\b", README + CONTRIBUTING, flags=re.MULTILINE))
    assert {"demo", "test", "lock"} <= named <= targets


def test_every_file_of_contributing_exists() -> None:
    named = set(re.findall(r"`((?:blocks|flows|deployments|tests)/[\w/.]*)`", CONTRIBUTING))
    assert len(named) >= 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_example_environment_holds_real_settings_only() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line.lstrip("#").partition("=")[0] for line in lines if "=" in line} <= DEFAULTS.keys()
