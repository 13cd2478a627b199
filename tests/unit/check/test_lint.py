from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.check.lint import (
    by_collision,
    find_misspelt,
    find_open_config,
    find_other_protocol,
    find_pidfile_clashes,
    find_pidfiles,
    find_removed_folders,
    lint,
)
from bridge.check.nginx import ProxyPass
from bridge.model.address import parse_address
from bridge.model.vassal import Way
from bridge.uwsgi import parse_ini
from bridge.uwsgi.conditions import Surroundings
from bridge.uwsgi.interpreter import Process
from bridge.uwsgi.options import Config
from tests.unit.build import make_resolved, make_vassal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import ResolvedVassal

SANE = [
    "idle = 60\ndie-on-idle = true\nprocesses = 4",
    "cron = 0 0 -1 -1 -1 true\nidle = 60",
    "spooler = /var/spool/app\nthreads = 8",
    "die-on-idle = false\nmule = m.py",
    "idle = 60\ndie-on-idle = true\nthreads = 1\nenable-threads = true",
    "stats = 127.0.0.1:1717\nuid = www-data",
    "master = true\nidle = 9\ndie-on-idle = 1",
]


def config(lines: str) -> Config:
    process = Process(Surroundings(environ={}))
    process.add(parse_ini.parse(f"[uwsgi]\n{lines}\n", path="/v/app.ini"))
    return Config("/v/app.ini", tuple(process.finish()), tuple(process.unread))


def same(_key: str, own: str) -> set[str]:
    return {own, "alice"}


def hazards(lines: str, resolved: ResolvedVassal | None = None) -> list[Diagnostic]:
    return list(lint(resolved or make_resolved("app.ini", "/run/app.sock"), config(lines), same))


def codes(lines: str, resolved: ResolvedVassal | None = None) -> list[tuple[str, int | None]]:
    return [(found.code, found.line) for found in hazards(lines, resolved)]


@pytest.mark.parametrize("lines", SANE)
def test_a_sane_config_has_none(lines: str) -> None:
    assert codes(lines) == []


@pytest.mark.parametrize("option", ["idle = 60", "idle = 60\ndie-on-idle = true"])
def test_idle_without_its_master(option: str) -> None:
    ((code, line),) = codes(f"master = off\n{option}")
    assert (code, line) == ("idle-no-master", 2 + len(option.splitlines()))


def test_die_on_idle_alone() -> None:
    assert codes("die-on-idle = true") == [("idle-not-set", 2)]


@pytest.mark.parametrize("job", ["cron = 0 0 -1 -1 -1 x", "mule = m.py", "spooler = s", "attach-daemon = x"])
def test_jobs_that_stop_with_the_app(job: str) -> None:
    (found,) = hazards(f"idle = 5\ndie-on-idle = true\n{job}")
    assert (found.code, found.line) == ("idle-jobs", 4)
    assert found.message.startswith(job.partition(" ")[0])


def test_threads_that_lose_requests() -> None:
    assert codes("threads = 4\nidle = 5\ndie-on-idle = 1") == [("idle-threads", 2)]


def test_a_socket_nothing_waits_on() -> None:
    assert codes("http = :8080\nsocket = /run/other.sock") == [("socket-extra", 2), ("socket-extra", 3)]
    assert codes("http = :8080", make_resolved("app.ini")) == []


def test_a_socket_in_a_condition_nobody_can_decide() -> None:
    assert codes("if-hostname-match = ^web\nsocket = /run/app.sock\nendif =") == [("socket-hidden", 3)]


def test_a_user_that_cannot_be_had() -> None:
    resolved = make_resolved("app.ini", "/run/app.sock")
    tenant = replace(resolved, spawn=replace(resolved.spawn, user="4001", group="4001"))
    assert codes("uid = bob\ngid = 5", tenant) == [("uid-impossible", 2), ("gid-impossible", 3)]
    assert codes("uid = alice\ngid = 4001", tenant) == []


def test_a_daemon_that_is_none() -> None:
    (found, pidfile) = hazards("daemonize = /var/log/app.log\npidfile = app.pid")
    assert (found.code, found.line, pidfile.code, pidfile.line) == ("daemonize", 2, "daemonize", 3)
    assert "logto = /var/log/app.log" in found.hint


def test_who_gets_his_own_sockets_writes_no_pidfile() -> None:
    own = replace(make_resolved("app.ini", "/run/app.sock"), way=Way.OWN)
    assert codes("socket = /run/app.sock\npidfile = app.pid", own) == [("pidfile-unwritten", 3)]
    lines = "daemonize = /app.log\nsafe-pidfile2 = app.pid"
    assert codes(lines, own) == [("daemonize", 2), ("pidfile-unwritten", 3)]
    other = make_resolved("b.ini", "/run/b.sock")
    assert list(clashes([(one, config("pidfile = /a")) for one in (own, other)])) == []


def clashes(configs: list[tuple[ResolvedVassal, Config]]) -> Iterator[Diagnostic]:
    return find_pidfile_clashes(find_pidfiles(configs))


def test_one_pidfile_for_two() -> None:
    first, second, third = (make_resolved(f"{name}.ini") for name in "abc")
    one, other = config("pidfile = app.pid"), config("chdir = /srv\nsafe-pidfile = ./app.pid")
    found = list(clashes([(first, one), (second, other), (third, config("pidfile = /c.pid"))]))
    assert [(d.vassal, d.code, d.line) for d in found] == [("a.ini", "pidfile-clash", 2), ("b.ini", "pidfile-clash", 3)]
    assert "by vassal b.ini" in found[0].message
    after = config("chdir = /srv\npidfile2 = app.pid")
    assert list(clashes([(first, one), (second, after)])) == []
    assert len(list(clashes([(first, config("pidfile = /srv/app.pid")), (second, after)]))) == 2
    assert list(clashes([(first, config("pidfile = x\npidfile2 = x"))])) == []


def test_a_folder_that_goes_with_another_unit() -> None:
    directories = {"/run/uwsgi": "uwsgi-emperor.service"}
    (found,) = find_removed_folders(make_resolved("app.ini", "/run/uwsgi/app/socket"), directories)
    assert found.code == "runtime-directory"
    assert "uwsgi-emperor.service stops" in found.message
    assert list(find_removed_folders(make_resolved("app.ini", "/run/uwsgi.sock"), directories)) == []
    assert list(find_removed_folders(make_resolved("app.ini", "@/run/uwsgi/x"), directories)) == []


def test_a_web_server_that_speaks_something_else() -> None:
    resolved = make_resolved("app.ini", "/run/app.sock")
    line = ProxyPass(parse_address("/run/app.sock", base="/"), "fastcgi", "/etc/nginx/nginx.conf", 7)
    passes = by_collision([line], lambda address: address)
    (found,) = find_other_protocol(resolved, config(""), passes)
    assert found.code == "protocol-mismatch"
    assert found.message == "/etc/nginx/nginx.conf:7 speaks fastcgi to /run/app.sock, and the app uwsgi"
    assert list(find_other_protocol(resolved, config("protocol = fastcgi"), passes)) == []
    assert list(find_other_protocol(make_resolved("app.ini", "/run/b.sock"), config(""), passes)) == []


def test_a_misspelt_option() -> None:
    known = frozenset({"master", "processes", "die-on-idle"})
    text = "proceses = 4\nbase = /srv\nmasters = 1\nx = %(masters)"
    (found,) = find_misspelt(make_vassal(), config(text), known, lambda: text)
    assert (found.code, found.line, found.hint) == ("unknown-option", 2, "did you mean processes?")
    declared = "declare-option = proceses=x\nproceses = 4"
    assert list(find_misspelt(make_vassal(), config(declared), known, lambda: declared)) == []


@pytest.mark.parametrize(("mode", "count"), [(0o100644, 0), (0o100664, 1), (0o100646, 1), (0o041777, 0), (0o040775, 1)])
def test_what_others_than_the_tenant_can_write(mode: int, count: int) -> None:
    assert len(list(find_open_config(make_vassal(), {"/v/app.ini": mode}))) == count
