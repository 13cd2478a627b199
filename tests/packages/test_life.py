"""A life of the packages: installed, configured, upgraded under load, downgraded, removed, installed again, purged."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bridge import __version__
from tests.booted.asked import asked
from tests.booted.bridge import VASSALS

from .package import DAEMON, NAME, OLDER, PATH_UNIT, TOML, UNITS, Package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.booted.machine import Machine

CONFIGURED = f'emperor = "{VASSALS}"\nemperor-on-demand-extension = ".socket"\n'
WAITS, WOKEN, ALWAYS = "/run/waits.sock", "/run/woken.sock", "/run/always.sock"
UNKNOWN = ("/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/log", "/var/tmp", "/srv", "/root", "/opt")
"""Folders of apt, dpkg, systemd and the tests."""
FILES = f"find / -xdev \\( {' -o '.join(f'-path {path}' for path in UNKNOWN)} \\) -prune -o -print"
LEFT = "find /run -name '*vassal*' -o -name '*emperor-bridge*'"
ENABLED = "find /etc/systemd/system -name 'emperor-bridge*'"
OLD_UWSGI = "grep -q ' /usr/.*uwsgi.* (deleted)$' /proc/{}/maps"


@pytest.fixture
def sites(package: Package) -> Iterator[Package]:
    """Three vassals: one waits, two run. All is removed afterwards, and the packages are purged."""
    package.install()
    package.machine.write(TOML, CONFIGURED)
    always = f"[uwsgi]\nplugin = python3\nwsgi-file = /srv/app/app.py\nmaster = true\nsocket = {ALWAYS}\n"
    package.bridge.vassal("waits.ini", address=WAITS)
    package.bridge.vassal("woken.ini", address=WOKEN)
    package.bridge.vassal("always.ini", always)
    package.bridge.sync()
    yield package
    package.machine.write(TOML, CONFIGURED)
    package.machine.run("sh", "-c", "if command -v emperor-bridge; then emperor-bridge remove --yes; fi")
    package.machine.run("dpkg", "--purge", NAME)
    package.machine.remove(VASSALS, "/etc/emperor-bridge")


def pids(machine: Machine, *vassals: str) -> list[str]:
    return [machine.show(f"vassal-{vassal}.service", "MainPID") for vassal in vassals]


@contextmanager
def untouched(package: Package) -> Iterator[None]:
    """Two apps answer all the time, and are the same afterwards; the third still waits."""
    package.bridge.app("uwsgi", WOKEN)
    before = pids(package.machine, "woken", "always")
    with asked(package.machine, (WOKEN, ALWAYS)):
        yield
    assert pids(package.machine, "woken", "always") == before
    assert package.machine.show("vassal-waits.socket", "SubState") == "listening"


def paths(machine: Machine) -> set[str]:
    """Return all files of the machine, but for what apt and dpkg note, and for what Python compiled."""
    found = machine.run("sh", "-c", f"{FILES}; {LEFT}").stdout
    return {path for path in found.splitlines() if "__pycache__" not in path}


def test_an_installation_enables_nothing_and_says_the_next_step(package: Package) -> None:
    machine = package.machine
    before = paths(machine)
    told = package.install()
    assert [line for line in told.splitlines() if line.startswith(NAME)] == [
        "emperor-bridge: nothing runs yet. Next: /usr/share/doc/emperor-bridge/README.Debian"
    ]
    assert machine.exists("/usr/share/doc/emperor-bridge/README.Debian")
    assert package.units("is-enabled") == ["disabled"] * len(UNITS)
    assert set(package.units("is-active")) == {"inactive"}
    machine.run("systemctl", "preset", *UNITS)
    assert package.units("is-enabled") == ["disabled"] * len(UNITS)
    assert package.verify() == ""
    assert package.version() == __version__
    assert package.bridge.run("sync", status=2).stderr.count("error")
    # The wrong modules of others do not get in.
    machine.write("/srv/trap/bridge/__init__.py", "raise SystemExit('trapped')\n")
    machine.run("emperor-bridge", "status", cwd="/srv/trap", env={"PYTHONPATH": "/srv/trap"})

    package.apt("purge", NAME, "python3-cysystemd", "python3-inotify-simple")
    package.apt("autoremove", "--purge")
    assert paths(machine) - before == set()


def test_sites_go_on_over_upgrade_downgrade_removal_and_purge(sites: Package) -> None:
    machine = sites.machine
    machine.run("systemctl", "enable", "--now", DAEMON)
    with untouched(sites):
        for deb, version in ((sites.older, OLDER), (sites.newer, __version__)):
            daemon = machine.show(DAEMON, "MainPID")
            sites.apt("install", "--allow-downgrades", deb)
            assert sites.version() == version
            assert machine.show(DAEMON, "MainPID") not in {daemon, "0"}
            assert sites.units("is-enabled") == ["enabled", "disabled", "disabled"]
            assert machine.read(TOML) == CONFIGURED
            sites.bridge.vassal("new.ini", address="/run/new.sock")
            sites.bridge.wait("new", "listening")
            machine.remove(f"{VASSALS}/new.ini")
            machine.until("! test -e /etc/systemd/system/vassal-new.socket")

        sites.apt("remove", NAME)
        assert not machine.exists("/usr/bin/emperor-bridge")
        assert machine.show(DAEMON, "ActiveState") == "inactive"
        machine.run("systemctl", "daemon-reload")
        sites.install()
        assert machine.read(TOML) == CONFIGURED
        machine.run("systemctl", "start", DAEMON)
        assert {row["problem"] for row in sites.bridge.status().values()} == {None}

        told = sites.apt("purge", NAME)
        assert "the vassals go on" in told
        assert not machine.exists(TOML)
        assert machine.run("sh", "-c", ENABLED).stdout == ""
    # They need nothing of the package.
    machine.run("systemctl", "stop", "vassals.target")
    machine.run("systemctl", "start", "vassals.target")
    for address in (WAITS, WOKEN, ALWAYS):
        sites.bridge.app("uwsgi", address)

    sites.install()
    machine.run("emperor-bridge", "remove", "--yes")
    assert "the vassals go on" not in sites.apt("purge", NAME)
    own = {path for path in paths(machine) if "vassal" in path or NAME in path}
    assert {path for path in own if not path.startswith("/usr/share/doc/uwsgi")} == set()


def test_an_upgrade_with_a_broken_configuration_is_an_upgrade(sites: Package) -> None:
    machine = sites.machine
    machine.run("systemctl", "enable", "--now", DAEMON)
    machine.write(TOML, "emperor = [\n")
    with untouched(sites):
        sites.apt("install", "--allow-downgrades", sites.older)
        assert machine.run("dpkg-query", "-W", "-f", "${Status}", NAME).stdout == "install ok installed"


def test_an_upgrade_of_uwsgi_reloads_what_runs_in_batches_unless_it_shall_not(sites: Package) -> None:
    machine = sites.machine
    (uwsgi,) = machine.run("sh", "-c", "ls /var/cache/apt/archives/uwsgi-core_*.deb").stdout.split()
    default = machine.read("/etc/default/emperor-bridge")
    machine.write("/etc/default/emperor-bridge", default.replace("RELOAD_BATCH=10", "RELOAD_BATCH=1"))
    with untouched(sites):
        cursor = machine.journal_cursor()
        machine.run("dpkg", "--install", uwsgi, timeout=120)
        machine.wait_journal("2 vassals reloaded", since_cursor=cursor)
        for pid in pids(machine, "woken", "always"):
            machine.run("sh", "-c", f"! {OLD_UWSGI.format(pid)}")

        machine.write("/etc/default/emperor-bridge", default.replace("=yes", "=no"))
        machine.run("dpkg", "--install", uwsgi, timeout=120)
        for pid in pids(machine, "woken", "always"):
            machine.run("sh", "-c", OLD_UWSGI.format(pid))


def test_the_path_unit_waits_for_folders_that_are_not_there(sites: Package) -> None:
    machine = sites.machine
    folder = "/etc/uwsgi-emperor/vassals"
    machine.remove("/etc/uwsgi-emperor", "/etc/uwsgi", "/etc/uwsgi.d")
    machine.write(TOML, CONFIGURED.replace(VASSALS, folder))
    machine.run("systemctl", "enable", "--now", PATH_UNIT)
    try:
        sites.bridge.vassal("late.ini", address="/run/late.sock", folder=folder)
        sites.bridge.wait("late", "listening")
        assert machine.show(PATH_UNIT, "ActiveState") == "active"
    finally:
        machine.run("systemctl", "disable", "--now", PATH_UNIT)
        machine.remove("/etc/uwsgi-emperor")


def test_the_packages_own_tests_pass(package: Package) -> None:
    package.install()
    try:
        # The machine is such a container; "null" cannot know it.
        known = "--ignore-restrictions=isolation-container"
        argv = ("autopkgtest", known, *package.debs, package.source, "--", "null")
        result = package.machine.run(*argv, check=False, timeout=300)
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
        assert re.search(r"^sites +PASS$", result.stdout + result.stderr, re.MULTILINE)
    finally:
        package.machine.run("dpkg", "--purge", NAME)
