"""The options by which a uWSGI process binds listening sockets itself.

core/uwsgi.c (``uwsgi_base_options``), core/socket.c, and the options of the plugins corerouter, http, fastrouter,
rawrouter, sslrouter, forkptyrouter, mongrel2, pty, tuntap and zergpool of uWSGI 2.0.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.uwsgi.options import Config, Option

REQUESTS = frozenset(
    {"socket", "uwsgi-socket", "http-socket", "http11-socket", "fastcgi-socket", "fastcgi-nph-socket"}
    | {"scgi-socket", "scgi-nph-socket", "raw-socket", "puwsgi-socket"}
)
"""Sockets of the workers: the whole value is the address."""
SSL = frozenset({"https-socket", "suwsgi-socket", "ssl-socket"})
"""Sockets of the workers with TLS: ``address,certificate,key…``."""
SHARED = frozenset({"shared-socket", "undeferred-shared-socket"})
_ROUTERS = ("fastrouter", "http", "rawrouter", "sslrouter", "forkptyrouter")
ROUTERS = frozenset({"http", "httprouter", "fastrouter", "rawrouter", "forkptyrouter", "forkpty-router"})
"""Sockets of routers, which run beside the workers; ``=N`` stands for a shared socket."""
_FIRST_ITEM = frozenset({"https", "http-to-https", "sslrouter"}) | SSL
"""Options whose address ends at the first comma."""
_KEYVAL = frozenset({"https2", "sslrouter2"})
"""Options with ``addr=address,cert=…`` in any order (``uwsgi_kvlist_parse``)."""
SUBSCRIPTIONS = frozenset(f"{router}-subscription-server" for router in _ROUTERS)
STATS = frozenset(
    {"stats", "stats-server", "emperor-stats", "emperor-stats-server", "tuntap-router-stats"}
    | {f"{router}-{end}" for router in _ROUTERS for end in ("stats", "stats-server", "ss")}
)
OTHERS = frozenset({"udp", "cache-udp-server", "snmp", "notify-socket", "subscription-notify-socket"}) | {
    *("zerg-server", "pty-socket", "setns-socket", "zeromq", "zmq", "zeromq-socket", "zmq-socket", "mongrel2"),
    *("zergpool", "zerg-pool", "tuntap-router"),
}
DATAGRAM = SUBSCRIPTIONS | {"udp", "cache-udp-server", "snmp"}
"""Options whose inet sockets are UDP, and so cannot collide with a TCP socket."""
BINDS_IN_MASTER = ROUTERS | (_FIRST_ITEM - SSL) | _KEYVAL | SUBSCRIPTIONS | (OTHERS - {"notify-socket"})
"""Sockets that the master or a process beside the workers binds, so that nothing can hand them over."""
ALL = REQUESTS | SHARED | ROUTERS | _FIRST_ITEM | _KEYVAL | SUBSCRIPTIONS | STATS | OTHERS
_PROTOCOLS = {"http": "http", "http11": "http", "https": "https", "fastcgi": "fastcgi", "scgi": "scgi"}
_REFERENCE = re.compile(r"=(?!\s*-)|fd://")
_SPACE = " \t\n\v\f\r"


def sockets(config: Config) -> Iterator[Option]:
    """Yield the options that bind a socket, each with the address as its value.

    References to existing sockets are left out: ``=N`` (a shared socket) and ``fd://N``. So are values with an
    ``@(file)`` that was not read; they are in the config's ``unread``.
    """
    for option in config.of(ALL):
        for written in _addresses(option):
            # generate_socket_name() skips blanks before a name, but not behind it.
            address = written.lstrip(_SPACE)
            if address and "@(" not in address and not _REFERENCE.match(address):
                yield replace(option, value=address)


def protocol_of(option: Option, config: Config) -> str:
    """Return what is spoken on a request socket, as ``protocol`` names it."""
    kind = option.key.partition("-")[0]
    default = config.last("protocol", "socket-protocol") if option.key == "socket" else None
    return default.value if default else _PROTOCOLS.get(kind, "uwsgi")


def _addresses(option: Option) -> list[str]:
    value = option.value
    if option.key in _FIRST_ITEM:
        return [value.partition(",")[0]]
    if option.key in _KEYVAL:
        items = (item.partition("=") for item in value.split(","))
        return [address for key, _, address in items if key == "addr"][-1:]
    if option.key in {"zergpool", "zerg-pool"}:
        pool, _, pooled = value.partition(":")
        return [pool, *pooled.split(",")]
    if option.key == "tuntap-router":
        return value.split(" ")[1:3]
    return [value]
