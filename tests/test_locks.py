"""The lock files are complete: pip installs them by their hashes with nothing left to look up, on every Python."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cases import each_case

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(name: str) -> dict[str, Requirement]:
    """What a lock file pins for this Python, by name."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in " #"]
    return {canonicalize_name(pin.name): pin for pin in pins if pin.marker is None or pin.marker.evaluate()}


def wanted_by(package: str, extras: set[str]) -> list[Requirement]:
    """What an installed package asks for on this Python, with these extras."""
    asked = [Requirement(text) for text in metadata.requires(package) or []]
    return [
        one
        for one in asked
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras or {""})
    ]


def missing(pins: dict[str, Requirement], who: str, requirement: Requirement) -> str:
    """Why pip would refuse; it takes `sqlalchemy[asyncio]` for another package than `sqlalchemy`."""
    pin = pins.get(canonicalize_name(requirement.name))
    if pin is None:
        return f"{who} asks for {requirement}: not locked"
    if lacking := requirement.extras - pin.extras:
        return f"{who} asks for {requirement}: locked without {sorted(lacking)}"
    [version] = pin.specifier
    if not requirement.specifier.contains(version.version, prereleases=True):
        return f"{who} asks for {requirement}: locked is {pin}"
    return ""


@each_case("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_holds_all_that_its_packages_ask_for(name: str) -> None:
    pins = locked(name)
    assert len(pins) > 50
    assert [
        why
        for package, pin in pins.items()
        for requirement in wanted_by(package, set(pin.extras))
        if (why := missing(pins, package, requirement))
    ] == []


def test_what_make_demo_installs_writes_every_format_and_serves_many_machines() -> None:
    pins = locked("requirements.lock")
    extras = PROJECT["project"]["optional-dependencies"]
    texts = [*PROJECT["project"]["dependencies"], *extras["parquet"], *extras["redis"]]
    texts += PROJECT["dependency-groups"]["build"]
    assert [why for text in texts if (why := missing(pins, "pyproject.toml", Requirement(text)))] == []


@each_case("command", ["Makefile", "deployments/containers/Dockerfile"])
def test_nothing_that_installs_a_lock_leaves_dependencies_out(command: str) -> None:
    lines = [line for line in (ROOT / command).read_text(encoding="utf-8").splitlines() if " -r requirements" in line]
    assert lines
    assert all("--require-hashes" in line and "--no-deps" not in line for line in lines)
