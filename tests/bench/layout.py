"""Where everything of the benchmark is in the machine, and what the files say. Pure, shared by both sides."""

from __future__ import annotations

VASSALS = "/srv/vassals"
SOCKETS = "/run/bench"
APP = "/srv/app/app.py"
UNITS = "/etc/systemd/system"
TARGET = "bare.target"
OUTPUT = "/run/bench-output"
"""Where the commands' output goes."""
APP_TEXT = """\
import time
LOADED = time.monotonic()
import os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %f\\n" % (os.getppid(), LOADED)]
"""
AWAKE = 3600
"""Seconds without a request after which a vassal would end: longer than any run."""


def name_of(number: int) -> str:
    """Return a vassal's name."""
    return f"v{number}"


def address_of(name: str) -> str:
    """Return where a vassal waits."""
    return f"{SOCKETS}/{name}.sock"


def config(*lines: str, idle: int = AWAKE) -> str:
    """Return a vassal's config; Debian's uWSGI has Python as a plugin."""
    head = ["[uwsgi]", "plugin = python3", f"wsgi-file = {APP}", "master = true", "processes = 1"]
    return "\n".join([*head, f"idle = {idle}", "die-on-idle = true", *lines, ""])


def vassal(name: str, text: str | None = None, address: str | None = None) -> dict[str, str]:
    """Return a vassal's files: the rule first, for without it the vassal would be taken to run always."""
    path = f"{VASSALS}/{name}.ini"
    return {f"{path}.socket": f"{address or address_of(name)}\n", path: text or config()}


def bare_socket(name: str, *, address: str | None = None, slice_name: str = "") -> dict[str, str]:
    """Return the least socket unit that does it."""
    lines = [
        "[Socket]",
        f"ListenStream={address or address_of(name)}",
        *([f"Slice={slice_name}"] if slice_name else []),
    ]
    return {f"{UNITS}/bare-{name}.socket": "\n".join([*lines, ""])}


def bare_units(name: str, *, address: str | None = None, slice_name: str = "") -> dict[str, str]:
    """Return the least units that do what a vassal on demand needs.

    The output would else go into the socket, and the sixth start within 10 s would close it.
    """
    lines = [
        "[Unit]",
        "StartLimitIntervalSec=0",
        "[Service]",
        "Type=notify",
        f"ExecStart=/usr/bin/uwsgi --ini {VASSALS}/{name}.ini",
    ]
    lines += ["StandardInput=socket", "StandardOutput=journal", "StandardError=journal", "KillSignal=SIGINT"]
    if slice_name:
        lines.append(f"Slice={slice_name}")
    service = {f"{UNITS}/bare-{name}.service": "\n".join([*lines, ""])}
    return service | bare_socket(name, address=address, slice_name=slice_name)


def bare_target(target: str, names: list[str]) -> dict[str, str]:
    """Return a target that starts sockets and is forgotten then, so that it keeps none of them in memory."""
    lines = ["[Unit]", "StopWhenUnneeded=yes", *(f"Wants=bare-{name}.socket" for name in names)]
    return {f"{UNITS}/{target}": "\n".join([*lines, ""])}
