"""The commands as an admin sees them: what they print, how they exit, where they read their settings."""

from __future__ import annotations

import json
import re
import shlex
from datetime import datetime
from typing import TYPE_CHECKING

from .bridge import APP, VASSALS, config
from .container import HERE
from .process import kill
from .suite import COMMAND

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine, Result

ETC = "/etc/systemd/system"
PLACES = ("/etc/systemd", "/run/systemd/system", "/run/emperor-bridge", "/etc/emperor-bridge", "/run/places")
TIMES = " %i %T@ %C@"
SETTINGS = "/etc/emperor-bridge"
DEBIANS = "/etc/uwsgi-emperor/emperor.ini"


def listing(machine: Machine, more: str = "") -> tuple[list[str], list[str]]:
    """Return everything below the places the bridge could touch: path, kind, mode, owner, link target; and contents."""
    found = machine.run("find", *PLACES, "-printf", f"%p %y %m %U:%G %l{more}\\n", check=False).stdout
    sums = machine.run("find", *PLACES, "-type", "f", "-exec", "sha256sum", "{}", "+", check=False).stdout
    return sorted(found.splitlines()), sorted(sums.splitlines())


def units(machine: Machine) -> set[str]:
    """Return all units that systemd has in memory, with whether each is loaded."""
    shown = machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend").stdout
    return {" ".join(line.split()[:2]) for line in shown.splitlines()}


def unit_files(machine: Machine) -> str:
    """Return all unit files that systemd sees, with whether each is enabled."""
    return machine.run("systemctl", "list-unit-files", "--no-legend", "--no-pager").stdout


def ask(machine: Machine, bridge: Bridge, answer: str) -> Result:
    """Run remove on a terminal and answer its question."""
    line = shlex.join(bridge.command("remove"))
    return machine.run("script", "--quiet", "--return", "--command", line, "/dev/null", check=False,
                       input=answer.encode())  # fmt: skip


def test_remove_leaves_the_system_as_it_was(machine: Machine, bridge: Bridge) -> None:
    machine.run("mkdir", "-p", "/run/places")
    machine.cleanups.append(lambda: machine.remove("/run/places"))
    before = listing(machine), unit_files(machine), units(machine)
    bridge.vassal("waits.ini", address="/run/places/waits.sock")
    bridge.vassal("woken.ini", address="/run/places/woken.sock")
    bridge.vassal("with space.ini", address="[::1]:9401")
    bridge.vassal("always.ini", config("socket = 127.0.0.1:9402"))
    bridge.vassal("failed.ini", config("socket = 127.0.0.1:9403", "need-app = true").replace(APP, "/srv/none.py"))
    bridge.vassal("no-owner.ini", config("chown-socket = nobody-such"), address="/run/places/no-owner.sock")
    bridge.sync(status=1)
    bridge.app("uwsgi", "/run/places/woken.sock")
    assert listing(machine) != before[0]

    bridge.run("remove", "--yes")

    assert (listing(machine), unit_files(machine)) == before[:2]
    assert units(machine) - before[2] == set()
    assert bridge.run("remove", "--yes").stdout == "nothing to remove\n"


def test_remove_asks_first(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.sync()
    before = listing(machine)

    result = bridge.run("remove", status=2)
    assert "not on a terminal, so there is nobody to ask: give --yes" in result.stderr
    refused = ask(machine, bridge, "n\n")
    assert "Stop and remove 1 vassal" in refused.stdout
    assert refused.returncode == 1
    assert listing(machine) == before
    bridge.app("uwsgi", "/run/app.sock")

    assert ask(machine, bridge, "y\n").returncode == 0
    assert machine.run("find", ETC, "-name", "vassal*").stdout == ""


def test_dry_run_shows_a_diff_and_changes_nothing(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("app.ini", address="/run/app.sock")
    before = listing(machine, TIMES)
    planned = bridge.sync("--dry-run").stdout
    assert listing(machine, TIMES) == before
    assert planned.startswith("app.ini: would be added, on demand at /run/app.sock\n")
    assert "--- /dev/null\n+++ b/vassal-app.socket\n@@ -0,0 +1," in planned
    assert "\n+ListenStream=/run/app.sock\n" in planned
    assert "\nstart vassal-app.socket\n" in planned

    bridge.sync()
    bridge.vassal("goes.ini", address="/run/goes.sock")
    bridge.sync()
    pid = bridge.app("uwsgi", "/run/app.sock")["pid"]
    bridge.vassal("app.ini", address="/run/new.sock")
    machine.remove(f"{VASSALS}/goes.ini")
    before = listing(machine, TIMES)
    planned = bridge.sync("--dry-run").stdout
    assert listing(machine, TIMES) == before
    assert bridge.app("uwsgi", "/run/app.sock")["pid"] == pid
    assert "--- a/vassal-app.socket\n+++ b/vassal-app.socket\n" in planned
    assert "\n-ListenStream=/run/app.sock\n+ListenStream=/run/new.sock\n" in planned
    assert "--- a/vassal-goes.service\n+++ /dev/null\n" in planned
    for line in ("stop vassal-app.service", "stop vassal-app.socket", "stop vassal-goes.socket"):
        assert f"\n{line}\n" in planned


def test_status_knows_every_state(machine: Machine, bridge: Bridge) -> None:
    # A vassal that starts for as long as nobody writes to the gate its app reads from.
    machine.run("mkfifo", "/run/gate")
    machine.write("/srv/app/slow.py", f"open('/run/gate').read()\nexec(open('{APP}').read())\n")
    machine.cleanups.append(lambda: machine.remove("/run/gate", "/srv/app/slow.py"))
    bridge.vassal("listening.ini", address="/run/listening.sock")
    bridge.vassal("starting.ini", config().replace(APP, "/srv/app/slow.py"), address="/run/starting.sock")
    bridge.vassal("running.ini", config("socket = 127.0.0.1:9404"))
    bridge.vassal("stopped.ini", address=":9405")
    bridge.vassal("failed.ini", address="[fe80::1]:9307")
    bridge.vassal("refused.ini", config("socket = //run/refused.sock"), address="/run/refused.sock")
    bridge.sync(status=1)
    machine.run("systemctl", "stop", "vassal-stopped.socket")
    client = machine.popen("python3", str(HERE / "client.py"), "uwsgi", "/run/starting.sock", "--timeout=60")
    machine.cleanups.append(lambda: kill(client))
    bridge.wait("starting", "start")

    rows = bridge.status()

    assert {name: row["state"] for name, row in rows.items()} == {
        f"{state}.ini": state for state in ("listening", "starting", "running", "stopped", "failed", "refused")
    }
    for name, row in rows.items():
        assert set(row) >= {"vassal", "config", "unit", "socket", "mode", "state", "pid", "since"}
        assert row["config"] == f"{VASSALS}/{name}"
        assert row["unit"] == f"vassal-{name.removesuffix('.ini')}.service"
        assert row["mode"] == ("always" if name == "running.ini" else "on-demand")
        if name in {"running.ini", "starting.ini"}:
            assert row["pid"] == int(machine.show(row["unit"], "MainPID"))
        else:
            assert row["pid"] is None
    sockets = {name.removesuffix(".ini"): row["socket"] for name, row in rows.items()}
    assert sockets.pop("running") is None
    assert sockets.pop("stopped") == "0.0.0.0:9405"
    assert sockets.pop("failed") == "[fe80::1]:9307"
    assert sockets == {name: f"/run/{name}.sock" for name in sockets}
    assert rows["refused.ini"]["since"] is None
    for name in ("listening", "starting", "running", "failed"):
        assert datetime.fromisoformat(rows[f"{name}.ini"]["since"]).tzinfo is not None
    table = bridge.run("status").stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [[n, row["state"]] for n, row in sorted(rows.items())]

    machine.run("sh", "-c", "echo >/run/gate")
    bridge.wait("starting", "running")


def test_json_of_sync_and_check(bridge: Bridge) -> None:
    good = bridge.vassal("good.ini", address="/run/good.sock")
    bad = bridge.vassal("bad.ini", config("socket = //run/bad.sock"), address="/run/bad.sock")

    (problem,) = json.loads(bridge.run("check", "--json", status=1).stdout)
    synced = json.loads(bridge.sync("--json", status=1).stdout)

    line = config().count("\n") + 1
    assert (problem["path"], problem["line"], problem["config"], problem["vassal"]) == (bad, line, bad, "bad.ini")
    assert (problem["code"], problem["severity"]) == ("socket-is-rules", "error")
    assert problem["message"].startswith("socket = //run/bad.sock is the address")
    assert problem["hint"].startswith("write socket = /run/bad.sock; or remove this line")
    assert synced == {
        "dry_run": False,
        "vassals": 1,
        "changes": [
            {
                "vassal": "good.ini",
                "unit": "vassal-good.service",
                "verb": "added",
                "detail": "on demand at /run/good.sock",
            }
        ],
        "diagnostics": [problem],
    }
    bridge.machine.remove(bad)
    assert json.loads(bridge.run("check", "--json").stdout) == []
    assert json.loads(bridge.sync("--json").stdout)["changes"] == []
    assert bridge.run("check").stdout == ""
    assert bridge.status()["good.ini"]["config"] == good


def test_render_prints_what_sync_writes(machine: Machine, bridge: Bridge) -> None:
    path = bridge.vassal("one two.ini", config("chmod-socket = 666"), address="/run/one two.sock")
    bridge.sync()
    written = {
        unit: machine.read(f"{ETC}/{unit}")
        for unit in ("vassal-one\\x20two.service", "vassal-one\\x20two.socket")
    }  # fmt: skip

    expected = "".join(f"# {unit}\n{text}\n" for unit, text in written.items())
    for name in ("one two.ini", path, *written):
        assert bridge.run("render", name).stdout == expected
    result = bridge.run("render", "nobody", status=1)
    assert "there is no vassal 'nobody'" in result.stderr


def test_settings_are_the_same_from_flags_toml_and_ini(machine: Machine, bridge: Bridge) -> None:
    bridge.vassal("one.ini", address="/run/one.sock")
    bridge.vassal("other.ini", folder="/srv/others")
    machine.write(f"{SETTINGS}/emperor.ini", f"[uwsgi]\nemperor = {VASSALS}\nemperor-on-demand-ext = .socket\n")
    toml = f'emperor = ["{VASSALS}"]\nemperor-on-demand-extension = ".socket"\n'
    machine.write(f"{SETTINGS}/bridge.toml", toml)
    machine.cleanups.append(lambda: machine.remove(SETTINGS, "/srv/others"))

    def planned(*flags: str) -> str:
        """Return what sync would do, without the names of the configuration in the units."""
        told = machine.run(COMMAND, "sync", "--dry-run", *flags).stdout
        return "".join(line for line in told.splitlines(keepends=True) if "Configuration=" not in line)

    expected = planned("--config", "/dev/null", *bridge.options)
    assert "one.ini: would be added, on demand at /run/one.sock" in expected
    assert planned() == expected
    machine.write(f"{SETTINGS}/bridge.toml", f'emperor-ini = "{SETTINGS}/emperor.ini"\n')
    assert planned() == expected
    machine.write(f"{SETTINGS}/bridge.toml", toml)
    assert planned("--config", "/dev/null", "--emperor-ini", f"{SETTINGS}/emperor.ini") == expected

    directory = planned("--emperor", "dir:///srv/others", "--emperor-on-demand-dir", "/run/dir")
    assert "one.ini" not in directory
    assert "other.ini: would be added, " in directory


def test_nothing_given_and_nothing_found_is_one_sentence(machine: Machine) -> None:
    debians = machine.run("cat", DEBIANS).stdout
    machine.cleanups.append(lambda: machine.write(DEBIANS, debians))
    machine.remove(DEBIANS)
    for command in ("sync", "check"):
        result = machine.run(COMMAND, command, check=False)
        assert (result.returncode, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert "--emperor DIRECTORY" in line
        assert "/etc/emperor-bridge/bridge.toml" in line
    missing = machine.run(COMMAND, "sync", "--config", "/srv/missing.toml", check=False)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("/srv/missing.toml: error: the configuration cannot be read: No such file")
    assert len(missing.stderr.splitlines()) == 1


def test_nothing_given_debians_emperor_ini_is_found(machine: Machine) -> None:
    """Installed with uwsgi-emperor: an Emperor that runs as www-data."""
    vassal = "/etc/uwsgi-emperor/vassals/found.ini"
    machine.cleanups.append(lambda: machine.remove(vassal))
    machine.cleanups.append(lambda: machine.run(COMMAND, "remove", "--yes"))
    machine.write(vassal, config("socket = 127.0.0.1:9301"))
    result = machine.run(COMMAND, "sync", check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("found.ini: added, runs always\n")
    found, brief = result.stderr.splitlines()
    assert found == f"reading {DEBIANS} (no bridge.toml names vassals)"
    assert re.fullmatch(
        rf"{DEBIANS}: warning: \d+ options have no effect here \(emperor-bridge check lists them\) \[emperor-option\]",
        brief,
    )
    again = machine.run(COMMAND, "sync")
    assert again.stdout == "1 vassal: nothing to do; 1 warning as before (emperor-bridge check lists them)\n"
    assert again.stderr == f"{found}\n"
    checked = machine.run(COMMAND, "check")
    assert checked.stdout.count("has no effect here") == int(brief.split()[2])
    assert checked.stderr == f"{found}\n"
    machine.wait_unit("vassal-found.service", "SubState", "running")
    assert machine.show("vassal-found.service", "User") == "www-data"


def test_runtime_units_are_in_run_and_gone_after_a_reboot(machine: Machine, bridge: Bridge) -> None:
    before = listing(machine), unit_files(machine)
    bridge.options.append("--runtime")
    bridge.vassal("app.ini", address="/run/app.sock")
    bridge.sync()
    assert machine.show("vassal-app.socket", "FragmentPath") == "/run/systemd/system/vassal-app.socket"
    assert machine.run("find", ETC, "-name", "vassal*").stdout == ""
    bridge.app("uwsgi", "/run/app.sock")
    bridge.run("remove", "--yes")
    assert (listing(machine), unit_files(machine)) == before

    bridge.sync()
    machine.reboot()
    assert "vassal" not in unit_files(machine)
    assert machine.request("uwsgi", "/run/app.sock").status is None
    bridge.sync()
    bridge.app("uwsgi", "/run/app.sock")
