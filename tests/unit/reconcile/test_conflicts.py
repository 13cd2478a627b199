from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import Diagnostic, Severity
from bridge.reconcile.actual import ActualState
from bridge.reconcile.conflicts import find_conflicts
from bridge.reconcile.desired import Desired
from tests.unit.build import World, make_desired, make_resolved, refuse

if TYPE_CHECKING:
    from bridge.model.vassal import ResolvedVassal


def installed(*resolved: ResolvedVassal) -> World:
    world = World()
    world.sync(make_desired(*resolved))
    return world


def accepted(desired: Desired, actual: ActualState) -> list[str]:
    return [s.vassal.name for s in find_conflicts(desired, actual).accepted]


def codes(desired: Desired, actual: ActualState) -> list[tuple[str | None, str]]:
    return [(d.vassal, d.code) for d in find_conflicts(desired, actual).diagnostics]


def only(desired: Desired, actual: ActualState) -> Diagnostic:
    (problem,) = find_conflicts(desired, actual).diagnostics
    return problem


A, B, C = (make_resolved(f"{name}.ini", f"/run/{name}") for name in "abc")
NOTHING = ActualState()


def test_all_are_admitted_where_nothing_is_in_the_way() -> None:
    conflicts = find_conflicts(make_desired(A, B, make_resolved("c.ini")), NOTHING)
    assert [s.vassal.name for s in conflicts.accepted] == ["a.ini", "b.ini", "c.ini"]
    assert (conflicts.rejections, conflicts.kept, conflicts.masked, conflicts.diagnostics) == (
        (),
        frozenset(),
        frozenset(),
        (),
    )


def test_one_name_wanted_twice_refuses_both() -> None:
    desired = make_desired(make_resolved("a.ini", "@1"), make_resolved("a.xml", "@2"), B)
    conflicts = find_conflicts(desired, NOTHING)
    assert [s.vassal.name for s in conflicts.accepted] == ["b.ini"]
    one, other = conflicts.diagnostics
    assert (one.path, other.path, one.code) == ("/v/a.ini", "/v/a.xml", "name-conflict")
    assert "/v/a.xml" in one.message
    assert "/v/a.ini" in other.message
    assert {rejection.vassal.config.path for rejection in conflicts.rejections} == {"/v/a.ini", "/v/a.xml"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/run/x", "//run/./x"),
        (":80", "0.0.0.0:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("127.0.0.1:80", ":80"),
        ("@x", "@x"),
    ],
)
def test_one_address_wanted_twice_refuses_both(one: str, other: str) -> None:
    conflicts = find_conflicts(make_desired(make_resolved("a.ini", one), make_resolved("b.ini", other), C), NOTHING)
    assert [s.vassal.name for s in conflicts.accepted] == ["c.ini"]
    assert [(d.vassal, d.code) for d in conflicts.diagnostics] == [
        ("a.ini", "address-conflict"),
        ("b.ini", "address-conflict"),
    ]
    assert "/v/b.ini" in conflicts.diagnostics[0].message
    assert "/v/a.ini" in conflicts.diagnostics[1].message


def test_only_those_that_collide_are_refused() -> None:
    vassals = [
        make_resolved("a.ini", "127.0.0.1:80"),
        make_resolved("b.ini", "127.0.0.2:80"),
        make_resolved("c.ini", "0.0.0.0:81"),
        make_resolved("d.ini", "[::1]:80"),
    ]
    assert len(accepted(make_desired(*vassals), NOTHING)) == 4
    assert accepted(make_desired(*vassals, make_resolved("e.ini", ":80")), NOTHING) == ["c.ini", "d.ini"]


def test_addresses_are_compared_by_what_they_are_on_this_machine() -> None:
    through_link = replace(make_resolved("b.ini", "/var/run/a"), canonical_addresses=A.canonical_addresses)
    assert accepted(make_desired(A, through_link), NOTHING) == []


def test_a_crowd_is_not_named_in_full() -> None:
    crowd = [make_resolved(f"{n}.ini", "@x") for n in range(50)]
    conflicts = find_conflicts(make_desired(*crowd), NOTHING)
    assert len(conflicts.diagnostics) == 50
    assert all("and others" in d.message and d.message.count("/v/") == 3 for d in conflicts.diagnostics)


def test_who_is_refused_for_two_reasons_is_refused_once() -> None:
    desired = make_desired(make_resolved("a.ini", "@x"), make_resolved("a.xml", "@x"))
    conflicts = find_conflicts(desired, NOTHING)
    assert [rejection.vassal.name for rejection in conflicts.rejections] == ["a.ini", "a.xml"]
    assert {d.code for d in conflicts.diagnostics} == {"name-conflict", "address-conflict"}


def test_a_refused_vassal_keeps_its_name_and_address() -> None:
    world = installed(A)
    same_name = make_resolved("a.xml", "@other")
    same_address = make_resolved("b.ini", "/run/a")
    desired = make_desired(same_name, same_address, C, refused=[A])
    assert accepted(desired, world.observe()) == ["c.ini"]
    assert codes(desired, world.observe()) == [("a.xml", "name-conflict"), ("b.ini", "address-conflict")]
    assert find_conflicts(desired, world.observe()).kept == {"a"}


def test_a_refused_vassal_without_units_keeps_nothing() -> None:
    desired = make_desired(make_resolved("b.ini", "/run/a"), refused=[A])
    assert accepted(desired, NOTHING) == ["b.ini"]
    assert find_conflicts(desired, NOTHING).kept == frozenset()


def test_an_unusable_config_keeps_what_it_had() -> None:
    desired = replace(make_desired(B), unusable=frozenset({"dir:///v:a.ini"}))
    assert find_conflicts(desired, installed(A, B).observe()).kept == {"a"}


def test_refusals_go_on_in_a_chain() -> None:
    """Each wants what the one before has: the first is refused, so all keep what they have."""
    names = "abcdefgh"
    world = installed(*(make_resolved(f"{name}.ini", f"/run/{name}") for name in names))
    moved = [make_resolved(f"{b}.ini", f"/run/{a}") for a, b in itertools.pairwise(names)]
    desired = make_desired(*moved, refused=[A])
    conflicts = find_conflicts(desired, world.observe())
    assert conflicts.accepted == ()
    assert conflicts.kept == set(names)
    assert len(conflicts.rejections) == 7
    # Without the first refusal all of them may move.
    assert len(accepted(make_desired(*moved), world.observe())) == 7


def test_an_unreachable_monitor_keeps_its_vassals_and_their_addresses() -> None:
    world = installed(A, make_resolved("x.ini", "@x", folder="/w"))
    desired = make_desired(make_resolved("b.ini", "/run/a", folder="/w"), unreachable=["dir:///v"])
    conflicts = find_conflicts(desired, world.observe())
    assert conflicts.kept == {"a"}
    assert conflicts.accepted == ()
    assert only(desired, world.observe()).code == "address-conflict"


def test_two_may_swap_their_addresses() -> None:
    world = installed(A, B)
    assert (
        len(accepted(make_desired(make_resolved("a.ini", "/run/b"), make_resolved("b.ini", "/run/a")), world.observe()))
        == 2
    )


@pytest.mark.parametrize("unit", ["vassal-a.service", "vassal-a.socket"])
def test_a_foreign_unit_refuses(unit: str) -> None:
    world = World(files={unit: "[Unit]\n"})
    problem = only(make_desired(A, B), world.observe())
    assert (problem.vassal, problem.code) == ("a.ini", "unit-foreign")
    assert f"/etc/systemd/system/{unit}" in problem.message
    assert accepted(make_desired(A, B), world.observe()) == ["b.ini"]


def test_a_unit_of_another_folder_refuses() -> None:
    world = World(elsewhere={"vassal-a.socket": "/usr/lib/systemd/system/vassal-a.socket"})
    problem = only(make_desired(A), world.observe())
    assert (problem.code, "/usr/lib/systemd/system/vassal-a.socket" in problem.message) == ("unit-foreign", True)


def test_a_marked_file_under_another_name_is_foreign() -> None:
    world = installed(B)
    world.files["vassal-a.service"] = world.files["vassal-b.service"]
    assert only(make_desired(A, B), world.observe()).code == "unit-foreign"


@pytest.mark.parametrize("unit", ["vassal-a.service", "vassal-a.socket"])
def test_a_masked_vassal_is_left_alone(unit: str) -> None:
    world = installed(A)
    del world.files[unit]
    world.masked.add(unit)
    for actual in (world.observe(), World(masked={unit}).observe()):
        conflicts = find_conflicts(make_desired(A, B), actual)
        assert [s.vassal.name for s in conflicts.accepted] == ["b.ini"]
        assert conflicts.masked == {"a"}
        (warning,) = conflicts.diagnostics
        assert (warning.code, warning.severity, warning.vassal) == ("masked", Severity.WARNING, "a.ini")
        assert f"systemctl unmask '{unit}'" in warning.hint


def test_nobody_takes_the_address_of_a_masked_vassals_socket() -> None:
    world = installed(A)
    del world.files["vassal-a.service"]
    world.masked.add("vassal-a.service")
    desired = make_desired(A, make_resolved("b.ini", "/run/a"))
    assert codes(desired, world.observe()) == [("a.ini", "masked"), ("b.ini", "address-conflict")]


def test_an_occupied_address_refuses() -> None:
    occupied = {A.canonical_addresses[0]: "/run/a exists and is not a socket"}
    conflicts = find_conflicts(make_desired(A, B), NOTHING, occupied)
    (problem,) = conflicts.diagnostics
    assert (problem.vassal, problem.code) == ("a.ini", "address-occupied")
    assert "/run/a exists and is not a socket" in problem.message
    assert [s.vassal.name for s in conflicts.accepted] == ["b.ini"]


def test_desired_rejections_are_by_key_and_by_config() -> None:
    desired = Desired(rejections=(refuse(A),), unusable=frozenset({"dir:///v:x.ini"}))
    assert desired.rejected_owners == {"dir:///v:a.ini": 0, "dir:///v:x.ini": None}
    assert desired.rejected_configs == {"/v/a.ini": 0}
    assert replace(desired, resolved=(B,)).owners == desired.rejected_owners | {"dir:///v:b.ini": 0}


def test_each_of_several_addresses_counts() -> None:
    both = make_resolved("c.ini", ":80", "/run/c")
    assert accepted(make_desired(both, make_resolved("d.ini", ":81")), NOTHING) == ["c.ini", "d.ini"]
    for address in ("127.0.0.1:80", "/run/c"):
        desired = make_desired(both, make_resolved("d.ini", address))
        assert codes(desired, NOTHING) == [("c.ini", "address-conflict"), ("d.ini", "address-conflict")]
    conflicts = find_conflicts(make_desired(both), NOTHING, {both.canonical_addresses[1]: "/run/c is a folder"})
    (problem,) = conflicts.diagnostics
    assert problem.message == "it is to wait on /run/c, but /run/c is a folder"


def test_a_vassal_keeps_each_of_its_addresses() -> None:
    world = World()
    both = make_resolved("c.ini", ":80", "/run/c")
    world.sync(make_desired(both))
    for address in (":80", "/run/c"):
        newcomer = make_resolved("d.ini", address)
        assert codes(make_desired(both, newcomer), world.observe()) == [("d.ini", "address-conflict")]
        kept = replace(make_desired(newcomer), rejections=(refuse(both),))
        assert codes(kept, world.observe()) == [("d.ini", "address-conflict")]
