"""The house stands as it was drawn: imports point one way, entrypoints load, commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from tests.cases import each_case

ROOT = Path(__file__).parent.parent
ROOMS = ("blocks", "flows", "deployments")
BELOW = {"blocks": set(), "flows": {"blocks"}, "deployments": {"blocks", "flows"}}
SQL = {"sqlalchemy", "sqlmodel"}
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAX_LINES = 500
LONGER: dict[str, str] = {}
"""Files that are longer, each with the reason."""


def imported(path: Path) -> set[str]:
    """Full names of all modules and packages that a file imports from, wherever in it the import stands."""
    return {module for module, _ in imports(path)}


@cache
def imports(path: Path) -> set[tuple[str, str]]:
    """What a file imports, as (module, name); the name of a whole module is empty."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def test_imports_point_down_only() -> None:
    for path in SOURCES:
        room = path.relative_to(ROOT).parts[0]
        reached = {name.partition(".")[0] for name in imported(path)} & set(ROOMS)
        assert reached <= BELOW[room] | {room}, f"{path} imports from {sorted(reached - BELOW[room] - {room})}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES
    }

    def uses(name: str) -> set[str]:
        taken = {f"{one}.{what}" if f"{one}.{what}" in modules else one for one, what in imports(modules[name])}
        return taken & set(modules)

    TopologicalSorter({name: uses(name) for name in modules}).prepare()


def test_only_the_client_talks_http() -> None:
    talkers = [path for path in SOURCES if {name.partition(".")[0] for name in imported(path)} & {"httpx", "requests"}]
    outside = [path for path in talkers if "sandbox" not in path.parts]
    assert outside == [ROOT / "blocks/memories/client.py"]


def test_only_the_database_room_talks_sql() -> None:
    talkers = {path for path in SOURCES if {name.partition(".")[0] for name in imported(path)} & SQL}
    assert {path.relative_to(ROOT).parts[:2] for path in talkers} == {("blocks", "database")}


def test_the_sandbox_shares_nothing_with_the_client() -> None:
    for path in (ROOT / "deployments/sandbox").rglob("*.py"):
        assert not any(name.partition(".")[0] in ("blocks", "flows") for name in imported(path)), path


def test_every_module_opens_with_a_sentence_and_is_no_longer_than_a_reader_bears() -> None:
    for path in SOURCES:
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        opens = (ast.get_docstring(ast.parse(text)) or "").strip(".")
        assert opens or "versions" in path.parts, f"{name} opens with no sentence"
        assert len(text.splitlines()) <= MAX_LINES or name in LONGER, f"{name}: more than {MAX_LINES} lines"
    for name in LONGER:
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > MAX_LINES, f"{name} is no exception"


def deployments() -> list[dict[str, object]]:
    return yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


@each_case("deployment", deployments())
def test_every_entrypoint_loads_as_itself(deployment: dict[str, object]) -> None:
    entrypoint = str(deployment["entrypoint"])
    flow = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    module, _, function = entrypoint.rpartition(".")
    assert flow.fn.__module__ == module
    assert flow.name == function.replace("_", "-")


@pytest.mark.integration
@pytest.mark.parametrize(
    "module",
    ["blocks", "blocks.settings", "blocks.database.engine", "blocks.database.store.export", "deployments.cli.main"],
)
def test_light_modules_leave_prefect_alone(module: str) -> None:
    code = f"import sys, {module}; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=170).returncode == 0


@each_case("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_have_hashes_and_name_no_host(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [at for at, line in enumerate(lines) if "==" in line and not line.startswith((" ", "#"))]
    assert len(pinned) > 50
    assert all("--hash=sha256:" in lines[at + 1] for at in pinned)
    assert not [line for line in lines if "://" in line or "--index" in line or "--find-links" in line]


def test_the_run_time_lock_is_part_of_the_complete_one() -> None:
    run_time, complete = (
        {
            line.split(" ")[0]
            for line in (ROOT / name).read_text("utf-8").splitlines()
            if "==" in line and line[0] != "#"
        }
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert run_time <= complete
