"""What systemd hears from the daemon's service, through a socket of the test's own."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bridge.watch.sd_notify import ServiceState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        yield receiver


def received(systemd: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(systemd.recv(4096).decode().strip())
        except BlockingIOError:
            return messages


def test_ready_is_sent_once_for_each_load_of_the_configuration(systemd: socket.socket) -> None:
    service = ServiceState()
    service.ready()
    service.status("2 vassals")
    service.ready()
    service.reloading()
    service.ready()
    service.stopping()
    assert received(systemd) == ["READY=1", "STATUS=2 vassals", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert service.due() is None


def test_the_watchdog_is_answered_twice_in_its_time(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    now = 100.0
    service = ServiceState(lambda: now)
    sent = []
    for now in (105.0, 110.0, 115.0, 121.0, 122.0):  # noqa: B007
        service.alive()
        sent.append(len(received(systemd)))
    assert sent == [0, 1, 0, 1, 0]
    assert service.due() == 131.0


def test_outside_systemd_nothing_is_sent(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")
    ServiceState().ready()
    assert received(systemd) == []
