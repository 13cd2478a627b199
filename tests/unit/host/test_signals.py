from __future__ import annotations

from bridge.host.signals import signal_name


def test_names_of_signals() -> None:
    assert signal_name(15) == "SIGTERM"
    assert signal_name(99) == "signal 99"
