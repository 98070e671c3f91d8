"""Which Prefect server a command works with."""

from pathlib import Path

import pytest

from blocks import network
from blocks.errors import UsageError
from deployments.cli import servers
from deployments.stack import own_server
from deployments.stack.own_server import ServerInfo


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Prefect profile of the machine that runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


PROFILES = """
active = "team"
[profiles.team]
PREFECT_API_URL = "http://team.example:4200/api"
[profiles.other]
PREFECT_API_URL = "http://other.example:4200/api"
[profiles.bare]
"""


def test_nothing_is_configured() -> None:
    assert servers.configured() is None


def test_the_active_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "user/.prefect/profiles.toml", PROFILES)
    assert servers.configured() == ("http://team.example:4200/api", "profile team")
    monkeypatch.setenv("PREFECT_PROFILE", "other")
    assert servers.configured() == ("http://other.example:4200/api", "profile other")
    monkeypatch.setenv("PREFECT_PROFILE", "bare")
    assert servers.configured() is None
    monkeypatch.setenv("PREFECT_PROFILE", "unknown")
    assert servers.configured() is None


def test_profiles_are_where_prefect_looks_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "p/profiles.toml", PROFILES)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "p"))
    assert servers.configured() == ("http://team.example:4200/api", "profile team")
    elsewhere = write(tmp_path / "e.toml", PROFILES.replace("team.example", "elsewhere.example"))
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(elsewhere))
    assert servers.configured() == ("http://elsewhere.example:4200/api", "profile team")


def test_the_environment_comes_before_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "user/.prefect/profiles.toml", PROFILES)
    write(Path("prefect.toml"), '[api]\nurl = "http://toml.example/api"\n')
    assert servers.configured() == ("http://toml.example/api", "prefect.toml")
    write(Path(".env"), "PREFECT_API_URL=http://dotenv.example/api\n")
    assert servers.configured() == ("http://dotenv.example/api", "PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_API_URL", "http://env.example/api")
    assert servers.configured() == ("http://env.example/api", "PREFECT_API_URL")


def test_a_profile_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "user/.prefect/profiles.toml", "active = ")
    with pytest.raises(UsageError, match=r"profiles\.toml cannot be read"):
        servers.configured()


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:4200/api", "http:///api", "file:///api"])
def test_what_is_no_url_is_one_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(UsageError, match=f"PREFECT_API_URL names {url} .*such as http://127.0.0.1:4200/api"):
        servers.configured()


def test_a_configured_server_is_used_and_only_silenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://user:secret@prefect.example/api")
    monkeypatch.setattr(own_server, "ensure", lambda *_: pytest.fail("no server of our own is needed"))
    server = servers.choose(tmp_path, pytest.fail)
    assert server.shown == "https://prefect.example/api (PREFECT_API_URL)"
    environ = {"PREFECT_API_URL": "https://user:secret@prefect.example/api", "PREFECT_API_KEY": "k"}
    before = dict(environ)
    server.into(environ)
    assert {name: environ[name] for name in before} == before
    assert set(environ) - set(before) == {
        "DO_NOT_TRACK",
        "PREFECT_SERVER_EPHEMERAL_ENABLED",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW",
        "PREFECT_LOGGING_CONFIG_PATH",
    }


def test_our_own_server_leaves_nothing_of_the_users_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = ServerInfo(tmp_path, 1, 0.0, 4711, "3.8.8", "tagtrail:string")
    monkeypatch.setattr(own_server, "ensure", lambda home, announce: info)
    server = servers.choose(tmp_path, pytest.fail)
    assert server.shown == "http://127.0.0.1:4711 (Tagtrail's own)"
    assert "string" not in repr(server)
    environ = {"PREFECT_API_KEY": "k", "PREFECT_PROFILE": "team", "PATH": "/bin", "NO_PROXY": "intern.example"}
    server.into(environ)
    assert environ["PREFECT_API_URL"] == "http://127.0.0.1:4711/api"
    assert environ["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert "PREFECT_API_KEY" not in environ
    assert environ["PREFECT_PROFILE"] == "ephemeral"
    assert "NO_PROXY" not in environ
    assert network.named(environ) == {"NO_PROXY": "intern.example"}
    assert environ["PATH"] == "/bin"
    assert Path(environ["PREFECT_LOGGING_CONFIG_PATH"]).is_file()


@pytest.mark.parametrize(("url", "here"), [("http://127.0.0.1:4200/api", True), ("https://prefect.example/api", False)])
def test_proxies_and_certificates_are_for_a_server_elsewhere(url: str, here: bool) -> None:
    server = servers.PrefectServer.configured(url, "PREFECT_API_URL")
    broken = {"ALL_PROXY": "ftp://127.0.0.1:9", "SSL_CERT_FILE": "/nonexistent"}
    environ = dict(broken)
    if here:
        server.into(environ)
        assert not set(broken) & set(environ)
        return
    with pytest.raises(UsageError, match=r"\AALL_PROXY names no proxy that can be used; .*unset it"):
        server.into(environ)
    environ = {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "a.example,fd07::/64"}
    server.into(environ)
    assert environ["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert environ["NO_PROXY"] == "a.example"
