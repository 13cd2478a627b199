"""``check`` tells everything at once: each problem of each vassal, and the files that are not there for its user."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine


def told(bridge: Bridge, *, status: int = 0) -> dict[str, list[str]]:
    """Return the codes of ``check`` by vassal, sorted."""
    found: dict[str, list[str]] = {}
    for one in json.loads(bridge.run("check", "--json", status=status).stdout):
        found.setdefault(one["vassal"], []).append(one["code"])
    return {vassal: sorted(codes) for vassal, codes in found.items()}


def test_all_problems_of_every_vassal_are_told_in_one_run(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("first.ini", address="/run/first.sock")
    bridge.sync()
    wrong = ("workeers = 4", "chmod-socket = 9", "chown-socket = nobody-at-all", "idle = 1", "die-on-idle = true")
    lines = (*wrong, "mule = x", "socket = //run/first.sock", "check-static = /srv/none")
    bridge.vassal("second.ini", config(*lines), address="/run/first.sock")
    bridge.vassal("third.ini", config("workeers = 4"), address="not\tan address")
    bridge.vassal("fourth.ini", config("workeers = 4"), address="/run/first.sock")
    machine.write(f"{VASSALS}/broken.ini", "[uwsgi]\ninclude = /srv/none.ini\n")
    machine.write(f"{VASSALS}/broken.ini.socket", "also\tbroken\n")
    assert told(bridge, status=1) == {
        "second.ini": [
            *("address-conflict", "file-missing", "idle-jobs", "socket-access", "socket-access"),
            *("socket-is-rules", "unknown-option"),
        ],
        "third.ini": ["rule-invalid", "unknown-option"],
        "fourth.ini": ["address-conflict", "unknown-option"],
        "broken.ini": ["config-unreadable", "rule-invalid"],
    }
    row = bridge.status()["second.ini"]
    assert "problems more: see emperor-bridge check)" in row["problem"]
    assert bridge.app("uwsgi", "/run/first.sock")


NEEDED = {
    "chdir": "chdir = /srv/needed/none",
    "wsgi-file": "wsgi-file = none.py",
    "module": "module = no_such_module:application",
    "virtualenv": "virtualenv = none",
    "home": "home = /srv/needed/none",
    "plugin": "plugin = nosuch",
    "plugins-dir": "plugins-dir = none",
    "static-map": "static-map = /static=/srv/needed/none",
    "check-static": "check-static = none",
    "certificate": "https-socket = 127.0.0.1:9731,none.crt,/srv/needed/app.py",
    "log": "logto = /srv/needed/none/app.log",
    "pythonpath": "pythonpath = /srv/needed/none",
    "spooler": "spooler = none",
}
HIDDEN = {
    "chdir": "chdir = /srv/needed/alices",
    "wsgi-file": "wsgi-file = alices/app.py",
    "static-map": "static-map = /static=%d../needed/alices/static",
    "certificate": "https-socket = 127.0.0.1:9731,/srv/needed/alices/app.py,/srv/needed/app.py",
    "log": "logto = /srv/needed/alices/app.log",
}


@pytest.fixture
def needed(machine: Machine, tenants: None, bridge: Bridge) -> Bridge:
    """A folder with what bob's configs need, and one in it that only alice may enter."""
    del tenants
    files = {"/srv/needed/app.py": "", "/srv/needed/alices/app.py": "", "/srv/needed/alices/static/x": ""}
    machine.write_many(files)
    machine.run("chown", "--recursive", "alice:alice", "/srv/needed/alices")
    machine.run("chmod", "700", "/srv/needed/alices")
    machine.cleanups.append(lambda: machine.remove("/srv/needed"))
    bridge.options.append("--emperor-tyrant")
    return bridge


def serve(bridge: Bridge, owner: str, *lines: str) -> None:
    text = "\n".join(["[uwsgi]", "plugin = python3", "chdir = /srv/needed", *lines, ""])
    path = bridge.vassal("app.ini", text, address="127.0.0.1:9730")
    bridge.machine.run("chown", f"{owner}:{owner}", path)


@pytest.mark.parametrize("what", NEEDED)
def test_what_is_not_there_is_told(needed: Bridge, what: str) -> None:
    serve(needed, "bob", NEEDED[what])
    found = json.loads(needed.run("check", "--json").stdout)
    (one,) = [one for one in found if one["code"] == "file-missing"]
    assert one["severity"] == "warning"
    assert one["message"].startswith(NEEDED[what])
    assert (one["path"], one["line"]) == (f"{VASSALS}/app.ini", 4)
    assert "none" in one["message"] or "no_such_module" in one["message"] or "nosuch" in one["message"]


@pytest.mark.parametrize("what", HIDDEN)
def test_it_is_seen_as_the_vassals_user_sees_it(needed: Bridge, what: str) -> None:
    serve(needed, "bob", HIDDEN[what])
    assert told(needed)["app.ini"].count("file-missing") == 1
    # It is there for alice, and for root.
    serve(needed, "alice", HIDDEN[what])
    assert "file-missing" not in told(needed).get("app.ini", [])


def test_what_is_there_is_no_problem(machine: Machine, needed: Bridge) -> None:
    machine.run("mkdir", "-p", "/srv/needed/env/lib/python3.11/site-packages/shop", "/srv/needed/spool")
    machine.run("chown", "bob:bob", "/srv/needed/spool")
    serve(needed, "bob", "wsgi-file = app.py", "static-map = /s=app.py", "pythonpath = ../needed", "spooler = spool")
    assert told(needed) == {}
    serve(needed, "bob", "module = json:loads")
    assert told(needed) == {}
    serve(needed, "bob", "virtualenv = env", "module = shop.wsgi:application")
    assert told(needed) == {}
