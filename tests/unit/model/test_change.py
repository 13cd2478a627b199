from __future__ import annotations

from bridge.model.change import Change, Verb


def test_a_change_is_one_line() -> None:
    change = Change(vassal="a.ini", unit="vassal-a.service", verb=Verb.ADDED, detail="waits on /run/a.sock")
    assert str(change) == "a.ini: added, waits on /run/a.sock"
    assert change.planned == "a.ini: would be added, waits on /run/a.sock"


def test_a_change_without_a_detail() -> None:
    change = Change(vassal="a.ini", unit="vassal-a.service", verb=Verb.REMOVED)
    assert (str(change), change.planned) == ("a.ini: removed", "a.ini: would be removed")
