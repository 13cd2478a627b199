from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from bridge.model.unit import InstalledVassal
from bridge.reconcile.removal_guard import MASS_LEAST, spare

if TYPE_CHECKING:
    from collections.abc import Sequence

A, B = "dir:///a", "dir:///b"


def make_installed(number: int, monitor: str = A, tenant: int | None = None) -> InstalledVassal:
    label = f"{monitor[-1]}-{tenant}-{number}"
    return InstalledVassal(
        label=label,
        name=f"{label}.ini",
        config=f"/{label}.ini",
        monitor=monitor,
        tenant=tenant,
        addresses=(),
        canonical_addresses=(),
        units=(f"vassal-{label}.service",),
    )


def many(number: int, monitor: str = A, tenant: int | None = None) -> list[InstalledVassal]:
    return [make_installed(n, monitor, tenant) for n in range(number)]


def spared(gone: Sequence[InstalledVassal], served: Sequence[InstalledVassal]) -> set[str]:
    """Return the monitors whose vassals are spared: all of those that are gone, or none."""
    assert set(gone) <= set(served)
    labels, problems = spare(gone, Counter((one.monitor, one.tenant) for one in served))
    kept = {one.monitor for one in gone if one.label in labels}
    assert labels == {one.label for one in gone if one.monitor in kept}
    assert [d.code for d in problems] == ["mass-removal"] * len(kept)
    assert all(any(f" of {monitor} " in d.message for d in problems) for monitor in kept)
    # It concerns no single vassal, so that the next run processes all.
    assert all(d.key is None for d in problems)
    return kept


def test_nothing_gone_is_nothing_spared() -> None:
    assert spare([], Counter({(A, None): 100})) == (frozenset(), ())


@pytest.mark.parametrize(
    ("gone", "total", "is_spared"),
    [
        (6, 10, True),
        (5, 10, False),
        (10, 10, True),
        (9, 9, False),
        (1, 1, False),
        (6, 11, True),
        (5, 11, False),
        (51, 100, True),
        (50, 100, False),
    ],
)
def test_more_than_half_of_at_least_ten(gone: int, total: int, *, is_spared: bool) -> None:
    assert MASS_LEAST == 10
    assert bool(spared(many(total)[:gone], many(total))) == is_spared


def test_each_monitor_is_judged_by_itself() -> None:
    served = [*many(30, A), *many(20, B)]
    # All of one monitor's are less than half of all vassals, and still all that it has.
    assert spared(many(20, B), served) == {B}
    assert spared([*many(1, A), *many(20, B)], served) == {B}
    assert spared([*many(16, A), *many(11, B)], served) == {A, B}
    assert spared([*many(15, A), *many(10, B)], served) == set()
    # A small monitor beside a large one is none of ten.
    assert spared(many(9, B), [*many(30, A), *many(9, B)]) == set()


def test_what_one_tenant_removes_concerns_nobody_else() -> None:
    served = [*many(60, tenant=1), *many(40, tenant=2)]
    assert spared(many(60, tenant=1), served) == set()
    assert spared([*many(60, tenant=1), *many(1, tenant=2)], served) == set()
    assert spared([*many(60, tenant=1), *many(20, tenant=2)], served) == set()


def test_no_single_tenant_decides_it_whoever_lost_most() -> None:
    """Without the first tenant, less than half is gone of what the second has."""
    served = [*many(30, tenant=1), *many(70, tenant=2)]
    for lost in (29, 30, 31, 35):
        gone = [*many(30, tenant=1), *many(lost, tenant=2)]
        assert spared(gone, served) == spared(gone[::-1], served) == set()
    assert spared([*many(30, tenant=1), *many(36, tenant=2)], served) == {A}


def test_a_folder_that_is_gone_takes_more_than_one_tenants() -> None:
    served = [*many(60, tenant=1), *many(40, tenant=2)]
    assert spared(served, served) == {A}
    assert spared([*many(60, tenant=1), *many(21, tenant=2)], served) == {A}
    assert spared([*many(31, tenant=1), *many(30, tenant=2)], served) == {A}
    crowd = [one for tenant in range(20) for one in many(1, tenant=tenant)]
    assert spared(crowd, crowd) == {A}
    assert spared(crowd[:11], crowd) == {A}
    assert spared(crowd[:10], crowd) == set()


def test_the_only_tenant_may_remove_all_of_his() -> None:
    assert spared(many(20, tenant=1), many(20, tenant=1)) == set()
    assert spared(many(20, tenant=1), [*many(20, tenant=1), *many(2, tenant=2)]) == set()


def test_tenants_of_one_monitor_do_not_count_for_another() -> None:
    served = [*many(20, A, tenant=1), *many(5, A, tenant=2), *many(20, B, tenant=1), *many(20, B, tenant=2)]
    gone = [*many(20, A, tenant=1), *many(20, B, tenant=1), *many(11, B, tenant=2)]
    assert spared(gone, served) == {B}


def test_a_small_set_of_tenants_is_not_guarded() -> None:
    served = [*many(5, tenant=1), *many(4, tenant=2)]
    assert spared(served, served) == set()


def test_vassals_outside_the_scope_count_as_served() -> None:
    labels, problems = spare(many(6), Counter({(A, None): 10}))
    assert (len(labels), len(problems)) == (6, 1)
    assert spare(many(6), Counter({(A, None): 12, (B, None): 0})) == (frozenset(), ())


def test_the_message_counts_what_is_gone_of_what_there_was() -> None:
    _, (problem,) = spare(many(6), Counter({(A, None): 10, (B, None): 90}))
    assert problem.message == "6 of 10 vassals of dir:///a are gone at once, so none of them is removed"
    assert "--allow-mass-removal" in problem.hint
