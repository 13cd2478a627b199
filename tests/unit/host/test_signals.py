from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from bridge.host.signals import is_caught, signal_name


def test_names_of_signals() -> None:
    assert signal_name(15) == "SIGTERM"
    assert signal_name(99) == "signal 99"


@pytest.mark.parametrize(
    ("prepare", "is_so"),
    [
        ("pass", False),
        ("signal.signal(signal.SIGHUP, lambda *_: None)", True),
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", False),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})", False),
    ],
    ids=["default", "caught", "ignored", "blocked"],
)
def test_whether_a_signal_is_caught_is_seen_from_outside(prepare: str, *, is_so: bool) -> None:
    other = "signal.signal(signal.SIGUSR1, lambda *_: None)"
    script = f"import signal, sys; {other}; {prepare}; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_caught(process.pid, signal.SIGHUP) is is_so
        assert is_caught(process.pid, signal.SIGUSR1)
        assert not is_caught(process.pid, signal.SIGUSR2)
        process.communicate()
    assert is_caught(process.pid, signal.SIGHUP)
