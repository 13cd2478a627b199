from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from bridge.host.signals import Handling, handling_of, signal_name


def test_names_of_signals() -> None:
    assert signal_name(15) == "SIGTERM"
    assert signal_name(99) == "signal 99"


@pytest.mark.parametrize(
    ("prepare", "handling"),
    [
        ("pass", Handling.DEFAULT),
        ("signal.signal(signal.SIGHUP, lambda *_: None)", Handling.CAUGHT),
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", Handling.IGNORED),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})", Handling.DEFAULT),
    ],
    ids=["default", "caught", "ignored", "blocked"],
)
def test_what_a_process_does_with_a_signal_is_seen_from_outside(prepare: str, handling: Handling) -> None:
    other = "signal.signal(signal.SIGUSR1, lambda *_: None)"
    script = f"import signal, sys; {other}; {prepare}; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert handling_of(process.pid, signal.SIGHUP) is handling
        assert handling_of(process.pid, signal.SIGUSR1) is Handling.CAUGHT
        assert handling_of(process.pid, signal.SIGUSR2) is Handling.DEFAULT
        process.communicate()
    assert handling_of(process.pid, signal.SIGHUP) is Handling.CAUGHT
