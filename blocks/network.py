"""Proxies and certificates as the environment names them: for calls to other machines, and never for this one.

Prefect's client takes them for servers of this machine too, and fails where one of them cannot be used. So a process
whose Prefect server is on this machine has them set aside: in one variable, which its child processes inherit.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import ssl
from collections.abc import Mapping, MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from blocks.errors import UsageError

SET_ASIDE: Final = "TAGTRAIL_SET_ASIDE"
"""Holds, as JSON, the variables that were set aside."""

PROXIES: Final = ("all_proxy", "http_proxy", "https_proxy", "socks_proxy", "ws_proxy", "wss_proxy")
BYPASS: Final = "no_proxy"
CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
OTHERS: Final = ("SSLKEYLOGFILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def is_here(host: str | None) -> bool:
    """Whether a host (with or without its port) is this machine by a loopback name or address, as the sandbox's is."""
    name = urlsplit(f"//[{host}]" if host and host.count(":") > 1 and "[" not in host else f"//{host or ''}").hostname
    try:
        return ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return name == "localhost" or (name or "").endswith(".localhost")


def are_here(hosts: str) -> bool:
    """Whether one of the hosts that a run asked, as its row names them (`HOST and HOST`), is this machine."""
    return any(is_here(host) for host in hosts.split(" and "))


def set_aside(environ: MutableMapping[str, str]) -> None:
    """Take all that is said of proxies and certificates out of an environment; `named` still finds it."""
    if found := named(environ):
        environ[SET_ASIDE] = json.dumps(found)
    for name in found:
        environ.pop(name, None)


def named(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables about proxies and certificates that are set, also where they are set aside; by their names."""
    environ = os.environ if environ is None else environ
    found: dict[str, str] = json.loads(environ.get(SET_ASIDE, "{}"))
    ours = (*PROXIES, BYPASS)
    return found | {
        name: value
        for name, value in environ.items()
        if value.strip() and (name.lower() in ours or name in (*CERTIFICATES, *OTHERS))
    }


def usable(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Those of the variables that any program can use."""
    return {name: _plain(name, value) for name, value in named(environ).items() if _fault(name, value) is None}


def mend(environ: MutableMapping[str, str]) -> None:
    """Make an environment fit for a program that reads all of its variables, whichever host it asks.

    Raises:
        UsageError: one of them cannot be used; the message names it.
    """
    for name, value in named(environ).items():
        if (fault := _fault(name, value)) is not None:
            raise UsageError(fault)
        environ[name] = _plain(name, value)
    environ.pop(SET_ASIDE, None)


def check(url: str) -> None:
    """Refuse what the environment says of the way to another machine, where it cannot be used.

    Raises:
        UsageError: the message names the variable, never a proxy's password.
    """
    parts = urlsplit(url)
    if not is_here(parts.hostname):
        proxy_for(parts.scheme, parts.hostname or "")
        if parts.scheme == "https":
            certificates()


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host (HTTPS_PROXY, NO_PROXY, …), as offices need it.

    None for this machine itself, whatever the environment says: the sandbox is never behind a proxy.

    Raises:
        UsageError: it cannot be used; the message names the variable.
    """
    if is_here(host):
        return None
    # As everywhere: a name in small letters comes before the same in capitals.
    ours = {name.lower(): (name, value) for name, value in sorted(named().items()) if name.lower().endswith("_proxy")}
    if not ours:
        # Some systems have settings of their own for this.
        proxies = {} if proxy_bypass(host) else getproxies()
        return _with_scheme(proxies.get(scheme) or proxies.get("all"))
    if _is_bypassed(host.lower(), ours.get(BYPASS, ("", ""))[1]):
        return None
    name, value = ours.get(f"{scheme}_proxy") or ours.get("all_proxy") or ("", None)
    if value and (fault := _fault(name, value)) is not None:
        raise UsageError(fault)
    return _with_scheme(value)


def certificates() -> ssl.SSLContext | None:
    """Whom to trust by SSL_CERT_FILE or SSL_CERT_DIR; None where neither is set.

    Raises:
        UsageError: the file or folder cannot be used; the message names the variable.
    """
    found = named()
    for name in (*CERTIFICATES, "SSLKEYLOGFILE"):
        if name in found and (fault := _fault(name, found[name])) is not None:
            raise UsageError(fault)
    if file := found.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=file)
    if folder := found.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    return None


def _is_bypassed(host: str, entries: str) -> bool:
    """Whether NO_PROXY names the host: itself, a domain that it is in, or a network of addresses."""
    for entry in (one.strip().lower() for one in entries.split(",")):
        name, _, port = entry.rpartition(":")
        domain = (name if ":" not in name and port.isdigit() else entry).lstrip("*.")
        if entry == "*" or (domain and (host == domain or host.endswith(f".{domain}"))):
            return True
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
    return False


def _with_scheme(proxy: str | None) -> str | None:
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _fault(name: str, value: str) -> str | None:
    """What is wrong with a variable, in a sentence; None where nothing is."""
    if name.lower() in PROXIES:
        return _fault_of_proxy(name, value)
    if name == "SSLKEYLOGFILE":
        written = Path(value) if Path(value).exists() else Path(value).parent
        return None if os.access(written, os.W_OK) else f"{name}: {value} cannot be written; unset it"
    if name not in CERTIFICATES:
        return None
    try:
        if name == "SSL_CERT_DIR":
            for folder in value.split(os.pathsep):
                os.listdir(folder)
        else:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except OSError as error:
        reason = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
        what = "a folder of certificates" if name == "SSL_CERT_DIR" else "a file of certificates (PEM)"
        return f"{name}: {value} cannot be used ({reason}); name {what}, or unset it"
    return None


def _fault_of_proxy(name: str, value: str) -> str | None:
    advice = "give one such as http://proxy.example:3128, or unset it"
    try:
        parts = urlsplit(_with_scheme(value.strip()) or "")
        there = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        there, parts = False, urlsplit("")
    if parts.scheme in ("socks5", "socks5h") and there:
        if find_spec("socksio") is not None:
            return None
        return f"{name} names a SOCKS proxy, which needs the package socksio; install it, or {advice}"
    if not there or parts.scheme not in ("http", "https") or not value.isascii() or not value.isprintable():
        return f"{name} names no proxy that can be used; {advice}"
    return None


def _plain(name: str, value: str) -> str:
    """The value without entries of NO_PROXY of forms that not every program reads: containers inject such."""
    if name.lower() != BYPASS:
        return value
    return ",".join(entry for entry in value.split(",") if _is_plain(entry.strip()))


def _is_plain(entry: str) -> bool:
    """Whether every program can read that entry of NO_PROXY: a name, an address, with or without a port."""
    if not entry.isascii() or set(entry) & set("[] @"):
        return False
    name, colon, port = entry.rpartition(":")
    if not colon:
        return bool(entry)
    if ":" not in name:
        return port.isdigit()
    try:
        ipaddress.IPv6Address(entry)
    except ValueError:
        return False
    return True
