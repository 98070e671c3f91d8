"""Machines as people have them: commands as processes in odd environments, on the session's server and a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deployments.sandbox.server import SandboxServer
from deployments.stack import own_server
from tests.cases import each_case

pytestmark = pytest.mark.stack

URL = "https://www.instagram.com/p/DTagtrail01/"
WAIT_SECONDS = 600.0
"""Generous: machines are loaded."""
TAGTRAIL = [sys.executable, "-m", "deployments.cli.main"]

NOBODYS_HOME = """
import os, pwd
def gone(*_): raise KeyError("uid not found")
pwd.getpwuid = gone
"""
"""Makes every process one of a user that the machine does not know, as containers have them."""

ODD: dict[str, dict[str, str]] = {
    "a shell": {
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "http_proxy": "ftp://127.0.0.1:9",
        "WS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "fd07:b51a:cc66:f0::/64,[::1],x:y",
        "PYTHONIOENCODING": "iso-8859-1",
    },
    "a container": {
        "SSL_CERT_FILE": "/nonexistent",
        "SSL_CERT_DIR": "/nonexistent",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
        "SSLKEYLOGFILE": "/nonexistent/keys",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": "nobody",
    },
}


@pytest.fixture
def environ(server_home: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a shell on a sandbox and the session's Prefect server, with a database of its own."""
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "sitecustomize.py").write_text(NOBODYS_HOME, encoding="utf-8")
    with SandboxServer(time_scale=100) as sandbox:
        yield os.environ | {
            "HOME": str(tmp_path / "user"),
            "TAGTRAIL_HOME": str(server_home),
            "TAGTRAIL_DATABASE_URL": f"sqlite:///{tmp_path / 'tagtrail.db'}",
            "MEMORIES_API_KEY": "sk-invented",
            "MEMORIES_V1_BASE_URL": sandbox.v1_base_url,
            "MEMORIES_V2_BASE_URL": sandbox.v2_base_url,
        }


def within(environ: Mapping[str, str], odd: Mapping[str, str], folder: Path) -> dict[str, str]:
    made = {**environ, **odd}
    if "PYTHONPATH" in odd:
        made["PYTHONPATH"] = str(folder / odd["PYTHONPATH"])
        del made["HOME"]
    return made


def called(environ: Mapping[str, str], *arguments: str, status: int = 0) -> tuple[str, str]:
    ran = subprocess.run([*TAGTRAIL, *arguments], env=environ, capture_output=True, timeout=WAIT_SECONDS)
    out, err = (text.decode("utf-8", "replace") for text in (ran.stdout, ran.stderr))
    assert ran.returncode == status, err
    assert not [word for word in ("Traceback", "should not have happened", "internal error") if word in err], err
    return out, err


@pytest.mark.parametrize("name", ODD)
def test_what_is_on_this_machine_works_in_any_environment(name: str, environ: dict[str, str], tmp_path: Path) -> None:
    here = within(environ, ODD[name], tmp_path)
    out, _ = called(here, "enrich", URL)
    assert "1 post: 1 enriched" in out
    out, _ = called(here, "status", "--json")
    assert json.loads(out)["overview"]["posts"] == {"instagram": {"enriched": 1}}
    out, _ = called(here, "top", "--by", "likes")
    assert "instagram" in out
    out, _ = called(here, "export", "posts", "--format", "jsonl")
    assert json.loads(out)["platform"] == "instagram"
    out, _ = called(here, "doctor")
    assert "failed" not in [line.split(" ")[0] for line in out.splitlines()], out


def test_streams_that_are_closed_are_no_failure(environ: dict[str, str]) -> None:
    for arguments in (["enrich", URL, "--max-age", "0"], ["status"], ["export", "posts"]):
        command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *TAGTRAIL, *arguments]
        assert subprocess.run(command, env=environ, timeout=WAIT_SECONDS).returncode == 0
    out, _ = called(environ, "status", "--json")
    assert json.loads(out)["overview"]["posts"] == {"instagram": {"enriched": 1}}


REFUSED: dict[str, dict[str, str]] = {
    "SSL_CERT_FILE": {"SSL_CERT_FILE": "/nonexistent"},
    "SSL_CERT_DIR": {"SSL_CERT_DIR": "/nonexistent", "SSL_CERT_FILE": ""},
    "SSLKEYLOGFILE": {"SSLKEYLOGFILE": "/nonexistent/keys", "SSL_CERT_FILE": ""},
    "ALL_PROXY": {"ALL_PROXY": "ftp://name:hush@127.0.0.1:9"},
    "https_proxy": {"https_proxy": "http://name:hush@127.0.0.1:port"},
    "TAGTRAIL_HOME: it holds a line break": {"TAGTRAIL_HOME": "/tmp/x\n"},
    "TAGTRAIL_HOME: /dev/null/x": {"TAGTRAIL_HOME": "/dev/null/x", "TAGTRAIL_DATABASE_URL": ""},
    "TAGTRAIL_HOME is not set": {"PYTHONPATH": "nobody", "TAGTRAIL_HOME": ""},
    "TAGTRAIL_DATABASE_URL, or the block tagtrail-database/default) holds an @": {
        "TAGTRAIL_DATABASE_URL": "postgresql+psycopg://app:Pass1@hush@127.0.0.1:9/tt"
    },
    "TAGTRAIL_DATABASE_URL, or the block tagtrail-database/default) has a port that is no number": {
        "TAGTRAIL_DATABASE_URL": "postgresql+psycopg://app:hush@127.0.0.1:${PORT}/tt"
    },
}


@each_case("named", REFUSED)
def test_what_cannot_be_used_is_one_sentence_that_names_it(named: str, environ: dict[str, str], tmp_path: Path) -> None:
    elsewhere = {"MEMORIES_V1_BASE_URL": "https://api.invalid/v1", "MEMORIES_V2_BASE_URL": "https://api.invalid/v2"}
    # No server of ours runs in an empty home, and none is started.
    home = {"TAGTRAIL_HOME": str(tmp_path / "home"), "TAGTRAIL_DATABASE_URL": ""}
    here = within({**environ, **elsewhere, **home}, REFUSED[named], tmp_path)
    out, err = called(here, "enrich", URL, status=2)
    assert (out, len(err.splitlines())) == ("", 1), err
    assert named in err
    assert "hush" not in err
    assert not own_server.log_file(tmp_path / "home").exists()


def test_a_folder_that_is_gone_is_one_sentence(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", str(tmp_path / "gone"), *TAGTRAIL]
    ran = subprocess.run([*command, "status"], env=environ, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert (ran.returncode, ran.stderr) == (
        2, "tagtrail: the current folder is gone, or you may not enter it; change to another one\n"
    )  # fmt: skip
