"""Which service a process is of, and which sockets a service has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bridge.host import services
from bridge.host.files import read_text as read_text_of_file
from bridge.host.services import command_line, has_ended, own_service, processes_of, sockets_of

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/emperor-bridge.service\n", "emperor-bridge.service"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/a.service\n", ""),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("12:pids:/x.service\n1:name=systemd:/system.slice/a.service\n0::/\n", "a.service"),
        ("12:pids:/x.service\n", ""),
        ("", ""),
        ("garbage", ""),
    ],
)
def test_the_service_of_a_process(cgroups: str, unit: str) -> None:
    assert own_service(cgroups, is_users=False) == unit


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/user.slice/user-9.slice/user@9.service/app.slice/a.service\n", "a.service"),
        ("0::/user.slice/user-9.slice/user@9.service/init.scope\n", ""),
        ("0::/user.slice/user-9.slice/user@9.service\n", ""),
        ("0::/system.slice/a.service\n", ""),
    ],
)
def test_the_service_of_a_users_own_manager(cgroups: str, unit: str) -> None:
    assert own_service(cgroups, is_users=True) == unit


def test_the_sockets_of_a_service_are_those_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_text_of_file

    def in_service(*pids: int) -> Callable[[str], str]:
        def read_text(path: str) -> str:
            if not path.endswith("/cgroup"):
                return read(path)
            return "0::/system.slice/a.service\n" if path.split("/")[2] in map(str, pids) else "0::/\n"

        return read_text

    with socket.socket() as one:
        number = os.fstat(one.fileno()).st_ino
        monkeypatch.setattr(services, "read_text", in_service(os.getpid()))
        assert number in sockets_of("a.service", is_users=False)
        assert sockets_of("b.service", is_users=False) == set()
        monkeypatch.setattr(services, "read_text", in_service())
        assert sockets_of("a.service", is_users=False) == set()


def test_a_process_is_told_by_its_parent_its_words_and_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_text_of_file
    argv = [sys.executable, "-c", "print(); input()", "a b", ""]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": "/bin", "ONE": "x=y\n"}
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()

        def read_text(path: str) -> str:
            return read(path) if path != f"/proc/{child.pid}/cgroup" else "0::/system.slice/child.service\n"

        monkeypatch.setattr(services, "read_text", read_text)
        (found,) = processes_of("child.service", is_users=False)
        assert (found.pid, found.parent) == (child.pid, os.getpid())
        assert found.words == tuple(argv) == command_line(child.pid)
        assert {"PATH", "ONE"} <= found.variables
        assert not has_ended(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # Its parent has not taken notice yet.
        assert has_ended(child.pid)
        assert processes_of("child.service", is_users=False) == []
    assert has_ended(child.pid)
