from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import BridgeError
from bridge.model.unit import UnitState
from bridge.model.unit_names import TARGET
from bridge.reconcile.apply import TRIGGER_PATIENCE
from bridge.reconcile.bring_up import FIRST_SHARE, GROWTH, REST, SHARE
from bridge.reconcile.outcome import OutcomeCheck
from bridge.reconcile.reloads import Reloads
from bridge.state.lock import Pending
from bridge.systemd.object_paths import object_path
from tests.unit.build import (
    DEAD,
    FAILED,
    LISTENING,
    RUNNING,
    InterruptedRunError,
    World,
    WorldDirectory,
    WorldManager,
    make_desired,
    make_resolved,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.model.vassal import ResolvedVassal

ON_DEMAND = make_resolved("a.ini", "@a")
MOVED = make_resolved("a.ini", "@b")
ALWAYS = make_resolved("a.ini")
OTHER = make_resolved("b.ini", "@other")


def synced(*resolved: ResolvedVassal) -> World:
    world = World()
    world.sync(make_desired(*resolved))
    world.calls.clear()
    return world


def calls(world: World, *resolved: ResolvedVassal) -> list[str]:
    """Return the calls of a sync, but for the questions of whether a service is ready to be reloaded."""
    world.sync(make_desired(*resolved))
    made = [" ".join((name, *units)) for name, units in world.calls]
    return [call for call in made if "Timestamp" not in call and "MainPID" not in call]


def test_nothing_to_do_is_no_call() -> None:
    assert calls(synced(ON_DEMAND, OTHER), ON_DEMAND, OTHER) == []


def test_a_new_vassal_needs_no_reload() -> None:
    assert calls(synced(OTHER), OTHER, ON_DEMAND) == ["start vassal-a.socket"]


def test_the_first_sync_starts_the_target_and_then_what_is_new() -> None:
    world = World()
    assert calls(world, ON_DEMAND, make_resolved("c.ini")) == [
        f"start {TARGET}",
        "start vassal-a.socket",
        "start vassal-c.service",
    ]
    assert world.states["vassal-a.socket"] == LISTENING
    assert world.states.get("vassal-a.service", DEAD) == DEAD


def test_thousands_are_started_in_shares_that_grow_each_once_it_is_written() -> None:
    world = World()
    sizes = [int(FIRST_SHARE * GROWTH**number) for number in range(6)]
    assert sizes[-1] < SHARE < sizes[-1] * GROWTH
    number = sum(sizes) + SHARE + REST - 1
    many = [make_resolved(f"m{number}.ini", f"@m{number}") for number in range(number)]
    made = [name for name in calls(world, *many) if name != f"start {TARGET}"]
    shares = [len(call.split()) - 1 for call in made]
    # The small rest goes with the last share.
    assert shares == [*sizes, SHARE + REST - 1]
    assert all(world.states[resolved.vassal.socket] == LISTENING for resolved in many)


def test_a_changed_address_in_the_order_systemd_needs() -> None:
    world = synced(ON_DEMAND, OTHER)
    world.connect("vassal-a.service")
    assert calls(world, MOVED, OTHER) == [
        "stop vassal-a.service vassal-a.socket",
        "daemon-reload",
        "properties Unit.NeedDaemonReload vassal-a.service",
        "start vassal-a.socket",
    ]
    assert "ListenStream=@b" in world.running["vassal-a.socket"]


def test_no_reload_where_systemd_has_forgotten_the_units() -> None:
    world = synced(ON_DEMAND)
    for unit in ("vassal-a.service", "vassal-a.socket"):
        del world.states[unit], world.memory[unit]
    assert calls(world, MOVED) == ["start vassal-a.socket"]


def test_a_removed_vassal() -> None:
    world = synced(ON_DEMAND, OTHER)
    world.connect("vassal-a.service")
    assert calls(world, OTHER)[0] == "stop vassal-a.service vassal-a.socket"
    assert not any("vassal-a" in name for name in (*world.files, *world.links, *world.running))


@pytest.mark.parametrize("desired", [(OTHER,), (MOVED, OTHER), (ALWAYS, OTHER)])
def test_one_that_is_woken_once_the_plan_is_made_is_stopped_too(desired: tuple[ResolvedVassal, ...]) -> None:
    world = synced(ON_DEMAND, OTHER)
    plan = world.plan(make_desired(*desired))
    assert "vassal-a.service" not in plan.stop
    world.connect("vassal-a.service")
    world.apply(plan)
    fresh = World()
    fresh.sync(make_desired(*desired))
    assert world.running == fresh.running


def test_that_a_removed_vassal_failed_is_forgotten() -> None:
    world = synced(ALWAYS, OTHER)
    world.fail("vassal-a.service")
    assert calls(world, OTHER)[:2] == ["stop vassal-a.service", "reset-failed vassal-a.service"]


def test_a_failed_vassal_nothing_is_done_about_stays_failed() -> None:
    world = synced(ALWAYS, OTHER)
    world.fail("vassal-a.service")
    assert "reset-failed vassal-a.service" not in calls(world, ALWAYS)
    assert world.states["vassal-a.service"] == FAILED


def test_a_config_that_changed_is_one_reload_of_the_service() -> None:
    world = synced(ON_DEMAND, OTHER)
    world.connect("vassal-a.service")
    world.outdated = frozenset({"a"})
    assert calls(world, ON_DEMAND, OTHER) == ["reload vassal-a.service"]


def test_a_reload_that_is_put_off_is_noted_and_done_by_whichever_run_comes_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = synced(ON_DEMAND, OTHER)
    world.waits_for_late = False
    world.connect("vassal-a.service")
    world.outdated = frozenset({"a"})
    with monkeypatch.context() as patched:
        patched.setattr(Reloads, "tell", lambda _self, services: dict.fromkeys(services, 0.5))
        assert calls(world, ON_DEMAND, OTHER) == []
    assert world.pending == Pending(reload=frozenset({"vassal-a.service"}))
    world.outdated = frozenset()
    assert calls(world, ON_DEMAND, OTHER) == ["reload vassal-a.service"]
    assert world.pending == Pending()


def test_what_an_interrupted_run_wrote_is_read() -> None:
    world = synced(ON_DEMAND)
    world.memory["vassal-a.service"] = "an old text"
    world.pending = Pending(restart=frozenset({"vassal-a.service"}))
    assert calls(world, ON_DEMAND) == ["daemon-reload", "properties Unit.NeedDaemonReload vassal-a.service"]
    assert calls(world, ON_DEMAND)[2:] == []


def test_a_reload_is_due_until_a_run_has_done_it() -> None:
    world = synced(ON_DEMAND)
    world.memory["vassal-a.service"] = "an old text"
    world.pending = Pending(restart=frozenset({"vassal-a.service"}))
    world.steps_left = 1
    with pytest.raises(InterruptedRunError):
        world.sync(make_desired(ON_DEMAND))
    assert world.pending == Pending(*[frozenset({"vassal-a.service"})] * 2)


def test_a_reload_that_did_not_happen_is_noticed() -> None:
    world = synced(ON_DEMAND)
    world.connect("vassal-a.service")
    world.reload_works = False
    with pytest.raises(BridgeError, match="systemd did not read the changed units") as caught:
        world.sync(make_desired(MOVED))
    assert caught.value.diagnostic.code == "reload-failed"
    assert "LimitNOFILE" in caught.value.diagnostic.hint
    assert "vassal-a.socket" not in world.running
    # What was begun is remembered, and done once it can be.
    assert world.pending != Pending()
    world.reload_works = True
    world.sync(make_desired(MOVED))
    assert "ListenStream=@b" in world.running["vassal-a.socket"]


def test_what_is_begun_is_noted_before_it_is_done() -> None:
    world = synced(ON_DEMAND, OTHER)
    seen: list[Pending] = []

    class Manager(WorldManager):
        def stop(self, *args: Any, **kwargs: Any) -> None:
            seen.append(world.pending)
            super().stop(*args, **kwargs)

    plan = world.plan(make_desired(MOVED))
    executor = replace(world.executor(), manager=Manager(world))
    executor.apply(plan, world.observe().files)
    units = frozenset({"vassal-a.service", "vassal-a.socket", "vassal-b.service", "vassal-b.socket"})
    assert seen == [Pending(restart=units)]


def test_a_file_system_that_refuses() -> None:
    world = World()

    class FullDirectory(WorldDirectory):
        def write(self, texts: Any) -> None:
            del texts
            raise OSError(28, "No space left on device", "/etc/systemd/system/x")

    plan = world.plan(make_desired(ON_DEMAND))
    executor = replace(world.executor(), directory=FullDirectory(world))
    with pytest.raises(BridgeError, match="No space left") as caught:
        executor.apply(plan, ())
    assert caught.value.diagnostic.path == "/etc/systemd/system/x"
    assert world.calls == []


class AnsweringManager(WorldManager):
    """Knows what systemd would say of a unit."""

    def __init__(self, states: dict[str, UnitState], answers: dict[str, Any] | None = None) -> None:
        super().__init__(World(states=states))
        self._answers = answers or {}

    def properties(self, units: Any, interface: str, name: str) -> dict[str, Any]:
        answer = self._answers.get(f"{interface}.{name}")
        return {} if answer is None else dict.fromkeys(units, answer)


def trouble(resolved: ResolvedVassal, manager: AnsweringManager, reason: str = "") -> list[tuple[str, str]]:
    found = OutcomeCheck(manager, lambda _: reason).check([resolved], ())
    assert all(d.vassal == resolved.vassal.name and "journalctl -u" in d.hint for d in found)
    return [(d.code, d.message) for d in found]


def test_a_socket_that_listens_is_well(tmp_path: Path) -> None:
    path = tmp_path / "s"
    abstract = make_resolved("a.ini", f"@{path}")
    resolved = make_resolved("a.ini", str(path))
    listening = AnsweringManager({"vassal-a.socket": LISTENING})
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(path))
        silent = f"nobody listens on {path}, though systemd takes vassal-a.socket for active"
        assert trouble(resolved, listening) == [("not-listening", silent)]
        assert trouble(abstract, listening) == [("not-listening", silent.replace(str(path), f"@{path}"))]
        other.bind(f"\0{path}")
        listener.listen()
        other.listen()
        assert trouble(abstract, listening) == []
        assert trouble(resolved, AnsweringManager({"vassal-a.socket": LISTENING})) == []
    path.unlink()
    gone = f"its socket file {path} is gone, though systemd still listens on it"
    assert trouble(resolved, AnsweringManager({"vassal-a.socket": LISTENING})) == [("not-listening", gone)]
    path.write_text("")
    assert trouble(resolved, AnsweringManager({"vassal-a.socket": LISTENING})) == [("not-listening", gone)]


def test_why_a_socket_does_not_listen() -> None:
    failed = {"vassal-a.socket": FAILED}
    said = [("not-listening", "its socket @a does not listen: Address already in use")]
    assert trouble(ON_DEMAND, AnsweringManager(failed), "Address already in use") == said
    result = AnsweringManager(failed, {"Socket.Result": "resources"})
    assert trouble(ON_DEMAND, result) == [("not-listening", "its socket @a does not listen: systemd says resources")]


def test_why_a_unit_is_not_there() -> None:
    assert trouble(ON_DEMAND, AnsweringManager({})) == [
        ("not-listening", "systemd cannot load vassal-a.socket: it is not there")
    ]
    bad = {"vassal-a.socket": UnitState(load="bad-setting", active="inactive", sub="dead")}
    answers = {"Unit.LoadError": ("org.freedesktop.systemd1.BadUnitSetting", "Unit has a bad unit file setting.")}
    assert trouble(ON_DEMAND, AnsweringManager(bad, answers)) == [
        ("not-listening", "systemd cannot load vassal-a.socket: Unit has a bad unit file setting.")
    ]


@pytest.mark.parametrize("sub", ["auto-restart", "auto-restart-queued"])
def test_a_vassal_that_does_not_run(sub: str) -> None:
    for state in (FAILED, UnitState(load="loaded", active="activating", sub=sub)):
        manager = AnsweringManager({"vassal-a.service": state}, {"Service.Result": "exit-code"})
        assert trouble(ALWAYS, manager) == [("not-running", "it does not run: systemd says exit-code")]


def test_a_vassal_that_runs_or_is_about_to() -> None:
    for state in (RUNNING, UnitState(load="loaded", active="activating", sub="start")):
        assert trouble(ALWAYS, AnsweringManager({"vassal-a.service": state})) == []


def test_object_paths() -> None:
    root = "/org/freedesktop/systemd1/unit"
    assert object_path("vassal-a.service") == f"{root}/vassal_2da_2eservice"
    assert object_path("7.target") == f"{root}/_37_2etarget"
    assert object_path("é_") == f"{root}/_c3_a9_5f"


def test_an_app_that_never_says_that_it_is_ready_is_reloaded_by_a_signal() -> None:
    world = synced(ON_DEMAND, OTHER)
    world.states["vassal-a.service"] = UnitState(load="loaded", active="activating", sub="start")
    world.states["vassal-b.service"] = RUNNING
    world.outdated = frozenset({"a", "b"})
    assert calls(world, ON_DEMAND, OTHER) == ["reload vassal-b.service", "hang-up vassal-a.service"]


def test_a_retry_resets_a_failure_before_it_ends_the_pause() -> None:
    world = synced(ON_DEMAND)
    world.states |= {"vassal-a.service": FAILED, "pause-vassal-a.service": RUNNING}
    world.executor().retry(["vassal-a.service"])
    assert world.calls == [
        *(("reset-failed", ("vassal-a.service",)), ("stop", ("pause-vassal-a.service",))),
        ("properties", ("Socket.Result", "vassal-a.socket")),
    ]


@pytest.mark.parametrize(
    ("result", "window", "waits"),
    [
        ("trigger-limit-hit", 500_000, [0.5]),
        ("trigger-limit-hit", 2**64 - 1, [TRIGGER_PATIENCE]),
        ("success", 500_000, []),
        (None, 500_000, []),
    ],
)
def test_a_retry_waits_until_a_socket_may_start_its_service_again(
    monkeypatch: pytest.MonkeyPatch, result: str | None, window: int, waits: list[float]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("bridge.reconcile.apply.time.sleep", slept.append)
    answers = {} if result is None else {"Socket.Result": result, "Socket.TriggerLimitIntervalUSec": window}
    manager = AnsweringManager({}, answers=answers)
    replace(World().executor(), manager=manager).retry(["vassal-a.service"])
    assert slept == waits
