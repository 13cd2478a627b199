"""What configs and rules name is read within bounds, and never where reading does something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, Bridge, config

if TYPE_CHECKING:
    from .machine import Machine

GOOD = "/run/readers/good.sock"
SIZE = 900_000
COSTLY = {
    "blacklist.ini": f"[uwsgi]\nblacklist = {'b ' * (SIZE // 2)}\n" + "a = 1\n" * 9000,
    "loop.ini": f"[uwsgi]\nfor = {' ' * SIZE}x\n" + "a = 1\n" * 9000,
    "declared.ini": f"[uwsgi]\ndeclare-option = a={';' * SIZE}\n" + "a = 1\n" * 9000,
    "list.json": '{"uwsgi": {"a": [' + "0," * (SIZE // 2) + "0]}}",
    "list.yaml": "uwsgi:\n  a: [" + "a," * (SIZE // 2) + "a]\n",
    "elements.xml": "<uwsgi>" + "<a/>" * (SIZE // 4) + "</uwsgi>",
}
PLACES = ("/proc/kmsg", "/proc/version", "/proc/1/environ", "/sys/kernel/notes", "/dev/zero", "/proc/self/cwd")


@pytest.fixture
def served(bridge: Bridge) -> Bridge:
    """The bridge with a vassal that nothing is wrong with."""
    bridge.machine.cleanups.append(lambda: bridge.machine.remove("/run/readers"))
    bridge.vassal("good.ini", config(), address=GOOD)
    return bridge


def problems(bridge: Bridge) -> dict[str, str]:
    """Return what sync says of each path; the good neighbour answers."""
    result = bridge.sync(status=1)
    said = dict(line.split(": error: ", 1) for line in result.stderr.splitlines() if ": error: " in line)
    assert bridge.app("uwsgi", GOOD)
    return said


def test_costly_configs_are_refused_and_cost_little(served: Bridge) -> None:
    served.machine.write_many({f"{VASSALS}/{name}": text for name, text in COSTLY.items()})
    refused = {path.rpartition("/")[2].partition(":")[0] for path in problems(served)}
    # A blacklist and a loop over nothing are long, and cost little.
    assert refused - {"blacklist.ini", "loop.ini"} == COSTLY.keys() - {"blacklist.ini", "loop.ini"}
    ticks = served.machine.run(
        "bash", "-c", f"TIMEFORMAT=%U; time {' '.join(served.command('check'))} >/dev/null; true"
    )
    assert float(ticks.stderr.split()[-1]) < 20


@pytest.mark.usefixtures("tenants")
def test_what_is_no_file_is_not_read(served: Bridge, machine: Machine) -> None:
    served.options.append("--emperor-tyrant")
    machine.run("chown", "alice:alice", f"{VASSALS}/good.ini")
    served.vassal("good.ini.socket", "/run/vassals/4001/good.sock\n")
    for number, place in enumerate(PLACES):
        path = served.vassal(f"a{number}.ini", f"[uwsgi]\nini = {place}\nsocket = @(%({place}))\n")
        machine.run("chown", "alice:alice", path)
        machine.run("ln", "-s", place, f"{VASSALS}/rule{number}.ini.socket")
        rule = served.vassal(f"rule{number}.ini", config())
        machine.run("chown", "alice:alice", rule)
    result = served.sync(status=None)
    assert "Traceback" not in result.stderr
    assert "internal" not in result.stderr
    assert served.app("uwsgi", "/run/vassals/4001/good.sock")
    refused = {name for name, row in served.status().items() if row["state"] == "refused"}
    assert refused == {f"a{number}.ini" for number in range(len(PLACES))} | {
        f"rule{number}.ini" for number in range(len(PLACES))
    }


def test_addresses_for_another_reader_make_no_folder(served: Bridge) -> None:
    rules = {
        "quoted": ('"/run/readers/a.sock"', "write /run/readers/a.sock"),
        "home": ("~/run/a.sock", "write /root/run/a.sock"),
        "variable": ("$HOME/run/a.sock", "write /root/run/a.sock"),
        "option": ("socket = /run/readers/a.sock", "write /run/readers/a.sock"),
        "comment": ("/run/readers/a.sock # the app", "write /run/readers/a.sock"),
    }
    for name, (rule, _) in rules.items():
        served.vassal(f"{name}.ini", config(), address=rule)
    before = served.machine.run("find", VASSALS, "-type", "d").stdout
    said = problems(served)
    assert said.keys() == {f"{VASSALS}/{name}.ini.socket:1" for name in rules}
    for name, (_, hint) in rules.items():
        assert f"({hint}) [rule-invalid]" in said[f"{VASSALS}/{name}.ini.socket:1"]
    assert served.machine.run("find", VASSALS, "-type", "d").stdout == before
