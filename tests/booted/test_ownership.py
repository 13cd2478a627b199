"""What is somebody else's stays: foreign units, masks, drop-ins and templates of the admin's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, config
from .suite import CHECKOUT

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

ETC = "/etc/systemd/system"
TEMPLATES = "/etc/emperor-bridge/templates"
FOREIGN = "[Unit]\nDescription=Somebody else's\n[Service]\nExecStart=sleep infinity\n"


def put(machine: Machine, path: str, text: str) -> None:
    """Write an admin's file, to be taken away after the test."""
    machine.write(path, text)
    machine.cleanups.append(lambda: machine.run("systemctl", "daemon-reload"))
    machine.cleanups.append(lambda: machine.remove(path))


def start(machine: Machine, unit: str) -> str:
    """Start an admin's unit, to be stopped after the test, and return its PID."""
    machine.run("systemctl", "start", unit)
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", unit))
    return machine.show(unit, "MainPID")


def installed(machine: Machine) -> str:
    """Return all vassals' units and links, of whomever, with their times."""
    return machine.run("find", ETC, "-name", "vassal*", "-printf", "%P %i %T@ %C@ %l\\n").stdout


def test_units_verify_silently_and_live_in_sub_slices(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("unix.ini", config("chmod-socket = 666", "chown-socket = www-data:www-data"), address="/run/u.sock")
    bridge.vassal("abstract.ini", address="@bridge-abstract")
    bridge.vassal("inet.ini", address="127.0.0.1:9201")
    bridge.vassal("every.ini", address=":9202")
    bridge.vassal("inet6.ini", address="[::1]:9203")
    bridge.vassal("always.ini", config("socket = 127.0.0.1:9204"))
    bridge.vassal("50% of $HOME é.ini", address="/run/50% of $HOME é.sock")
    bridge.sync()

    paths = machine.run("find", ETC, "-type", "f", "-name", "vassal*.*").stdout.splitlines()
    assert len(paths) == 6 * 2 + 1 + 6
    result = machine.run("systemd-analyze", "verify", "--recursive-errors=one", *paths, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")

    bridge.app("uwsgi", "127.0.0.1:9201")
    for unit in ("vassal-inet.socket", "vassal-inet.service", "vassal-always.service"):
        group = machine.show(unit, "ControlGroup")
        assert group.startswith("/vassals.slice/vassals-")
        assert group.endswith(f".slice/{unit}")


def test_status_names_the_config_and_its_change_asks_for_no_reload(machine: Machine, bridge: Bridge) -> None:
    path = bridge.vassal("50% é.ini", config("socket = 127.0.0.1:9206"))
    bridge.sync()
    (unit,) = machine.run("sh", "-c", f"cd {ETC}; ls -d vassal-50*.service").stdout.splitlines()
    machine.run("touch", path)
    shown = machine.run("systemctl", "status", "--no-pager", unit)
    assert "Docs: file:///srv/vassals/50%25%20%C3%A9.ini\n" in shown.stdout
    assert "daemon-reload" not in shown.stdout + shown.stderr
    assert machine.show(unit, "NeedDaemonReload") == "no"


def test_target_is_enabled_and_starts_and_stops_all(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("waits.ini", address="/run/waits.sock")
    bridge.vassal("woken.ini", address="/run/woken.sock")
    bridge.vassal("always.ini", config("socket = 127.0.0.1:9205"))
    bridge.sync()
    bridge.app("uwsgi", "/run/woken.sock")
    assert machine.run("systemctl", "is-enabled", "vassals.target").stdout == "enabled\n"

    machine.run("systemctl", "stop", "vassals.target")
    for vassal in ("woken", "always"):
        bridge.wait(vassal, "dead")
    machine.wait_unit("vassal-waits.socket", "SubState", "dead")
    machine.wait_unit("vassal-woken.socket", "SubState", "dead")
    assert {row["state"] for row in bridge.status().values()} == {"stopped"}
    assert not machine.exists("/run/waits.sock")

    machine.run("systemctl", "start", "vassals.target")
    bridge.wait("always", "running")
    states = {name: row["state"] for name, row in bridge.status().items()}
    assert states == {"always.ini": "running", "waits.ini": "listening", "woken.ini": "listening"}
    bridge.app("uwsgi", "/run/waits.sock")


def test_foreign_units_are_never_touched(machine: Machine, bridge: Bridge) -> None:
    theirs = {}
    for name, directory in (("etc", ETC), ("run", "/run/systemd/system"), ("usr", "/usr/lib/systemd/system")):
        for unit, text in (
            (f"vassal-{name}1.service", FOREIGN),
            (f"vassal-{name}2.socket", f"[Socket]\nListenStream=@{name}\nAccept=yes\n"),
        ):
            put(machine, f"{directory}/{unit}", text)
            if unit.endswith(".socket"):
                put(machine, f"{directory}/vassal-{name}2@.service", FOREIGN)
            theirs[f"{directory}/{unit}"] = start(machine, unit)
            bridge.vassal(f"{unit[len('vassal-') : unit.index('.')]}.ini", address=f"/run/{unit}.sock")
    bridge.vassal("good.ini", address="/run/good.sock")
    listing = ("find", *(path.rpartition("/")[0] for path in theirs), "-name", "vassal-*")
    before = machine.run(*listing, "-ls").stdout

    result = bridge.sync(status=1)

    for path in theirs:
        assert f"error: the unit {path} is there" in result.stderr
    assert result.stderr.count("[unit-foreign]") == len(theirs)
    states = {name: row["state"] for name, row in bridge.status().items()}
    assert states.pop("good.ini") == "listening"
    assert list(states.values()) == ["refused"] * 6
    bridge.app("uwsgi", "/run/good.sock")
    machine.remove(VASSALS)
    bridge.vassal("good.ini", address="/run/good.sock")
    bridge.sync()
    bridge.run("remove", "--yes")
    assert machine.run(*listing, "-ls").stdout == before
    for path, pid in theirs.items():
        unit = path.rpartition("/")[2]
        assert (machine.show(unit, "ActiveState"), machine.show(unit, "MainPID")) == ("active", pid)


def test_marked_unit_copied_to_another_name_is_foreign(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("one.ini", address="/run/one.sock")
    bridge.sync()
    copy = f"{ETC}/vassal-two.service"
    put(machine, copy, machine.read(f"{ETC}/vassal-one.service"))
    text = machine.read(copy)
    bridge.vassal("two.ini", address="/run/two.sock")

    assert f"{copy} is there and was not made by this bridge" in bridge.sync(status=1).stderr
    bridge.run("remove", "--yes")
    assert machine.read(copy) == text


def test_foreign_target_stops_everything_before_anything_is_done(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("one.ini", address="/run/one.sock")
    for directory in ("/run/systemd/system", "/usr/lib/systemd/system", ETC):
        path = f"{directory}/vassals.target"
        put(machine, path, "[Unit]\nDescription=Somebody else's\n")
        refused = bridge.sync(status=1).stderr
        assert refused.startswith(f"{path}: error: vassals.target ")
        assert refused.endswith("[unit-foreign]\n")
        machine.remove(path)
    put(machine, path, "[Unit]\nDescription=Somebody else's\n")
    start(machine, "vassals.target")
    before = installed(machine)

    assert bridge.sync(status=1).stderr.startswith(f"{path}: error: vassals.target was not made by this bridge")
    assert bridge.run("remove", "--yes").stdout == "nothing to remove\n"

    assert installed(machine) == before
    assert machine.show("vassals.target", "ActiveState") == "active"


def test_remove_stops_no_unit_of_others_in_the_vassals_slices(machine: Machine, bridge: Bridge) -> None:
    put(machine, f"{ETC}/vassals-backup.service", FOREIGN)
    bridge.vassal("one.ini", address="/run/one.sock")
    bridge.sync()
    slice_ = machine.show("vassal-one.service", "Slice")
    put(machine, f"{ETC}/backup.service", f"{FOREIGN}Slice={slice_}\n")
    pids = {unit: start(machine, unit) for unit in ("vassals-backup.service", "backup.service")}

    bridge.run("remove", "--yes")

    assert {unit: machine.show(unit, "MainPID") for unit in pids} == pids


def test_masked_units_stay_masked(machine: Machine, bridge: Bridge) -> None:
    units = ("vassal-one.service", "vassal-two.socket")
    machine.run("systemctl", "mask", *units)
    machine.cleanups.append(lambda: machine.run("systemctl", "unmask", *units))
    bridge.vassal("one.ini", address="/run/one.sock")
    bridge.vassal("two.ini", address="/run/two.sock")
    bridge.vassal("good.ini", address="/run/good.sock")

    result = bridge.sync()

    assert "/srv/vassals/one.ini: warning: vassal-one.service is masked" in result.stderr
    assert "/srv/vassals/two.ini: warning: vassal-two.socket is masked" in result.stderr
    again = bridge.sync()
    assert again.stdout == "1 vassal: nothing to do; 2 warnings as before (emperor-bridge check lists them)\n"
    assert again.stderr == ""
    bridge.app("uwsgi", "/run/good.sock")
    bridge.run("remove", "--yes")
    assert [machine.show(unit, "LoadState") for unit in units] == ["masked", "masked"]
    left = machine.run("find", ETC, "-name", "vassal*", "-printf", "%P %l\n").stdout.splitlines()
    assert sorted(left) == [f"{unit} /dev/null" for unit in units]

    machine.run("systemctl", "unmask", *units)
    bridge.sync()
    bridge.app("uwsgi", "/run/one.sock")
    bridge.app("uwsgi", "/run/two.sock")


def test_running_vassal_that_is_masked_is_left_alone(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.sync()
    before = bridge.app("uwsgi", "/run/app.sock")
    machine.run("ln", "--symbolic", "--force", "/dev/null", f"{ETC}/vassal-app.service")
    machine.cleanups.append(lambda: machine.run("systemctl", "daemon-reload"))
    machine.cleanups.append(lambda: machine.remove(f"{ETC}/vassal-app.service"))
    machine.cleanups.append(lambda: machine.run("systemctl", "stop", "vassal-app.service"))

    assert "vassal-app.service is masked" in bridge.sync().stderr
    assert bridge.app("uwsgi", "/run/app.sock") == before


def test_drop_ins_are_in_force_and_stay(machine: Machine, bridge: Bridge) -> None:
    put(machine, f"{ETC}/vassal-app.service.d/nice.conf", "[Service]\nNice=7\n")
    put(machine, f"{ETC}/vassal-app.socket.d/backlog.conf", "[Socket]\nBacklog=77\n")
    machine.cleanups.append(lambda: machine.remove(f"{ETC}/vassal-app.service.d", f"{ETC}/vassal-app.socket.d"))

    def in_force() -> tuple[str, str]:
        return machine.show("vassal-app.service", "Nice"), machine.show("vassal-app.socket", "Backlog")

    for address in ("/run/one.sock", "/run/two.sock"):
        bridge.vassal("app.ini", address=address)
        bridge.sync()
        assert in_force() == ("7", "77")
    bridge.run("remove", "--yes")
    bridge.sync()
    assert in_force() == ("7", "77")


def test_admins_template_wins(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.sync()
    shipped = (CHECKOUT / "templates/vassal.service.j2").read_text()
    put(machine, f"{TEMPLATES}/vassal.service.j2", shipped.replace("[Service]\n", "[Service]\nNice=5\n"))

    assert bridge.sync().stdout.startswith("app.ini: changed, its units are new\n")
    bridge.app("uwsgi", "/run/app.sock")
    assert machine.show("vassal-app.service", "Nice") == "5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{{ argv | }}", "the template is not valid: "),
        ("{{ argvv }}", "the template cannot be filled: 'argvv' is undefined"),
        ("{{ argv + 1 }}", "the template cannot be filled: "),
    ],
)
def test_broken_template_is_reported_with_its_line_and_changes_nothing(
    machine: Machine, bridge: Bridge, line: str, message: str
) -> None:
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.sync()
    running = bridge.app("uwsgi", "/run/app.sock")
    before = installed(machine)
    bridge.vassal("app.ini", address="/run/other.sock")
    path = f"{TEMPLATES}/vassal.socket.j2"
    put(machine, path, f"[Socket]\nListenStream={{{{ address | value }}}}\n{line}\n")

    assert f"{path}:3: error: {message}" in bridge.sync(status=1).stderr
    assert installed(machine) == before
    assert bridge.app("uwsgi", "/run/app.sock") == running
