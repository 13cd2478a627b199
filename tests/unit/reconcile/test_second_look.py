"""A tenant's vassal that seems to be gone is looked for once more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.reconcile import second_look
from bridge.reconcile.second_look import with_second_look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def planned(*removed: str, tenant: int | None = 4001) -> Any:
    installed = {config: SimpleNamespace(config=config, tenant=tenant) for config in removed}
    return SimpleNamespace(removed=dict.fromkeys(removed), actual=SimpleNamespace(installed=installed))


def looked(monkeypatch: pytest.MonkeyPatch, plans: list[Any], meanwhile: Callable[[], object]) -> tuple[Any, int]:
    """Return the plan that is taken, and how often there was a wait."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        meanwhile()

    monkeypatch.setattr(second_look.time, "sleep", sleep)  # type: ignore[attr-defined]
    left = list(plans)
    found = with_second_look(lambda: left.pop(0))
    return found, len(waits)


def test_a_config_that_is_back_has_the_plan_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "v.ini"
    plans = [planned(str(config)), planned()]
    assert looked(monkeypatch, plans, config.touch) == (plans[1], 1)


def test_a_config_that_stays_away_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [planned(f"{tmp_path}/v.ini")]
    assert looked(monkeypatch, plans, lambda: None) == (plans[0], 1)


@pytest.mark.parametrize("plan", [planned(), planned("/v/v.ini", tenant=None)])
def test_without_tenants_nobody_waits(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(monkeypatch, [plan], lambda: None) == (plan, 0)
