"""The compose file and the Dockerfile hold together, and a container's first process fills in its secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import get_current_settings

from blocks.settings import get_settings
from deployments.containers.entrypoint import NoSecret, filled_in

ROOT = Path(__file__).parents[3]
CONTAINERS = ROOT / "deployments" / "containers"
OWN = ("server", "services", "setup", "worker", "receiver")
"""Services of our image: the processes that `test_many_machines.py` starts by their commands and settings."""

SERVICE_KEYS = {
    "image", "build", "restart", "init", "security_opt", "cap_drop", "command", "environment", "secrets", "ports",
    "networks", "depends_on", "healthcheck", "deploy", "stop_grace_period", "profiles", "volumes",
}  # fmt: skip


@pytest.fixture
def compose(stack_module: Any) -> dict[str, Any]:
    read: dict[str, Any] = stack_module.compose()
    return read


def test_it_names_nothing_that_it_does_not_define(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", "redis", *OWN}
    for name, service in services.items():
        assert service.keys() <= SERVICE_KEYS, name
        assert set(service.get("secrets", [])) <= compose["secrets"].keys(), name
        assert set(service["networks"]) <= compose["networks"].keys(), name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other], (name, other)
            # Who waits for somebody has to be able to reach it.
            assert set(service["networks"]) & set(services[other]["networks"]), (name, other)
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (CONTAINERS / source).is_file(), volume
    assert services["worker"]["deploy"] == {"replicas": 2}
    # Nothing is open to the world, and nothing but the API and the receiver to this machine.
    assert {name for name, service in services.items() if "ports" in service} == {"server", "receiver"}
    assert all(port.startswith("127.0.0.1:") for one in services.values() for port in one.get("ports", []))


def test_every_secret_comes_from_a_file_that_the_service_is_given(compose: dict[str, Any]) -> None:
    for name in OWN:
        service = compose["services"][name]
        asked = set(re.findall(r"<secret:(\w+)>", str(service["environment"])))
        assert asked == set(service["secrets"]), name
        for setting, value in service["environment"].items():
            if re.search(r"AUTH_STRING|API_KEY|SECRET$|DATABASE_(CONNECTION_)?URL", setting):
                assert "<secret:" in value, setting
    assert all(secret["file"].startswith("./secrets/") for secret in compose["secrets"].values())
    assert "secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8")


def test_a_worker_is_told_what_may_be_spent_and_kept_and_no_account(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "TAGTRAIL_MAX_SPEND_USD_PER_DAY: ${TAGTRAIL_MAX_SPEND_USD_PER_DAY:-" in (
        (CONTAINERS / "compose.yaml").read_text(encoding="utf-8")
    )
    worker = compose["services"]["worker"]["environment"]
    limits = {name: value for name, value in worker.items() if name.startswith(("TAGTRAIL_", "MEMORIES_"))}
    assert limits.keys() == {
        "TAGTRAIL_MAX_SPEND_USD_PER_DAY", "TAGTRAIL_MAX_SPEND_USD_PER_COLLECTION", "TAGTRAIL_COMMENTS",
        "TAGTRAIL_RETENTION_DAYS",
    }  # fmt: skip
    # Without a variable they are Tagtrail's own defaults.
    defaults = get_settings()
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    assert get_settings().model_dump() == defaults.model_dump()


def test_prefect_knows_every_setting(compose: dict[str, Any]) -> None:
    known = {name.upper() for name in get_current_settings().to_environment_variables(exclude_unset=False)}
    known |= {"PREFECT_MESSAGING_BROKER", "PREFECT_MESSAGING_CACHE", "PREFECT_REDIS_MESSAGING_URL"}
    known |= {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"}
    known |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_SERVER_UI_API_URL"}
    for name in OWN:
        settings = [each for each in compose["services"][name]["environment"] if each.startswith("PREFECT_")]
        assert set(settings) <= known, (name, set(settings) - known)


def test_the_image_is_small_locked_and_nobody_s_root() -> None:
    lines = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert copied
    kept_out = (CONTAINERS / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"!{path}" in kept_out, path
    assert "deployments/containers/secrets" in kept_out
    assert any("--require-hashes" in line and "requirements.lock" in line for line in lines)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]
    assert lines.index("USER 10001") > max(at for at, line in enumerate(lines) if line.startswith(("RUN ", "COPY ")))
    assert sum(line.startswith("FROM ") for line in lines) == 2


def test_secrets_are_filled_in_and_quoted_within_urls(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("p@ss:w/rd%\n", encoding="utf-8")
    environ = {"PLAIN": "<secret:word>", "URL": "postgresql://me:<secret:word>@host/x", "OTHER": "as it is"}
    assert filled_in(environ, tmp_path) == {
        "PLAIN": "p@ss:w/rd%",
        "URL": "postgresql://me:p%40ss%3Aw%2Frd%25@host/x",
        "OTHER": "as it is",
    }


@pytest.mark.parametrize("content", [None, " \n"])
def test_a_missing_secret_is_said_in_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "prefect_auth").write_text(content, encoding="utf-8")
    with pytest.raises(NoSecret, match=r"the secret prefect_auth .* secrets/prefect_auth beside compose.yaml"):
        filled_in({"A": "<secret:prefect_auth>"}, tmp_path)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("command", "environ", "status", "said"),
    [
        ([sys.executable, "-c", "print('became it')"], {}, 0, "became it"),
        (["no-such-command"], {}, 2, "no-such-command cannot be run"),
        ([], {}, 2, "name a command"),
        (["true"], {"A": "<secret:not_here>"}, 2, "the secret not_here cannot be read"),
    ],
)
def test_the_entrypoint_becomes_its_command(
    command: list[str], environ: dict[str, str], status: int, said: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "deployments.containers.entrypoint", *command],
        env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert (ended.returncode, said in ended.stdout + ended.stderr) == (status, True), ended.stderr
    assert "Traceback" not in ended.stderr
