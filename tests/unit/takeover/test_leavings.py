"""What an Emperor leaves behind, and what of it is removed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from bridge.host.listeners import Heard
from bridge.host.services import ServiceProcess
from bridge.model.address import InetAddress, UnixAddress, parse_address
from bridge.takeover.leavings import leavings, remove_leavings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_its_pidfiles_and_its_own_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.ini").write_text("[uwsgi]\nemperor = /v\npidfile = /run/e.pid\nsafe-pidfile2 = e2.pid\n")
    words = ("uwsgi", "--ini", "e.ini", "--emperor-pidfile", "/run/e3.pid", "--pidfile=/run/e4.pid")
    port = parse_address("127.0.0.1:80", base="/")
    assert isinstance(port, InetAddress)
    heard = [
        Heard(UnixAddress("/run/stats"), 5),
        Heard(UnixAddress("/run/a"), 6),
        Heard(UnixAddress("relative"), 5),
        Heard(port, 5),
    ]
    assert leavings([ServiceProcess(os.getpid(), 1, words, frozenset(), frozenset({5}))], heard) == [
        "/run/e3.pid",
        "/run/e4.pid",
        "/run/e.pid",
        f"{tmp_path}/e2.pid",
        "/run/stats",
    ]


def test_a_config_that_cannot_be_read_and_a_process_that_is_gone_are_no_problem(tmp_path: Path) -> None:
    words = ("uwsgi", "--ini", f"{tmp_path}/none.ini")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert leavings([ServiceProcess(os.getpid(), 1, words), ServiceProcess(gone.pid, 1, words)], []) == []


def test_only_what_is_of_nobody_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    texts = {"dead.pid": f"{gone.pid}\n", "live.pid": f"{os.getpid()}\n", "no.pid": "x", "empty.pid": ""}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "link").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as live:
        dead.bind(f"{tmp_path}/dead.sock")
        dead.close()
        live.bind(f"{tmp_path}/live.sock")
        live.listen()
        (tmp_path / "none").touch()
        names = [*texts, "dead.sock", "live.sock", "missing"]
        # Through a link, as in /var/run.
        remove_leavings([f"{tmp_path}/link/{name}" for name in names])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"live.pid", "no.pid", "empty.pid", "live.sock", "link", "none"}
