"""Runs that process only what changed: real files, real listening sockets, a manager that notes what it is asked."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.feeder.protocol import Row
from bridge.mirror.change import Change
from bridge.mirror.state import MirrorState, write_state
from bridge.model.change import Verb
from bridge.monitors.mirrored import MirroredMonitor
from bridge.reconcile import incremental
from bridge.reconcile.run import Scope
from bridge.state import fingerprint
from bridge.watch.affected import scope_of
from tests.unit.build import DEAD, RUNNING
from tests.unit.reconcile.site import CONFIG, Site, verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTHING = Scope.of(())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "units").mkdir()
    site = Site(tmp_path)
    for name in ("a", "b", "c"):
        site.write(name, name)
    site.write("always")
    site.age()
    assert site.sync().scope.is_all
    yield site
    site.manager.close()


def test_nothing_to_do_asks_systemd_once(site: Site) -> None:
    planned = site.sync()
    assert planned.scope == NOTHING
    assert planned.plan.is_empty
    assert planned.vassals == 4
    # The target and what runs always by name; then the target for the plan, and nothing to check.
    assert all(call.startswith("units ") for call in site.manager.calls)


def test_each_change_is_seen_alone(site: Site) -> None:
    new = site.write("new", "new")
    site.age()
    planned = site.sync()
    assert (planned.scope, verbs(planned), planned.vassals) == (Scope.of({new}), {"new.ini": Verb.ADDED}, 5)
    assert "start vassal-new.socket" in site.manager.calls
    assert "daemon-reload" not in site.manager.calls

    moved = site.write("a", "elsewhere")
    site.age()
    planned = site.sync()
    assert (planned.scope, verbs(planned), planned.vassals) == (Scope.of({moved}), {"a.ini": Verb.CHANGED}, 5)

    (site.folder / "b.ini").unlink()
    planned = site.sync()
    assert (verbs(planned), planned.vassals) == ({"b.ini": Verb.REMOVED}, 4)

    site.manager.stop(["vassal-c.socket"], timeout=0, progress=lambda *_: None)
    assert verbs(site.sync()) == {"c.ini": Verb.STARTED}

    site.manager.states["vassal-always.service"] = DEAD
    assert verbs(site.sync()) == {"always.ini": Verb.STARTED}
    assert site.sync().scope == NOTHING
    assert site.is_done()


def test_a_unit_that_was_touched_is_written_again(site: Site, tmp_path: Path) -> None:
    unit = tmp_path / "units" / "vassal-a.service"
    text = unit.read_text()
    unit.write_text(f"{text}User=nobody\n")
    assert verbs(site.sync()) == {"a.ini": Verb.CHANGED}
    assert unit.read_text() == text


def test_a_conflict_has_the_run_look_at_all_and_is_told_each_time(site: Site) -> None:
    rivals = Scope.of({site.write("rival", "a"), site.key("a")})
    site.age()
    for scope in (Scope.all(), rivals):
        planned = site.sync()
        assert planned.scope == scope
        assert [(d.vassal, d.code) for d in planned.diagnostics] == [("rival.ini", "address-conflict")]
        assert planned.plan.is_empty
    (site.folder / "rival.ini").unlink()
    assert site.sync().diagnostics == ()
    assert site.is_done()


def test_a_refused_config_does_not_reload_the_vassal_whose_name_it_bears(site: Site) -> None:
    site.manager.states["vassal-a.service"] = RUNNING
    assert site.sync().plan.is_empty
    rival = site.folder / "a.xml"
    for text in ("<uwsgi><master/></uwsgi>", "<uwsgi><master>1</master></uwsgi>"):
        rival.write_text(text)
        site.age()
        planned = site.sync()
        assert [(d.vassal, d.code) for d in planned.diagnostics] == [("a.xml", "name-conflict")]
        assert planned.plan.is_empty
    # What the vassal itself changes is applied all the same.
    site.write("a", "a", f"{CONFIG}# changed")
    site.age()
    assert verbs(site.sync()) == {"a.ini": Verb.RELOADED}


def test_a_row_that_changes_concerns_no_other_row(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    site = Site(tmp_path)
    site.settings = Settings(emperor=("pg://host=db",))
    with closing(site.manager), site.reconciler() as reconciler, reconciler.hold():
        (monitor,) = reconciler.monitors
        assert isinstance(monitor, MirroredMonitor)
        assert monitor.writer.open()
        change = Change(monitor.writer, is_whole=True)
        for name in ("a", "b"):
            change.put(Row(name=f"{name}.ini", config=CONFIG, socket=f"@{site.name}-{name}"))
        change.commit()
        write_state(monitor.folder.path, MirrorState(asked=1.0))
        reconciler.apply(site.manager, reconciler.plan(site.manager))
        for path in (monitor.folder.config("a.ini"), monitor.folder.note("a.ini", has_text=True)):
            scope = scope_of([path], reconciler.cache, reconciler.monitors, site.settings)
            assert scope == Scope.of({f"{monitor.id}:a.ini"})
        monitor.writer.close()


def test_what_is_refused_is_told_each_time(site: Site) -> None:
    bad = site.write("bad", "bad", "[uwsgi]\ninclude = /nowhere.ini\n")
    site.age()
    for _ in range(2):
        planned = site.sync()
        assert planned.scope == Scope.of({bad})
        assert [d.code for d in planned.diagnostics] == ["config-unreadable"]
        assert planned.vassals == 4
    site.write("bad", "bad")
    site.age()
    assert verbs(site.sync()) == {"bad.ini": Verb.ADDED}


def test_a_file_that_a_condition_asks_about(site: Site, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    asks = site.write("asks", "asks", f"[uwsgi]\nif-exists = {flag}\nlisten = 7\nendif =\n")
    site.age()
    site.sync()
    flag.touch()
    planned = site.sync()
    assert (planned.scope, verbs(planned)) == (Scope.of({asks}), {"asks.ini": Verb.CHANGED})
    assert "Backlog=7" in (tmp_path / "units" / "vassal-asks.socket").read_text()


def test_other_settings_or_a_lost_roll_have_the_run_look_at_all(site: Site) -> None:
    site.settings = Settings(emperor=site.settings.emperor, emperor_on_demand_extension=".socket", env=("A=b",))
    assert site.sync().scope.is_all
    assert site.sync().scope == NOTHING
    with open(site.paths.cache, "w", encoding="utf-8") as cache:
        cache.write("{}")
    assert site.sync().scope.is_all


def test_another_format_of_units_has_the_run_process_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.sync().scope == NOTHING
    monkeypatch.setattr(incremental, "FORMAT", "another")
    assert site.sync().scope.is_all
    assert site.sync().scope == NOTHING


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine, it was written this very moment: its time tells nothing.
    monkeypatch.setattr(fingerprint, "_TICK", 10**12)
    young = site.write("young", "young")
    site.sync()
    assert young in (site.sync().scope.keys or ())
    monkeypatch.undo()
    site.age()
    site.sync()
    assert site.sync().scope == NOTHING


def test_most_vassals_gone_at_once_are_kept(site: Site) -> None:
    for number in range(8):
        site.write(f"m{number}", f"m{number}")
    site.age()
    site.sync()
    for number in range(8):
        (site.folder / f"m{number}.ini").unlink()
    for _ in range(2):
        planned = site.sync()
        assert [d.code for d in planned.diagnostics] == ["mass-removal"]
        assert planned.plan.is_empty


def test_with_many_changes_it_is_quicker_to_look_at_all(site: Site) -> None:
    for number in range(incremental.MOST + 1):
        site.write(f"m{number}", f"m{number}")
    site.age()
    planned = site.sync()
    assert planned.scope.is_all
    assert planned.vassals == incremental.MOST + 5
