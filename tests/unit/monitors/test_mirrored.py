"""The vassals that the mirror of a database or a broker has."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.config.monitor_tables import MonitorTable
from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Severity
from bridge.feeder.protocol import Note, Row
from bridge.host.path_watch import WatchList
from bridge.mirror.change import Change
from bridge.mirror.state import MirrorState, write_state
from bridge.model.unit_names import path_label
from bridge.model.vassal import Owner, VassalRow
from bridge.monitors import open_monitor, open_monitors
from bridge.monitors.mirrored import MirroredMonitor
from bridge.monitors.row_problems import shown_time

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.monitors.base import Report

PG = "pg://host=db password=s3cret"
A = Row(name="a.ini", config="[uwsgi]", ts=1.0, uid=33, gid=34, socket="/run/a.sock")
B = Row(name="b.ini", config="[uwsgi]", ts=1.0)
PATH = Row(name="/etc/sites/c.ini", ts=1.0, has_rule=False)


def opened(tmp_path: Path, *rows: Row, settings: Settings | None = None) -> MirroredMonitor:
    """Return a monitor whose mirror has these rows, if any are given."""
    monitor = open_monitor(PG, settings or Settings(chdir="/srv"), str(tmp_path))
    assert isinstance(monitor, MirroredMonitor)
    if rows:
        assert monitor.writer.open()
        change = Change(monitor.writer, is_whole=True)
        for row in rows:
            change.put(row)
        change.commit()
        write_state(monitor.folder.path, MirrorState(asked=1000.0))
    return monitor


def codes(report: Report) -> list[str]:
    return [problem.code for problem in report.diagnostics]


def test_a_row_is_a_vassal(tmp_path: Path) -> None:
    monitor = opened(tmp_path, A, B)
    report = monitor.report()
    assert report.complete
    assert report.diagnostics == ()
    first, second = report.vassals
    folder = monitor.folder
    assert (first.name, first.label, first.key, first.stem) == ("a.ini", "a", "pg://host=db:a.ini", "a")
    assert first.config.path == first.argument == folder.config("a.ini")
    assert first.directory == "/srv"
    assert first.row == VassalRow(note=f"{folder.rows}/a.ini", address="/run/a.sock")
    assert second.row == VassalRow(note=f"{folder.rows}/b.ini", address="")


def test_who_owns_a_row(tmp_path: Path) -> None:
    (vassal,) = opened(tmp_path, A).report().vassals
    assert vassal.config.owner == Owner(os.geteuid(), os.getegid())
    tyrant = opened(tmp_path / "tyrant", A, settings=Settings(emperor_tyrant=True))
    (vassal,) = tyrant.report().vassals
    assert vassal.config.owner == Owner(33, 34)


def test_problems_name_the_monitor_and_the_row_in_place_of_a_file(tmp_path: Path) -> None:
    (vassal,) = opened(tmp_path, A).report().vassals
    text = str(vassal.problem("code", "wrong", "mend", at=(vassal.config.path, 3)))
    assert text == "pg://host=db a.ini:3: error: wrong (mend) [code]"
    assert str(vassal.problem("code", "wrong", "mend", at=("/etc/other", 3))).startswith("/etc/other:3: ")


def test_only_those_asked_for(tmp_path: Path) -> None:
    monitor = opened(tmp_path, A, B)
    only = {"pg://host=db:b.ini", "pg://host=db:gone.ini", "dir:///x:a.ini"}
    assert [vassal.name for vassal in monitor.report(only).vassals] == ["b.ini"]


def test_a_path_is_a_vassal_with_the_rule_in_force(tmp_path: Path) -> None:
    for name in ("c.ini", "d.ini"):
        (tmp_path / name).write_text("[uwsgi]")
    rows = (replace(PATH, name=f"{tmp_path}/c.ini"), replace(PATH, name="d.ini", socket="/run/d", has_rule=True))
    monitor = opened(tmp_path / "mirrors", *rows, settings=Settings(chdir=str(tmp_path)))
    first, second = sorted(monitor.report().vassals, key=lambda one: one.name)
    assert (first.config.path, first.label) == (f"{tmp_path}/c.ini", path_label(f"{tmp_path}/c"))
    assert first.row is not None
    assert (first.row.address, first.row.is_path) == (None, True)
    assert (second.config.path, second.label) == (f"{tmp_path}/d.ini", "d")
    assert second.row is not None
    assert second.row.address == "/run/d"


def test_a_path_goes_with_its_file_and_is_back_with_it(tmp_path: Path) -> None:
    file = tmp_path / "c.ini"
    monitor = opened(tmp_path, A, replace(PATH, name=str(file)))
    report = monitor.report()
    assert report.complete
    assert [vassal.name for vassal in report.vassals] == ["a.ini"]
    assert [(one.code, one.severity) for one in report.diagnostics] == [("config-vanished", Severity.WARNING)]
    file.write_text("[uwsgi]")
    report = monitor.report()
    assert sorted(vassal.name for vassal in report.vassals) == sorted([str(file), "a.ini"])
    assert codes(report) == []


def test_never_asked_is_not_none(tmp_path: Path) -> None:
    monitor = opened(tmp_path)
    report = monitor.report()
    assert not report.complete
    (problem,) = report.diagnostics
    assert (problem.code, problem.severity) == ("monitor-silent", Severity.WARNING)
    assert monitor.keys() is None


def test_cannot_be_asked(tmp_path: Path) -> None:
    monitor = opened(tmp_path, A)
    write_state(monitor.folder.path, MirrorState(asked=1000.0, since=2000.0, why="refused", hint="start it"))
    report = monitor.report()
    assert report.complete
    assert [vassal.name for vassal in report.vassals] == ["a.ini"]
    (problem,) = report.diagnostics
    assert (problem.code, problem.severity, problem.hint) == ("monitor-unreachable", Severity.ERROR, "start it")
    assert problem.message == (f"as of {shown_time(1000.0)}; cannot be asked since {shown_time(2000.0)}: refused")


def test_cannot_be_asked_at_the_first_start(tmp_path: Path) -> None:
    monitor = opened(tmp_path)
    assert monitor.writer.open()
    write_state(monitor.folder.path, MirrorState(since=2000.0, why="refused"))
    report = monitor.report()
    assert not report.complete
    assert report.diagnostics[0].message.startswith("nothing is known of its vassals yet; cannot be asked since")


def test_notes_are_problems_of_their_rows(tmp_path: Path) -> None:
    monitor = opened(tmp_path, A, B)
    notes = (
        Note(code="row-socket", message="m", hint="h", name="a.ini"),
        Note(code="row-ts", message="times", hint="h", is_warning=True),
        Note(code="Bad Code\n", message="m", hint="h", name="x"),
    )
    write_state(monitor.folder.path, MirrorState(asked=1.0, notes=notes, more_notes=4))
    report = monitor.report()
    assert codes(report) == ["more-problems", "row-socket", "row-ts", "adode"]
    problem = report.diagnostics[1]
    assert (problem.key, problem.vassal) == ("pg://host=db:a.ini", "a.ini")
    assert str(problem) == "pg://host=db a.ini: error: m (h) [row-socket]"
    assert codes(monitor.report({"pg://host=db:b.ini"})) == ["more-problems"]


def test_a_name_that_no_unit_can_have(tmp_path: Path) -> None:
    long = replace(A, name=f"{'-' * 100}.ini")
    report = opened(tmp_path, long, B).report()
    assert codes(report) == ["vassal-name"]
    assert report.rejected == {f"pg://host=db:{long.name}"}
    assert [vassal.name for vassal in report.vassals] == ["b.ini"]


def test_paths_of_the_mirror(tmp_path: Path) -> None:
    monitor = opened(tmp_path, A, PATH)
    folder = monitor.folder
    monitor.watch(WatchList(lambda _: None))
    note = folder.note(PATH.name, has_text=False)
    for path, key in [
        (folder.config("a.ini"), "pg://host=db:a.ini"),
        (f"{folder.rows}/gone.ini", "pg://host=db:gone.ini"),
        ("/etc/sites/c.ini", "pg://host=db:/etc/sites/c.ini"),
        (note, "pg://host=db:/etc/sites/c.ini"),
    ]:
        assert monitor.key_at(path) == key
        assert monitor.holds(path)
    for path in (f"{folder.paths}/new", f"{folder.path}/state.json", "/etc/sites/d.ini"):
        assert monitor.key_at(path) is None
        assert not monitor.holds(path)
    assert sorted(monitor.keys() or ()) == ["pg://host=db:/etc/sites/c.ini", "pg://host=db:a.ini"]


def test_what_is_watched(tmp_path: Path) -> None:
    settings = Settings(chdir="/srv", emperor_on_demand_extension=".socket")
    monitor = opened(tmp_path, A, PATH, settings=settings)
    found = WatchList(lambda _: None)
    monitor.watch(found)
    assert {monitor.folder.configs, monitor.folder.rows, monitor.folder.paths} <= found.names.keys()
    assert found.names["/etc/sites"] == {"c.ini", "c.ini.socket"}


def test_texts_go_once_their_vassals_have_no_units(tmp_path: Path) -> None:
    monitor = opened(tmp_path, A, B)
    Change(monitor.writer, is_whole=True).commit()
    monitor.settle(lambda key: key == "pg://host=db:a.ini")
    assert os.listdir(monitor.folder.configs) == ["a.ini"]
    # Another process has the mirror.
    opened(tmp_path).settle(lambda _: False)
    assert os.listdir(monitor.folder.configs) == ["a.ini"]


def test_two_specs_with_two_passwords_are_one_monitor(tmp_path: Path) -> None:
    specs = ("pg://host=db password=a", "pg://host=db password=b", "pg://host=other")
    monitors = open_monitors(Settings(emperor=specs), str(tmp_path))
    assert [monitor.id for monitor in monitors] == ["pg://host=db", "pg://host=other"]


def test_a_table_names_its_monitor(tmp_path: Path) -> None:
    table = MonitorTable(name="fleet", spec=PG, user="postgres")
    (monitor,) = open_monitors(Settings(monitor=(table,), uid="www-data"), str(tmp_path))
    assert isinstance(monitor, MirroredMonitor)
    assert monitor.id == "pg:fleet"
    assert monitor.folder.path == f"{tmp_path}/fleet"
    assert (monitor.plan.unit, monitor.plan.user) == ("emperor-bridge-monitor-fleet.service", "postgres")


def test_a_bare_spec_runs_as_the_emperors_user(tmp_path: Path) -> None:
    monitor = opened(tmp_path, settings=Settings(uid="nobody", emperor_freq=7))
    assert (monitor.plan.user, monitor.plan.freq) == ("nobody", 7.0)
    assert monitor.plan.unit.startswith("emperor-bridge-monitor-pg-")


@pytest.mark.parametrize(
    "settings",
    [
        Settings(emperor=("amqp://u:s3cret@h:port",)),
        Settings(monitor=(MonitorTable(name="x", spec="amqp://u:s3cret@h:port"),)),
        Settings(monitor=(MonitorTable(name="x", spec="ldap://u:s3cret@h"),)),
        Settings(monitor=(MonitorTable(name="x", spec="/etc/s3cret"),)),
    ],
)
def test_refused_specs_show_no_secret(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BridgeError) as caught:
        open_monitors(settings, str(tmp_path))
    assert "s3cret" not in str(caught.value)
    assert caught.value.diagnostic.hint


def test_a_mirror_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    monitor = opened(tmp_path)
    (tmp_path / "file").touch()
    blocked = opened(tmp_path / "file")
    assert not blocked.open_writer()
    assert codes(blocked.report()) == ["monitor-silent", "mirror-unwritable"]
    assert monitor.open_writer()
    assert monitor.open_writer()
    assert codes(monitor.report()) == ["monitor-silent"]
