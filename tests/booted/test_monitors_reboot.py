"""A machine boots while the servers that its vassals come from are down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import WATCH, Bridge
from .sources import SERVERS, SOURCES, follow, vassal

if TYPE_CHECKING:
    from .machine import Machine
    from .sources import Source

BACK = 30.0
"""Seconds in which a site must be there that was added while its server was away for as long as this test likes."""


def wakes(source: Source) -> str:
    return f"/run/{source.scheme}.sock"


def always(source: Source) -> str:
    return f"127.0.0.1:{source.port + 1000}"


@pytest.fixture
def sources(machine: Machine, bridge: Bridge) -> list[Source]:
    """All servers, each with a site on demand and one that runs always."""
    made = [SOURCES[scheme](machine) for scheme in SERVERS]
    for source in made:
        machine.cleanups.insert(0, source.remove)
        source.make()
    bridge.options = []
    follow(bridge, *(source.table(source.scheme) for source in made))
    for source in made:
        own = vassal(f"{source.scheme}always.ini", f"socket = {always(source)}")
        source.put(vassal(f"{source.scheme}wakes.ini", socket=wakes(source)), own)
    for source in made:
        bridge.wait(f"{source.scheme}wakes", "listening")
        bridge.wait(f"{source.scheme}always", "running")
    return made


def test_every_site_answers_though_no_server_is_up(machine: Machine, bridge: Bridge, sources: list[Source]) -> None:
    def all_answer() -> None:
        for source in sources:
            bridge.app("uwsgi", always(source))
            bridge.app("uwsgi", wakes(source))

    for source in sources:
        source.forget_client()
    machine.reboot()
    assert [machine.show(source.unit, "ActiveState") for source in sources] == ["inactive"] * len(sources)
    all_answer()

    bridge.cursor = machine.journal_cursor()
    machine.run("systemctl", "start", WATCH)
    for scheme in SERVERS:
        bridge.told(f"^{scheme}:{scheme}: error: as of .*; cannot be asked since .*refused")
    all_answer()
    status = bridge.run("status").stdout.splitlines()
    rows = bridge.status()
    for source in sources:
        head = f"{source.scheme}:{source.scheme}: as of "
        (line,) = [line for line in status if line.startswith(head)]
        assert "; cannot be asked since " in line
        assert "refused" in line
        for name in source.rows:
            assert rows[name]["as_of"] <= rows[name]["unreachable_since"]
            assert "refused" in rows[name]["unreachable"]

    for source in sources:
        source.start()
        source.put(vassal(f"{source.scheme}new.ini", socket=f"{wakes(source)}.new"))
        bridge.told(rf"^{source.scheme}new\.ini: added", timeout=BACK)
    all_answer()
