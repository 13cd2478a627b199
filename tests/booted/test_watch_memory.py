"""The kernel ends processes of a vassal for want of memory: it is put right, and the journal tells the cause.

systemd calls such an end ``oom-kill`` where the kernel tells it, in ``memory.events`` of cgroup v2; what it sends then
is recorded in tests/unit/recorded. Of memory groups of v1, which hosts can have too, nobody tells it: the cause is the
signal. The kills here are the kernel's own, by whichever the host has.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .bridge import APP, config
from .process import execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bridge import Bridge
    from .machine import Machine

LIMIT = 64 << 20
V1 = Path("/sys/fs/cgroup/memory")
IS_V1 = (V1 / "memory.limit_in_bytes").exists()
HUNGRY = "/srv/app/hungry.py"
HUNGRY_TEXT = """\
import json, os

HELD = []

def application(environ, start_response):
    while environ["PATH_INFO"] == "/eat":
        HELD.append(bytearray(b"x" * (4 << 20)))
    start_response("200 OK", [])
    return [json.dumps({"pid": os.getpid(), "ppid": os.getppid()}).encode()]
"""


@pytest.fixture
def group(machine: Machine) -> Iterator[Path]:
    """A place for a memory group of v1, beside those of the host; it goes when the vassals are gone."""
    made = V1 / f"emperor-bridge-memory-{machine.supervisor_pid()}"
    yield made
    if made.exists():
        for pid in (made / "cgroup.procs").read_text().split():
            (V1 / "cgroup.procs").write_text(pid)
        made.rmdir()


@pytest.fixture
def hungry(machine: Machine, watch: Bridge) -> Bridge:
    """The bridge, and an app that takes all the memory there is when it is asked for /eat."""
    machine.cleanups.append(lambda: machine.remove(HUNGRY))
    machine.write(HUNGRY, HUNGRY_TEXT)
    return watch


def limit(machine: Machine, group: Path, unit: str) -> None:
    """Leave little memory to the processes of a unit."""
    if not IS_V1:
        machine.run("systemctl", "set-property", "--runtime", unit, f"MemoryMax={LIMIT}")
        return
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(LIMIT))
    # A number written there is one of the writer's namespace (cgroups(7), pid_namespaces(7)).
    write = 'for pid; do echo "$pid" >"$0/cgroup.procs"; done'
    pids = [str(process.pid) for process in machine.processes(unit)]
    argv = ["nsenter", "--target", str(machine.pid1()), "--pid", "sh", "-ec", write, str(group), *pids]
    moved = execute(argv, timeout=60)
    assert moved.returncode == 0, moved.stderr


def kills(group: Path) -> int:
    """Return how many processes of a memory group of v1 the kernel has ended."""
    found = re.search(r"^oom_kill (\d+)$", (group / "memory.oom_control").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def test_a_vassal_that_ends_for_want_of_memory_is_woken_again(machine: Machine, hungry: Bridge, group: Path) -> None:
    hungry.vassal("hungry.ini", config(master=False).replace(APP, HUNGRY), address="/run/hungry.sock")
    hungry.told(r"^hungry\.ini: waiting")
    before = hungry.app("uwsgi", "/run/hungry.sock")
    limit(machine, group, "vassal-hungry.service")
    cursor = machine.journal_cursor()
    machine.request("uwsgi", "/run/hungry.sock", "/eat")
    entry = hungry.told(rf"^hungry\.ini: {'crashed' if IS_V1 else 'oom-killed'}", cursor)
    assert (entry["VASSAL"], entry["UNIT"], entry["EXIT_STATUS"]) == ("hungry.ini", "vassal-hungry.service", "9")
    assert "killed by SIGKILL" in str(entry["MESSAGE"])
    if IS_V1:
        assert kills(group) == 1
    hungry.told(r"^hungry\.ini: waiting", cursor)
    assert hungry.app("uwsgi", "/run/hungry.sock")["pid"] != before["pid"]


def test_a_worker_that_ends_for_want_of_memory_is_followed_by_another(
    machine: Machine, hungry: Bridge, group: Path
) -> None:
    hungry.vassal("hungry.ini", config().replace(APP, HUNGRY), address="/run/hungry.sock")
    hungry.told(r"^hungry\.ini: waiting")
    before = hungry.app("uwsgi", "/run/hungry.sock")
    limit(machine, group, "vassal-hungry.service")
    cursor = machine.journal_cursor()
    machine.request("uwsgi", "/run/hungry.sock", "/eat")
    if IS_V1:
        # The vassal lives on: its master makes another worker, and says so.
        machine.wait_journal("killed by signal 9", unit="vassal-hungry.service", since_cursor=cursor)
        assert kills(group) == 1
    else:
        hungry.told(r"^hungry\.ini: oom-killed", cursor)
    assert hungry.app("uwsgi", "/run/hungry.sock")["pid"] != before["pid"]
