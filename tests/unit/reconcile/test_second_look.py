"""A file that seems to be gone is looked for once more."""

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config.settings import Settings
from bridge.model.unit import DOWN, UnitState
from bridge.model.vassal import VassalRow
from bridge.reconcile import second_look
from bridge.reconcile.second_look import LOOKS, with_second_look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RULES = Settings(emperor_on_demand_extension=".socket")
UP = UnitState(load="loaded", active="active", sub="running")
FILES, ROWS = SimpleNamespace(id="dir:///v", mirror=""), SimpleNamespace(id="pg:x", mirror="/mirror")
NOTHING = lambda: None  # noqa: E731 - what happens meanwhile


def planned(
    *removed: str,
    tenant: int | None = 4001,
    always: tuple[str, ...] = (),
    service: UnitState = DOWN,
    was: str = "here",
    monitor: str = FILES.id,
    row: VassalRow | None = None,
) -> Any:
    """Return a plan that removes some vassals, and has those run ``always`` that waited at an address."""
    facts = {"tenant": tenant, "addresses": (was,) if was else (), "monitor": monitor}
    installed = {config: SimpleNamespace(config=config, service=config, **facts) for config in (*removed, *always)}
    accepted = [
        SimpleNamespace(addresses=(), vassal=SimpleNamespace(label=one, config=SimpleNamespace(path=one), row=row))
        for one in always
    ]
    actual = SimpleNamespace(installed=installed, state=lambda _: service)
    return SimpleNamespace(removed=dict.fromkeys(removed), actual=actual, conflicts=SimpleNamespace(accepted=accepted))


def looked(
    monkeypatch: pytest.MonkeyPatch,
    plans: list[Any],
    meanwhile: Callable[[], object],
    settings: Settings = RULES,
    before: Callable[[], object] | None = None,
) -> tuple[Any, int]:
    """Return the plan that is taken, and how often there was a wait. ``before`` each plan something is done."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        meanwhile()

    monkeypatch.setattr(second_look.time, "sleep", sleep)  # type: ignore[attr-defined]
    left = list(plans)

    def plan() -> Any:
        if before is not None:
            before()
        return left.pop(0)

    monitors: Any = (FILES, ROWS)
    found = with_second_look(plan, settings, monitors)
    assert not left
    return found, len(waits)


def test_a_config_that_is_back_has_the_plan_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "v.ini"
    plans = [planned(str(config)), planned()]
    assert looked(monkeypatch, plans, config.touch) == (plans[1], 1)


def test_a_config_that_stays_away_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [planned(f"{tmp_path}/v.ini")]
    assert looked(monkeypatch, plans, NOTHING) == (plans[0], 1)


@pytest.mark.parametrize("plan", [planned(), planned("/v/v.ini", tenant=None)])
def test_nobody_waits_for_what_nobody_uses(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(monkeypatch, [plan], NOTHING) == (plan, 0)


def test_a_running_vassal_is_looked_for_without_tenants_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "v.ini"
    plans = [planned(str(config), tenant=None, service=UP), planned()]
    assert looked(monkeypatch, plans, config.touch) == (plans[1], 1)


@pytest.mark.parametrize("tenant", [None, 4001])
def test_a_rule_that_is_back_has_the_plan_made_anew(
    tenant: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [planned(tenant=tenant, always=(f"{tmp_path}/v.ini",)), planned()]
    assert looked(monkeypatch, plans, (tmp_path / "v.ini.socket").touch) == (plans[1], 1)


def test_a_rule_that_stays_away_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [planned(always=(f"{tmp_path}/v.ini",))]
    assert looked(monkeypatch, plans, NOTHING) == (plans[0], 1)


@pytest.mark.parametrize("settings", [Settings(), Settings(emperor_on_demand_directory="/run/vassals")])
def test_where_rules_have_no_files_nobody_waits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(always=("/v/v.ini",))
    assert looked(monkeypatch, [plan], NOTHING, settings) == (plan, 0)


def test_nobody_waits_for_the_rule_of_one_that_always_ran_always(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(always=("/v/v.ini",), was="")
    assert looked(monkeypatch, [plan], NOTHING) == (plan, 0)


def test_what_is_replaced_all_the_time_does_not_hold_up_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it is looked for it is there, and is another file. Each time the plan is made it is not."""
    config = tmp_path / "v.ini"
    times = iter(range(LOOKS))

    def write() -> None:
        config.touch()
        os.utime(config, (next(times), 0))

    plans = [planned(str(config)) for _ in range(LOOKS + 1)]
    remove = partial(config.unlink, missing_ok=True)
    assert looked(monkeypatch, plans, write, before=remove) == (plans[-1], LOOKS)


@pytest.mark.parametrize("tenant", [None, 4001])
def test_a_file_that_stays_there_is_not_waited_for(
    tenant: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule file gives no address, or its maker does not count. It may have come back just now, so one more plan."""
    (tmp_path / "v.ini.socket").touch()
    plans = [planned(tenant=tenant, always=(f"{tmp_path}/v.ini",)) for _ in range(2)]
    assert looked(monkeypatch, plans, NOTHING) == (plans[-1], 0)


@pytest.mark.parametrize("monitor", [ROWS.id, "dir:///former"])
def test_nobody_looks_for_the_config_of_a_row_or_of_a_former_monitor(
    monitor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v.ini").touch()
    plan = planned(f"{tmp_path}/v.ini", service=UP, monitor=monitor)
    assert looked(monkeypatch, [plan], NOTHING) == (plan, 0)


@pytest.mark.parametrize(("address", "waits"), [("", 0), ("/run/v.sock", 0), (None, 1)])
def test_the_rule_file_of_a_row_is_looked_for_if_the_row_leaves_it_to_the_rule(
    address: str | None, waits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(always=(f"{tmp_path}/v.ini",), row=VassalRow(note="/mirror/v", address=address))
    assert looked(monkeypatch, [plan], NOTHING) == (plan, waits)
