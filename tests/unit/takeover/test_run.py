"""The steps of a take-over on real files, with a manager that has the Emperor's service too."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.host import services
from bridge.host.services import ServiceProcess
from bridge.model.unit_names import TARGET
from bridge.state.take_over import Step, TakeOver, TakeOverNote
from bridge.systemd.transient import TransientServices
from bridge.systemd.unit_files import UnitFiles
from bridge.takeover import gap, handover, remaining, run
from bridge.takeover.emperor import Emperor
from bridge.takeover.run import Outcome, TakeOverRun
from tests.unit.build import BOOT_LINK, DEAD, FAILED, RUNNING
from tests.unit.reconcile.site import Kernel, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

UNIT = "e.service"


class Realm(Site):
    """An Emperor with a vassal that waits, and one that runs always: its service has their sockets."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.manager = self.kernel = EmperorsKernel(root / "units", self)
        self.enabled = {UNIT: True}
        self.note = TakeOverNote(self.paths.take_over)
        self.write("a", "a")
        self.write("b")
        self.held: socket.socket | None = None
        self.survivors: list[ServiceProcess] = []
        """What goes on when the service has ended."""
        self.rise()

    def rise(self) -> None:
        """Have the Emperor listen."""
        self.kernel.states[UNIT] = RUNNING
        self.held = socket.socket(socket.AF_UNIX)
        self.held.bind(f"\0{self.name}-a")
        self.held.listen()

    def fall(self) -> None:
        """End the Emperor."""
        self.kernel.states[UNIT] = DEAD
        if self.held:
            self.held.close()
            self.held = None

    def processes(self, _unit: str, *, is_users: bool) -> list[ServiceProcess]:
        assert not is_users
        if not self.held:
            return self.survivors
        number = os.fstat(self.held.fileno()).st_ino
        return [
            ServiceProcess(-2, 1, ("uwsgi", "--emperor"), frozenset(), frozenset({number})),
            ServiceProcess(-3, -2, ("uwsgi", "--ini", "b.ini"), frozenset({"UWSGI_EMPEROR_FD"}), frozenset()),
        ]

    @contextmanager
    def takes_over(self) -> Iterator[TakeOverRun]:
        with self.reconciler() as reconciler, reconciler.hold():
            self.kernel.calls.clear()
            yield TakeOverRun(self.paths, self.kernel, reconciler)

    def step(self) -> Step | None:
        noted = self.note.read()
        return noted.step if noted else None

    def units(self) -> set[str]:
        return {path.name for path in (self.folder.parent / "units").iterdir() if path.name.startswith("vassal-")}


class EmperorsKernel(Kernel):
    """Starts and stops the Emperor with its service."""

    def __init__(self, units: Path, realm: Realm) -> None:
        super().__init__(units)
        self.realm = realm
        self.before: Callable[[str], None] = lambda _call: None
        self.emperor_fails = False

    def start(self, units: Collection[str], *, timeout: float, progress: Callable[[int, int], None]) -> None:
        for unit in units:
            self.before(f"start {unit}")
            if unit != UNIT:
                super().start([unit], timeout=timeout, progress=progress)
                continue
            self.calls.append(f"start {unit}")
            if self.emperor_fails:
                self.states[UNIT] = FAILED
            elif not self.realm.held:
                self.realm.rise()

    def stop(
        self,
        units: Collection[str],
        *,
        timeout: float,
        progress: Callable[[int, int], None],
        down: Collection[str] = (),
    ) -> None:
        for unit in units:
            self.before(f"stop {unit}")
            super().stop([unit], timeout=timeout, progress=progress, down=down)
            if unit == UNIT:
                self.realm.fall()


@pytest.fixture
def realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Realm]:
    (tmp_path / "units").mkdir()
    made = Realm(tmp_path)

    def set_enabled(_files: UnitFiles, units: Sequence[str], *, is_enabled: bool) -> None:
        made.kernel.before(f"enable {is_enabled}")
        made.enabled |= dict.fromkeys(units, is_enabled)

    for module in (handover, services):
        monkeypatch.setattr(module, "processes_of", made.processes)
    monkeypatch.setattr(TransientServices, "start", lambda *_: None)
    monkeypatch.setattr(remaining, "has_ended", lambda _pid: made.held is None)
    monkeypatch.setattr(run, "find_emperor", lambda *_, **__: Emperor(UNIT))
    monkeypatch.setattr(UnitFiles, "is_enabled", lambda _files, unit: made.enabled[unit])
    monkeypatch.setattr(UnitFiles, "set_enabled", set_enabled)
    yield made
    made.fall()
    made.kernel.close()


def in_order(calls: Sequence[str], *wanted: str) -> bool:
    """Tell whether calls were first made in this order."""
    return list(dict.fromkeys(call for call in calls if call in wanted)) == list(wanted)


def test_there_and_back(realm: Realm) -> None:
    with realm.takes_over() as taking:
        planned = taking.plan(None)
        assert (planned.outcome, planned.units, planned.diagnostics) == (Outcome.PLANNED, (UNIT,), ())
        assert (realm.units(), realm.step()) == (set(), None)
        result = taking.take_over(None, is_forced=False)
    assert (result.outcome, result.diagnostics, result.gap.silent) == (Outcome.DONE, (), ())
    assert set(result.gap.seconds) == {f"@{realm.name}-a"}
    assert in_order(realm.kernel.calls, f"stop {UNIT}", "start vassal-a.socket", f"start {TARGET}")
    assert (realm.step(), realm.enabled) == (Step.DONE, {UNIT: False})
    assert (realm.folder.parent / "units" / BOOT_LINK).is_symlink()
    assert realm.is_done()
    realm.sync()

    with realm.takes_over() as taking:
        result = taking.back()
    assert (result.outcome, result.is_undone) == (Outcome.BACK, False)
    assert in_order(realm.kernel.calls, "stop vassal-a.socket", f"start {UNIT}")
    assert (realm.units(), realm.step(), realm.enabled, realm.held is None) == (set(), None, {UNIT: True}, False)
    with realm.takes_over() as taking, pytest.raises(BridgeError, match="no way back"):
        taking.back()


@pytest.mark.parametrize("is_forced", [False, True])
def test_vassals_that_the_bridge_runs_already_are_not_put_at_risk(realm: Realm, *, is_forced: bool) -> None:
    realm.write("own", "own")
    (realm.folder / "a.ini").rename(realm.folder.parent / "a.ini")
    (realm.folder / "b.ini").rename(realm.folder.parent / "b.ini")
    realm.sync()
    for name in ("a.ini", "b.ini"):
        (realm.folder.parent / name).rename(realm.folder / name)
    before = realm.units()
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=is_forced)
    assert [problem.code for problem in result.problems] == ["take-over-mixed"]
    assert result.outcome is (Outcome.DONE if is_forced else Outcome.REFUSED)
    assert (realm.units() == before) is not is_forced


def test_an_emperor_that_runs_again_after_a_take_over_is_told_and_the_way_back_is_kept(realm: Realm) -> None:
    with realm.takes_over() as taking:
        taking.take_over(None, is_forced=False)
    realm.kernel.states[UNIT] = RUNNING
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=False)
        assert [problem.code for problem in result.problems] == ["take-over-mixed"]
        assert f"systemctl disable --now {UNIT}" in result.problems[0].hint
        assert taking.take_over(None, is_forced=True).outcome is Outcome.DONE
    noted = realm.note.read()
    assert noted is not None
    assert noted.enabled == {UNIT: True}


def test_what_outlives_the_service_is_killed_before_its_vassals_start(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "PATIENCE", 0.3)
    monkeypatch.setattr(handover, "KILL_PATIENCE", 0.1)
    realm.survivors = [ServiceProcess(-3, 1, ("uwsgi", "--ini", "b.ini"))]

    def kill(units: Collection[str]) -> None:
        realm.kernel.calls += [f"kill {unit}" for unit in units]
        realm.survivors.clear()

    monkeypatch.setattr(realm.kernel, "kill", kill)
    monkeypatch.setattr(remaining, "has_ended", lambda _pid: not realm.survivors)
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=False)
    assert result.outcome is Outcome.DONE
    assert in_order(realm.kernel.calls, f"stop {UNIT}", f"kill {UNIT}", f"start {TARGET}")


def test_while_a_slow_app_ends_nothing_is_held_again_and_again(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[object] = []
    looks = iter(range(25))
    realm.survivors = [ServiceProcess(-3, 1, ("uwsgi", "--ini", "b.ini"))]

    def has_ended(_pid: int) -> bool:
        if next(looks, None) is None:
            realm.survivors.clear()
        return not realm.survivors

    monkeypatch.setattr(TransientServices, "start", lambda _services, name, _properties: held.append(name))
    monkeypatch.setattr(remaining, "has_ended", has_ended)
    with realm.takes_over() as taking:
        assert taking.take_over(None, is_forced=False).outcome is Outcome.DONE
    # Once for the one that could be started at once, and once for the other.
    assert 1 <= len(held) <= 2


def test_an_emperor_that_was_not_enabled_is_not_enabled_on_the_way_back(realm: Realm) -> None:
    realm.enabled[UNIT] = False
    with realm.takes_over() as taking:
        taking.take_over(None, is_forced=False)
    with realm.takes_over() as taking:
        taking.back()
    assert realm.enabled == {UNIT: False}


class KilledError(BaseException):
    """The run ends here, and nothing more of it is done."""


def points(realm: Realm, command: Callable[[TakeOverRun], object]) -> int:
    """Run a command; return at how many points it can be killed."""
    calls: list[str] = []
    realm.kernel.before = calls.append
    with realm.takes_over() as taking:
        command(taking)
    realm.kernel.before = lambda _call: None
    return len(calls)


def kill(realm: Realm, monkeypatch: pytest.MonkeyPatch, at: int, command: Callable[[TakeOverRun], object]) -> None:
    """Run a command that is killed before its n-th call."""
    left = [at]

    def before(_call: str) -> None:
        if left[0] == 0:
            raise KilledError
        left[0] -= 1

    realm.kernel.before = before
    with monkeypatch.context() as patched, realm.takes_over() as taking:
        # Whoever is killed does not go back.
        patched.setattr(run, "_failed", lambda _unit, error, _then: error)
        patched.setattr(TakeOverRun, "_return", lambda _run, _noted: ())
        with pytest.raises(KilledError):
            command(taking)
    realm.kernel.before = lambda _call: None


def forward(taking: TakeOverRun) -> object:
    return taking.take_over(None, is_forced=False)


@pytest.mark.parametrize("is_back", [False, True])
def test_what_was_killed_is_finished_by_the_next(
    realm: Realm, monkeypatch: pytest.MonkeyPatch, *, is_back: bool
) -> None:
    number = points(realm, forward)
    assert number > 4
    with realm.takes_over() as taking:
        taking.back()
    for at in range(number):
        kill(realm, monkeypatch, at, forward)
        assert realm.step() in {Step.WRITING, Step.SWITCHING}
        with pytest.raises(BridgeError, match="take-over-unfinished"):
            realm.sync()
        if not is_back:
            with realm.takes_over() as taking:
                assert taking.take_over(None, is_forced=False).outcome is Outcome.DONE
            assert (realm.step(), realm.enabled, realm.held) == (Step.DONE, {UNIT: False}, None)
            assert realm.is_done()
        with realm.takes_over() as taking:
            assert taking.back().outcome is Outcome.BACK
        assert (realm.units(), realm.step(), realm.enabled, realm.held is None) == (set(), None, {UNIT: True}, False)


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_vassal_that_is_refused_keeps_the_emperor_in_charge_unless_forced(realm: Realm, *, is_forced: bool) -> None:
    (realm.folder / "c.ini.socket").write_text(":99999\n")
    realm.write("c")
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=is_forced)
    assert [problem.code for problem in result.diagnostics] == ["rule-invalid"]
    assert result.outcome is (Outcome.DONE if is_forced else Outcome.REFUSED)
    assert result.is_undone is not is_forced
    assert (realm.held is None, realm.step()) == ((True, Step.DONE) if is_forced else (False, None))
    assert bool(realm.units()) == is_forced


@pytest.mark.parametrize("is_forced", [False, True])
def test_what_does_not_come_up_leads_back_unless_forced(realm: Realm, *, is_forced: bool) -> None:
    def before(call: str) -> None:
        if call == f"start {TARGET}":
            realm.kernel.states["vassal-b.service"] = FAILED

    realm.kernel.before = before
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=is_forced)
    assert [problem.code for problem in result.diagnostics] == ["not-running"]
    assert result.outcome is (Outcome.DONE if is_forced else Outcome.BACK)
    assert result.is_undone is not is_forced
    assert (realm.held is None, realm.enabled) == ((True, {UNIT: False}) if is_forced else (False, {UNIT: True}))


def test_if_there_is_no_way_back_the_take_over_is_told_as_done(realm: Realm) -> None:
    def before(call: str) -> None:
        if call == f"start {TARGET}" and not realm.kernel.emperor_fails:
            realm.kernel.states["vassal-b.service"] = FAILED
            realm.kernel.emperor_fails = True

    realm.kernel.before = before
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=False)
    assert [problem.code for problem in result.diagnostics] == ["not-running", "emperor-not-started"]
    assert (result.outcome, result.is_undone) == (Outcome.DONE, False)
    assert (realm.held, realm.step(), realm.enabled) == (None, Step.DONE, {UNIT: False})


@pytest.mark.parametrize("is_forced", [False, True])
def test_an_address_that_nobody_serves_any_more_leads_back_unless_forced(
    realm: Realm, monkeypatch: pytest.MonkeyPatch, *, is_forced: bool
) -> None:
    monkeypatch.setattr(gap, "all_heard", list)
    for name in ("HELD_WITHIN", "SERVED_WITHIN"):
        monkeypatch.setattr(handover, name, 0.1)
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=is_forced)
    assert [problem.code for problem in result.diagnostics] == ["take-over-silent"]
    assert f"@{realm.name}-a" in result.diagnostics[0].message
    assert result.outcome is (Outcome.DONE if is_forced else Outcome.BACK)
    assert result.is_undone is not is_forced
    assert (realm.held is None, realm.step()) == ((True, Step.DONE) if is_forced else (False, None))


def test_one_that_the_emperor_could_not_run_either_is_no_reason_to_go_back(realm: Realm) -> None:
    realm.write("c")

    def before(call: str) -> None:
        if call == f"start {TARGET}":
            realm.kernel.states["vassal-c.service"] = FAILED

    realm.kernel.before = before
    with realm.takes_over() as taking:
        result = taking.take_over(None, is_forced=False)
    assert [problem.vassal for problem in result.diagnostics] == ["c.ini"]
    assert result.outcome is Outcome.DONE


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("x")])
def test_whatever_goes_wrong_leads_back(realm: Realm, error: BaseException) -> None:
    def before(call: str) -> None:
        if call == f"start {TARGET}":
            raise error

    realm.kernel.before = before
    with realm.takes_over() as taking, pytest.raises(BridgeError, match=f"{UNIT} is in charge again"):
        taking.take_over(None, is_forced=False)
    assert (realm.units(), realm.step(), realm.enabled, realm.held is None) == (set(), None, {UNIT: True}, False)


def test_if_the_emperor_does_not_start_again_the_bridge_serves(realm: Realm) -> None:
    with realm.takes_over() as taking:
        taking.take_over(None, is_forced=False)
    realm.kernel.emperor_fails = True
    with realm.takes_over() as taking:
        result = taking.back()
    assert (result.outcome, [problem.code for problem in result.problems]) == (Outcome.DONE, ["emperor-not-started"])
    # That the vassals' units were removed for a moment is not told.
    assert (bool(result.planned.changes), result.is_undone) == (True, True)
    assert (realm.step(), realm.enabled) == (Step.DONE, {UNIT: False})
    assert realm.is_done()


def test_another_emperor_waits_until_the_first_is_finished(realm: Realm) -> None:
    realm.note.write(TakeOver(unit="other.service", enabled={"other.service": True}, step=Step.SWITCHING))
    with realm.takes_over() as taking, pytest.raises(BridgeError, match=r"from other\.service has begun"):
        taking.take_over("e", is_forced=False)
