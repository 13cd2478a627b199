"""The kinds of configs whose own sockets systemd hands over; see `test_own_kinds`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .bridge import VASSALS

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN = "/run/own"
LOGS = "/srv/own/logs"
APP = "/srv/own/app.py"
# What it says of itself: who it is, what sockets it has, and by which of them the request came.
APP_TEXT = """\
import json, os, socket, time, uwsgi

def name(fd):
    with socket.socket(fileno=os.dup(fd)) as bound:
        found = bound.getsockname()
    if isinstance(found, tuple):
        host, port = found[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return found if isinstance(found, str) else "@" + found[1:].decode()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.3)
    start_response("200 OK", [("Content-Type", "application/json")])
    said = {"pid": os.getpid(), "ppid": os.getppid(), "master": uwsgi.masterpid(), "uid": os.getuid()}
    said |= {"came": name(uwsgi.connection_fd()), "fds": uwsgi.sockets, "names": [name(fd) for fd in uwsgi.sockets]}
    said |= {key: value for key, value in os.environ.items() if key.startswith("CASE_")}
    return [json.dumps(said).encode()]
"""
LINES = ("plugin = python3", f"wsgi-file = {APP}", "processes = 1", "disable-logging = true")
DIES = ("idle = 2", "die-on-idle = true")
CERTIFICATE, KEY = "/srv/own/cert.pem", "/srv/own/key.pem"
MAKE_CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
    *("-out", CERTIFICATE, "-keyout", KEY),
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One vassal. In its texts SOCK is a path for a socket of its own."""

    name: str
    asked: tuple[tuple[str, str], ...]
    """The protocol and the address of each of its sockets, in their order."""
    text: str
    ending: str = "ini"
    files: Mapping[str, str] = field(default_factory=dict)
    """By path."""
    owner: str = "root"
    access: str = "755 root:root"
    """The mode and the owners of each of its socket files, as uWSGI itself would bind it."""
    has_master: bool = True
    says: Mapping[str, object] = field(default_factory=dict)
    """What the app must say of itself."""

    @property
    def config(self) -> str:
        return f"{VASSALS}/{self.name}.{self.ending}"

    @property
    def addresses(self) -> list[str]:
        return [address for _, address in self.asked]

    @property
    def paths(self) -> list[str]:
        return [address for address in self.addresses if address.startswith("/")]

    def contents(self) -> dict[str, str]:
        """Return its files by path."""
        texts = {self.config: self.text, **self.files}
        return {path: text.replace("SOCK", f"{RUN}/{self.name}.sock") for path, text in texts.items()}


def kind(name: str, *lines: str, on: tuple[str, ...] = (), **more: object) -> Kind:
    """Return a vassal by the lines of its ini, and by PROTOCOL ADDRESS of each of its sockets."""
    more.setdefault("text", "\n".join(["[uwsgi]", *LINES, "master = true", *DIES, *lines, ""]))
    pairs = [one.replace("SOCK", f"{RUN}/{name}.sock").split(" ") for one in on or ("uwsgi SOCK",)]
    return Kind(name=name, asked=tuple((protocol, address) for protocol, address in pairs), **more)  # type: ignore[arg-type]


def xml(*lines: str) -> str:
    pairs = (line.split(" = ", 1) for line in (*LINES, "master = true", *DIES, *lines))
    return "".join(["<uwsgi>\n", *(f"<{key}>{value}</{key}>\n" for key, value in pairs), "</uwsgi>\n"])


def yaml(*lines: str) -> str:
    pairs = (line.split(" = ", 1) for line in (*LINES, "master = true", *DIES, *lines))
    return "".join(["uwsgi:\n", *(f"  {key}: {value}\n" for key, value in pairs)])


def json(*lines: str) -> str:
    pairs = (line.split(" = ", 1) for line in (*LINES, "master = true", *DIES, *lines))
    return '{"uwsgi": {' + ", ".join(f'"{key}": "{value}"' for key, value in pairs) + "}}\n"


FIVE = (
    *("http-socket = SOCK", "socket = 127.0.0.1:9820", "fastcgi-socket = 127.0.0.1:9821"),
    *("scgi-socket = @own-five", "http11-socket = [::1]:9822"),
)
WITHOUT_MASTER = "\n".join(["[uwsgi]", *LINES, "http-socket = SOCK", ""])
KINDS = (
    kind("uwsgi", "socket = SOCK", "vacuum = true", "chmod-socket = 666", access="666 root:root"),
    kind("http", "http-socket = SOCK", on=("http SOCK",)),
    kind("fastcgi", "fastcgi-socket = SOCK", "umask = 007", on=("fastcgi SOCK",), access="770 root:root"),
    kind("scgi", "scgi-socket = SOCK", "chmod-socket = 1", on=("scgi SOCK",), access="666 root:root"),
    kind("https", f"https-socket = 127.0.0.1:9801,{CERTIFICATE},{KEY}", on=("https 127.0.0.1:9801",)),
    kind("protocol", "protocol = http", "socket = SOCK", on=("http SOCK",)),
    kind("abstract", "http-socket = @own-abstract", "socket = SOCK", on=("http @own-abstract", "uwsgi SOCK")),
    kind("ipv4", "socket = 127.0.0.2:9802", "so-keepalive = true", on=("uwsgi 127.0.0.2:9802",)),
    kind("ipv6", "scgi-socket = [::1]:9803", on=("scgi [::1]:9803",)),
    kind("wildcard", "http-socket = :9804", "socket = 0.0.0.0:9805", on=("http 0.0.0.0:9804", "uwsgi 0.0.0.0:9805")),
    kind("wildcard6", "fastcgi-socket = [::]:9806", "listen = 64", on=("fastcgi [::]:9806",)),
    kind(
        "five",
        *FIVE,
        on=(
            *("http SOCK", "uwsgi 127.0.0.1:9820", "fastcgi 127.0.0.1:9821"),
            *("scgi @own-five", "http [::1]:9822"),
        ),
    ),
    kind("shared", "shared-socket = 127.0.0.1:9807", "http-socket = =0", on=("http 127.0.0.1:9807",)),
    kind(
        "undeferred",
        *(
            "undeferred-shared-socket = SOCK",
            "uwsgi-socket = =0",
            "http-socket = @own-undeferred",
            "chmod-socket = 600",
        ),
        on=("uwsgi SOCK", "http @own-undeferred"),
        access="600 root:root",
    ),
    kind(
        "nph",
        *("scgi-nph-socket = SOCK", "fastcgi-nph-socket = 127.0.0.1:9812", "add-header = X-Own: 1"),
        on=("scgi SOCK", "fastcgi 127.0.0.1:9812"),
    ),
    kind(
        "xml",
        text=xml("socket = SOCK", "http-socket = 127.0.0.1:9808"),
        ending="xml",
        on=("uwsgi SOCK", "http 127.0.0.1:9808"),
    ),
    kind("yaml", text=yaml("http-socket = SOCK"), ending="yaml", on=("http SOCK",)),
    kind("json", text=json("socket = SOCK"), ending="json"),
    kind(
        "included",
        "folder = /run/own",
        "include = %d../own/more.ini",
        "socket = %(folder)/%n.sock",
        files={"/srv/own/more.ini": "[uwsgi]\nfor = 9809\nhttp-socket = 127.0.0.1:%(_)\nendfor =\n"},
        on=("http 127.0.0.1:9809", "uwsgi SOCK"),
    ),
    kind("masterless", text=WITHOUT_MASTER, on=("http SOCK",), has_master=False),
    kind("threads", "socket = SOCK", "threads = 3", "lazy-apps = true", "enable-threads = true"),
    kind("cheaper", "socket = SOCK", "workers = 3", "cheaper = 1", "cheaper-initial = 1", "thunder-lock = true"),
    kind("daemonize", "http-socket = SOCK", f"daemonize = {LOGS}/daemonize.log", on=("http SOCK",)),
    kind("logto", "http-socket = SOCK", f"logto = {LOGS}/logto.log", on=("http SOCK",)),
    kind("logto2", "socket = SOCK", f"logto2 = {LOGS}/logto2.log", "log-master = true"),
    kind(
        "user",
        *("socket = SOCK", "uid = www-data", "gid = www-data", f"logto = {LOGS}/user.log", "vacuum = true"),
        access="755 www-data:www-data",
        says={"uid": 33},
    ),
    kind(
        "given",
        *("socket = SOCK", "uid = www-data", "chown-socket = daemon:www-data", "chmod-socket = 660"),
        access="660 daemon:www-data",
        says={"uid": 33},
    ),
    kind("chownuser", "socket = SOCK", "chown-socket = daemon", access="755 daemon:root"),
    kind("useronly", "socket = SOCK", "uid = 33", "chmod-socket = 664", access="664 www-data:root", says={"uid": 33}),
    kind("immediate", "socket = SOCK", "immediate-uid = www-data", access="755 www-data:root", says={"uid": 33}),
    kind("cheap", "socket = SOCK", "cheap = true"),
    kind("stats", "stats = /run/own/stats", "http-socket = SOCK", "no-defer-accept = true", on=("http SOCK",)),
    kind("rootmaster", "socket = SOCK", "master-as-root = true", "uid = www-data", "memory-report = true"),
)

TYRANT = (
    *("--emperor-tyrant", "--tenant-socket-directory", RUN, "--emperor-wrapper", "/srv/own/wrapper"),
    *("--vassals-set", "env=CASE_SET=1", "--vassals-include-before", "/srv/own/before.ini"),
)
TYRANT_FILES = {
    "/srv/own/wrapper": '#!/bin/sh\nexport CASE_WRAPPED=1\nexec uwsgi "$@"\n',
    "/srv/own/before.ini": "[uwsgi]\nhttp-socket = %(before)\nchmod-socket = 640\n",
}
_SAYS = {"CASE_SET": "1", "CASE_WRAPPED": "1"}
TENANT_KINDS = (
    kind(
        "alices",
        *("before = 127.0.0.1:9810", "fastcgi-socket = SOCK"),
        on=("http 127.0.0.1:9810", "fastcgi SOCK"),
        owner="alice",
        access="640 alice:alice",
        says={"uid": 4001, **_SAYS},
    ),
    kind(
        "bobs",
        *("before = @own-bob", "socket = 127.0.0.1:9811", "http-socket = /run/vassals/4002/b.sock"),
        *("logto = /srv/own/logs/bobs.log", "chmod-socket = 777"),
        on=("http @own-bob", "uwsgi 127.0.0.1:9811", "http /run/vassals/4002/b.sock"),
        owner="bob",
        access="777 bob:bob",
        says={"uid": 4002, **_SAYS},
    ),
)
