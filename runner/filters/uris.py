"""UriPart: one part of an absolute address."""

from __future__ import annotations

import ipaddress
from typing import Callable, Dict
from urllib.parse import SplitResult, unquote, urlsplit

from runner.filters.call import Call, Filter, Refused

_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443, "ldap": 389, "nntp": 119, "telnet": 23}


def uri_part(call: Call) -> str:
    name = call.option(0).lower()
    if name not in _PARTS:
        raise Refused(f"there is no such part; it takes {', '.join(sorted(_PARTS))}")
    try:
        uri = urlsplit(call.value.strip())
        port = uri.port
    except ValueError as error:
        raise Refused("the text is no address") from error
    absolute = bool(uri.scheme) and (bool(uri.netloc) or uri.scheme == "file")
    if name == "isabsoluteuri":
        return _said(absolute)
    if not absolute:
        raise Refused("the text is no absolute address")
    del port
    return _PARTS[name](uri)


def _host(uri: SplitResult) -> str:
    host = uri.hostname or ""
    return f"[{host}]" if ":" in host else host


def _port(uri: SplitResult) -> int:
    return uri.port if uri.port is not None else _PORTS.get(uri.scheme, -1)


def _path(uri: SplitResult) -> str:
    return uri.path or "/"


def _query(uri: SplitResult) -> str:
    return f"?{uri.query}" if uri.query else ""


def _fragment(uri: SplitResult) -> str:
    return f"#{uri.fragment}" if uri.fragment else ""


def _authority(uri: SplitResult) -> str:
    return _host(uri) if _port(uri) == _PORTS.get(uri.scheme, -1) else f"{_host(uri)}:{_port(uri)}"


def _user(uri: SplitResult) -> str:
    return uri.netloc.rpartition("@")[0]


def _absolute(uri: SplitResult) -> str:
    user = _user(uri) + "@" if _user(uri) else ""
    return f"{uri.scheme}://{user}{_authority(uri)}{_path(uri)}{_query(uri)}{_fragment(uri)}"


def _kind(uri: SplitResult) -> str:
    host = uri.hostname or ""
    try:
        return "IPv6" if ipaddress.ip_address(host).version == 6 else "IPv4"
    except ValueError:
        return "Dns" if host else "Basic"


def _is_loopback(uri: SplitResult) -> str:
    try:
        return _said(ipaddress.ip_address(uri.hostname or "").is_loopback)
    except ValueError:
        return _said((uri.hostname or "localhost") == "localhost")


def _said(answer: bool) -> str:
    return "true" if answer else "false"


_PARTS: Dict[str, Callable[[SplitResult], str]] = {
    "absolutepath": _path,
    "absoluteuri": _absolute,
    "authority": _authority,
    "dnssafehost": lambda uri: uri.hostname or "",
    "fragment": _fragment,
    "host": _host,
    "hostandport": lambda uri: f"{_host(uri)}:{_port(uri)}",
    "hostnametype": _kind,
    "isabsoluteuri": lambda uri: _said(bool(uri.scheme)),
    "isdefaultport": lambda uri: _said(_port(uri) == _PORTS.get(uri.scheme, -1)),
    "isfile": lambda uri: _said(uri.scheme == "file"),
    "isloopback": _is_loopback,
    "isunc": lambda uri: _said(uri.scheme == "file" and bool(uri.netloc)),
    "path": lambda uri: unquote(_path(uri)),
    "pathandquery": lambda uri: _path(uri) + _query(uri),
    "port": lambda uri: str(_port(uri)),
    "query": _query,
    "scheme": lambda uri: uri.scheme,
    "schemeandserver": lambda uri: f"{uri.scheme}://{_authority(uri)}",
    "userinfo": _user,
}
FILTERS = {"UriPart": Filter(uri_part, 1, 1)}
