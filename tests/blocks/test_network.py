"""Proxies and certificates: used for other machines, never for this one, and told by name where they cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import certifi
import pytest

from blocks import network
from blocks.errors import UsageError
from tests.cases import each_case

BROKEN = {
    "ALL_PROXY": "ftp://127.0.0.1:9",
    "https_proxy": "http://name:hush@:port",
    "NO_PROXY": "fd07:b51a:cc66:f0::/64,[::1],intern.example:8080,10.0.0.0/8",
    "SSL_CERT_FILE": "/nonexistent",
    "SSL_CERT_DIR": "/nonexistent",
    "SSLKEYLOGFILE": "/nonexistent/keys",
    "REQUESTS_CA_BUNDLE": "/nonexistent",
}


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*network.named(), network.SET_ASIDE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "find_spec", lambda name: None)


def test_what_is_set_aside_is_gone_and_still_found() -> None:
    environ = {"PATH": "/bin", **BROKEN}
    network.set_aside(environ)
    assert set(environ) == {"PATH", network.SET_ASIDE}
    assert network.named(environ) == BROKEN
    # A child of the process, in which somebody names another proxy.
    environ["ALL_PROXY"] = "http://other.example:1"
    network.set_aside(environ)
    assert json.loads(environ[network.SET_ASIDE]) == {**BROKEN, "ALL_PROXY": "http://other.example:1"}
    nothing = {"PATH": "/bin", "HTTP_PROXY": " "}
    network.set_aside(nothing)
    assert network.SET_ASIDE not in nothing


def test_what_is_set_aside_is_used_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    aside = {"HTTPS_PROXY": "proxy.example:3128", "SSL_CERT_FILE": certifi.where()}
    monkeypatch.setenv(network.SET_ASIDE, json.dumps(aside))
    assert network.proxy_for("https", "api.example") == "http://proxy.example:3128"
    trusted = network.certificates()
    assert trusted is not None
    assert len(trusted.get_ca_certs()) > 10


@each_case("url", ["http://127.0.0.1:9/api", "https://localhost/x", "http://[::1]:1", "http://a.localhost"])
def test_this_machine_is_reached_whatever_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BROKEN.items():
        monkeypatch.setenv(name, value)
    network.check(url)


@each_case(
    ("name", "value"),
    [
        *BROKEN.items(),
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("ALL_PROXY", "://"),
        ("HTTPS_PROXY", "http://"),
        ("HTTPS_PROXY", "http://[::1"),
        ("HTTPS_PROXY", "http://name:hush@höst:1"),
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_FILE", "/"),
    ],
)
def test_what_cannot_be_used_is_told_by_its_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        if name in ("NO_PROXY", "REQUESTS_CA_BUNDLE"):
            network.check("https://api.example/v1")
            return
        with pytest.raises(UsageError, match=rf"\A{name}\b.*unset it\Z") as caught:
            network.check("https://api.example/v1")
        assert "hush" not in str(caught.value)
    with pytest.raises(UsageError, match=rf"\A{name}\b"):
        network.mend({name: value})
    assert network.usable({name: value}) == {}


@each_case(
    ("host", "goes_around"),
    [
        ("api.example", False),
        ("intern.example", True),
        ("deep.intern.example", True),
        ("notintern.example", False),
        ("dotted.test", True),
        ("starred.test", True),
        ("with-port.test", True),
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("fd07:b51a:cc66:f0::7", True),
    ],
)
def test_no_proxy_of_any_form(host: str, goes_around: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:1")
    listed = "intern.example, .dotted.test,*.starred.test,with-port.test:443,10.0.0.0/8,fd07:b51a:cc66:f0::/64,[,::,ü,:"
    monkeypatch.setenv("NO_PROXY", listed)
    assert (network.proxy_for("https", host) is None) is goes_around
    with monkeypatch.context() as patch:
        patch.setenv("no_proxy", "*")
        assert network.proxy_for("https", host) is None


def test_prefects_client_reads_what_is_mended() -> None:
    environ = {"NO_PROXY": "fd07:b51a:cc66:f0::/64,[::1],a.example,b.example:80,c:port,ü.example,::1,10.0.0.0/8,*"}
    network.mend(environ)
    assert environ == {"NO_PROXY": "a.example,b.example:80,::1,10.0.0.0/8,*"}


def test_a_folder_of_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}:{tmp_path}")
    assert network.certificates() is not None
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}:{tmp_path / 'none'}")
    with pytest.raises(UsageError, match="SSL_CERT_DIR"):
        network.certificates()
