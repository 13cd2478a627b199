"""Finds the addresses to which nginx passes requests: a heuristic.

It searches the files of Debian's layout with patterns for ``uwsgi_pass``, ``fastcgi_pass``, ``scgi_pass``,
``proxy_pass`` and ``upstream``. It follows no ``include`` and no variable, so it can miss a line, or take one that is
not in force.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.model.address import parse_uwsgi_socket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.model.address import Address

CONFIGS = ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*")
_PASS = re.compile(
    r"^[^#\n]*?\b(?P<how>uwsgi|fastcgi|scgi|proxy)_pass\s+(?P<http>http://)?(?P<where>[^;\s]+);", re.MULTILINE
)
_UPSTREAM = re.compile(r"^[^#\n]*?\bupstream\s+(?P<name>[^\s{]+)\s*\{(?P<body>[^}]*)\}", re.MULTILINE)
_SERVER = re.compile(r"^(?:[^#\n]*?[\s;])?server\s+(?P<where>[^;\s]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ProxyPass:
    """A line of nginx's configuration that passes requests to an address."""

    address: Address
    protocol: str
    path: str
    line: int


def find_passes(texts: Mapping[str, str]) -> Iterator[ProxyPass]:
    """Yield the addresses to which the files, by path, pass requests, also those of an ``upstream``."""
    upstreams: dict[str, list[str]] = {}
    for text in texts.values():
        for match in _UPSTREAM.finditer(text):
            servers = [server["where"] for server in _SERVER.finditer(match["body"])]
            upstreams.setdefault(match["name"], []).extend(servers)
    for path, text in texts.items():
        for match in _PASS.finditer(text):
            if match["how"] == "proxy" and not match["http"]:
                continue
            # proxy_pass may have a URI after the address; after that of a unix socket a colon precedes it.
            proxied = match["how"] == "proxy"
            protocol = "http" if proxied else match["how"]
            name = match["where"].split("/")[0] if proxied else match["where"]
            line = text.count("\n", 0, match.start("how")) + 1
            for where in upstreams.get(name, [match["where"]]):
                address = where.removeprefix("unix:")
                if proxied and address.startswith("/"):
                    address = address.partition(":")[0]
                elif proxied:
                    address = address.partition("/")[0]
                if parsed := parse_uwsgi_socket(address, base="/"):
                    yield ProxyPass(parsed, protocol, path, line)
