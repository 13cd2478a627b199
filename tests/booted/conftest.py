"""One machine per run, cleared of each test's leftovers, with its journal in the report of a failure."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from . import soak
from .attack import LAYOUTS, make_attack
from .bridge import VASSALS, Bridge, install
from .fleets import add_tenants
from .machine import Machine, MachineError, message
from .sources import SOURCES, Source, follow
from .suite import SUITE, compile_code

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from .attack import Attack

JOURNAL_LINES = 60
COUNTED = "counted: "
STATES, TYPES = "--state=active,failed,activating,deactivating", "--type=service,socket,target"
ACTIVE = f"systemctl list-units --plain --no-legend {STATES} {TYPES} 'vassal*'"
"""Prints the vassals' units that do anything."""
FILES = "find /etc/systemd/system /run/systemd/system -name '*vassal*' -not -type d"
"""Finds what the bridge has written for systemd."""
# A shell that runs the tests in the background has them ignore it, and all commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

CORE = frozenset(
    {"boundary", "brake", "broken", "environment", "hazards", "interrupted", "lives", "machine", "names", "own_kinds"}
    | {"quick_ends", "service", "sync", "unit", "upgrade", "user", "watch_lives", "watch_return"}
)
"""The modules marked `core`, by what follows test_: whatever systemd or uWSGI decides, in a quarter of an hour."""

collect_ignore = ["test_beside_monitors.py"] if SUITE else []
"""The Emperor's plugins are in no tree of another suite."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem.removeprefix("test_") in CORE:
            item.add_marker(pytest.mark.core)


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """What the test has done how often; the report at the end has it for the whole run."""
    counted = Counter[str]()
    yield counted
    request.node.user_properties.extend((f"{COUNTED}{what}", number) for what, number in counted.items())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counted = Counter[str]()
    for report in terminalreporter.getreports(""):
        if isinstance(report, pytest.TestReport) and report.when == "teardown":
            for name, number in report.user_properties:
                if name.startswith(COUNTED):
                    counted[name.removeprefix(COUNTED)] += int(str(number))
    if counted:
        failed = len([*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")])
        terminalreporter.section("counted")
        for line in soak.lines(counted, failed):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    compile_code()
    with Machine() as booted:
        yield booted


@pytest.fixture
def bridge(machine: Machine) -> Bridge:
    """The bridge with an empty directory of vassals and the extension rule."""
    install(machine)
    machine.run("mkdir", "-p", VASSALS)
    fresh = Bridge(machine)
    machine.cleanups.append(fresh.clear)
    return fresh


@pytest.fixture
def watch(bridge: Bridge) -> Bridge:
    """The bridge with its watch daemon at work."""
    bridge.watch()
    return bridge


@pytest.fixture
def tenants(machine: Machine) -> None:
    """Users alice and bob, both also in the group games; ask for them before the bridge, which they outlive."""
    add_tenants(machine)


@pytest.fixture(scope="module", params=SOURCES)
def server(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Source]:
    """One of the servers that vassals come from, for all tests of a module that have it."""
    made = SOURCES[request.param](machine)
    try:
        made.make()
        yield made
    finally:
        made.remove()


@pytest.fixture
def source(server: Source, bridge: Bridge) -> Source:
    """The server without a row, and the watch daemon that follows it."""
    server.clear()
    bridge.options = []
    follow(bridge, server.table())
    return server


@pytest.fixture(params=LAYOUTS)
def attack(machine: Machine, request: pytest.FixtureRequest, counts: Counter[str]) -> Attack:
    """A mallory and a victim in one folder, or each in a folder of his own, under the watch daemon."""
    made = make_attack(machine, request.param)
    made.counts = counts
    return made


@pytest.fixture
def tmp_path_on_disk() -> Iterator[Path]:
    """A directory for a machine of the test's own; pytest's tmp_path may be on a tmpfs."""
    with TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def leave_nothing_behind(machine: Machine) -> Iterator[None]:
    """Run what a test put on `machine.cleanups`, last first, each even if another fails.

    A test that leaves units of vassals fails, and takes nothing into the next one.
    """
    yield
    clean(machine)


def clean(machine: Machine) -> None:
    """Run the clean-ups of a machine; nothing of a vassal may be left then."""
    with ExitStack() as stack:
        stack.callback(no_vassals, machine)
        for cleanup in machine.cleanups:
            stack.callback(cleanup)
        machine.cleanups.clear()


def no_vassals(machine: Machine) -> None:
    """Fail if a vassal's unit is active, has failed or has a file; in any case, none is there afterwards.

    Slices are not looked at: systemd removes an empty one when it has time.
    """
    left = machine.run("sh", "-c", f"{ACTIVE}; {FILES} -print").stdout
    if left:
        machine.run("sh", "-c", f"systemctl stop 'vassal*'; {FILES} -delete; systemctl daemon-reload", check=False)
        machine.run("systemctl", "reset-failed", "vassal*", check=False)
    assert not left, f"left behind by this test:\n{left}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    booted = getattr(item, "funcargs", {}).get("machine")
    if report.failed and isinstance(booted, Machine):
        try:
            text = "\n".join(
                f"{entry.get('_SYSTEMD_UNIT', '-')}: {message(entry)}" for entry in booted.journal(lines=JOURNAL_LINES)
            )
        except MachineError as error:
            text = f"(cannot be read: {error})"
        report.sections.append((f"last {JOURNAL_LINES} journal entries of the machine", text))
    return report
