"""A file that seems to be gone is looked for once more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config.settings import Settings
from bridge.model.unit import DOWN, UnitState
from bridge.reconcile import second_look
from bridge.reconcile.second_look import LOOKS, with_second_look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RULES = Settings(emperor_on_demand_extension=".socket")
UP = UnitState(load="loaded", active="active", sub="running")
NOTHING = lambda: None  # noqa: E731 - what happens meanwhile


def planned(
    *removed: str, tenant: int | None = 4001, always: tuple[str, ...] = (), service: UnitState = DOWN, was: str = "here"
) -> Any:
    """Return a plan that removes some vassals, and has those run ``always`` that waited at an address."""
    installed = {
        config: SimpleNamespace(config=config, tenant=tenant, service=config, addresses=(was,) if was else ())
        for config in (*removed, *always)
    }
    accepted = [
        SimpleNamespace(addresses=(), vassal=SimpleNamespace(label=one, config=SimpleNamespace(path=one)))
        for one in always
    ]
    actual = SimpleNamespace(installed=installed, state=lambda _: service)
    return SimpleNamespace(removed=dict.fromkeys(removed), actual=actual, conflicts=SimpleNamespace(accepted=accepted))


def looked(
    monkeypatch: pytest.MonkeyPatch,
    plans: list[Any],
    meanwhile: Callable[[], object],
    settings: Settings = RULES,
) -> tuple[Any, int]:
    """Return the plan that is taken, and how often there was a wait."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        meanwhile()

    monkeypatch.setattr(second_look.time, "sleep", sleep)  # type: ignore[attr-defined]
    left = list(plans)
    found = with_second_look(lambda: left.pop(0), settings)
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
    """Each time it is looked for it is there, and each time the plan is made it is not."""
    config = tmp_path / "v.ini"
    plans = [planned(str(config)) for _ in range(LOOKS + 1)]
    assert looked(monkeypatch, plans, config.touch) == (plans[-1], LOOKS)
