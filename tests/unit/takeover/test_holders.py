"""Whose the processes of an Emperor's service are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.host.services import ServiceProcess
from bridge.takeover.holders import Holders, assign
from tests.unit.build import make_resolved

if TYPE_CHECKING:
    from collections.abc import Iterable

ON_DEMAND, ALWAYS, OTHER = make_resolved("a.ini", "/run/a"), make_resolved("b.ini"), make_resolved("c.ini", "/run/c")
EMPEROR = ("/usr/bin/uwsgi", "--ini", "/etc/emperor.ini")
VASSAL = frozenset({"PATH", "UWSGI_EMPEROR_FD"})


def process(pid: int, parent: int, *words: str, sockets: Iterable[int] = (), is_vassals: bool = True) -> ServiceProcess:
    variables = VASSAL if is_vassals else frozenset({"PATH"})
    return ServiceProcess(pid, parent, words, variables, frozenset(sockets))


def emperor(*vassals: ServiceProcess, sockets: Iterable[int] = (71, 73)) -> list[ServiceProcess]:
    """Return an Emperor as Debian has it: a master, a worker, and the Emperor itself, which has these sockets open."""
    return [
        process(10, 1, *EMPEROR, is_vassals=False),
        process(11, 10, *EMPEROR, is_vassals=False),
        process(12, 10, *EMPEROR, sockets=sockets, is_vassals=False),
        *vassals,
    ]


def found(*vassals: ServiceProcess) -> Holders:
    return assign(emperor(*vassals), [ON_DEMAND, ALWAYS, OTHER], {"a": {71}, "c": {73}})


def vassal(pid: int, config: str, *, sockets: Iterable[int] = (), parent: int = 12) -> ServiceProcess:
    return process(pid, parent, "/usr/bin/uwsgi", "--ini", config, sockets=sockets)


def test_all_that_wait_have_no_process() -> None:
    holders = found()
    assert (holders.of, holders.unknown, holders.strangers) == ({}, frozenset(), ())
    assert holders.own == {10, 11, 12}
    assert holders.own_sockets == holders.sockets == {71, 73}
    assert holders.awaited("a") == frozenset()
    assert holders.waiting == {"a", "c"}


def test_only_one_that_the_emperor_listens_for_waits() -> None:
    """One that runs always, and has just failed, is started again by the Emperor at any time."""
    holders = assign(emperor(vassal(20, "a.ini", sockets=[71])), [ON_DEMAND, ALWAYS, OTHER], {"a": {71}, "c": {90}})
    assert holders.waiting == frozenset()


def test_one_that_has_bound_its_own_sockets_has_whoever_has_one_of_them() -> None:
    own = process(20, 12, "my app", sockets=[80, 81])
    holders = assign(emperor(own), [ON_DEMAND, ALWAYS], {"a": {71}, "b": {81}})
    assert holders.of == {"b": {20}}
    assert holders.waiting == {"a"}
    assert holders.held == {"b": {80, 81}}


def test_a_vassal_has_its_master_its_workers_and_what_they_started() -> None:
    holders = found(
        vassal(20, "b.ini", sockets=[80]),
        vassal(21, "b.ini", sockets=[80], parent=20),
        process(22, 20, "/usr/bin/redis-server"),
        process(23, 22, "sh", "-c", "x"),
    )
    assert holders.of == {"b": {20, 21, 22, 23}}
    assert holders.held == {"b": {80}}
    assert holders.awaited("b") == {20, 21, 22, 23}
    assert holders.unknown == frozenset()


def test_configs_are_named_in_all_ways_that_an_emperor_has() -> None:
    for name in ("a.ini", "/v/a.ini", "emperor://a.ini"):
        assert found(vassal(20, name)).of == {"a": {20}}
    assert found(process(20, 12, "wrapper", "--inherit", "/t.ini", "--ini", "a.ini", "--set", "x=y")).of == {"a": {20}}


def test_an_app_that_names_itself_is_known_by_the_socket_at_which_it_was_woken() -> None:
    holders = found(process(20, 12, "my app", sockets=[71]), process(21, 20, "my worker", sockets=[71]))
    assert holders.of == {"a": {20, 21}}
    assert holders.awaited("b") == frozenset()


def test_those_that_are_not_found_wait_for_all_that_nobody_knows() -> None:
    holders = found(process(20, 12, "my app", sockets=[80]), vassal(21, "a.ini", sockets=[71]))
    assert holders.of == {"a": {21}}
    assert holders.awaited("a") == {21}
    assert holders.awaited("b") == holders.awaited("c") == {20}


def test_a_vassal_that_nobody_would_run_is_told() -> None:
    holders = found(vassal(20, "d.ini"), vassal(21, "d.ini", parent=20), vassal(22, "/other/e.xml"))
    assert holders.strangers == ("/other/e.xml", "d.ini")


def test_an_emperor_below_a_script_is_no_stranger_and_is_waited_for() -> None:
    script = process(9, 1, "/bin/sh", "start", is_vassals=False)
    below = process(12, 9, *EMPEROR, sockets=[71, 73], is_vassals=False)
    holders = assign([script, below], [ON_DEMAND, ALWAYS, OTHER], {"a": {71}, "c": {73}})
    assert holders.strangers == ()
    assert holders.awaited("a") == {12}
    holders = assign([script, below, vassal(20, "b.ini")], [ON_DEMAND, ALWAYS], {"a": {71}})
    assert holders.own == {9, 12}
    assert holders.awaited("a") == frozenset()
    assert holders.awaited("b") == {20}


def test_processes_that_are_each_others_parents_end_the_search() -> None:
    assert found(process(20, 21, "x"), process(21, 20, "y")).unknown == {20, 21}
