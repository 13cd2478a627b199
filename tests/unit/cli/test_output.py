from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.cli.output import print_changes, print_found_ini, repeated, summary
from bridge.diagnostics import Diagnostic, Severity
from bridge.model.change import Change, Verb

if TYPE_CHECKING:
    import pytest

ADDED = Change(vassal="a\x1b.ini", unit="vassal-a.service", verb=Verb.ADDED, detail="runs always")
PLACE = "dir:///etc/uwsgi-emperor/vassals"


def test_no_vassals_say_where_they_were_looked_for() -> None:
    assert summary((), (), 0, places=[PLACE]) == f"0 vassals in {PLACE}: nothing to do"
    assert summary((), (), 0, places=[PLACE, "glob:///b/\n"]) == f"0 vassals in {PLACE}, glob:///b/\\n: nothing to do"
    assert summary((), (), 0) == "0 vassals: nothing to do"


def test_a_summary_counts_changes_and_errors() -> None:
    problems = [Diagnostic(code="x", message="y"), Diagnostic(code="x", message="z", severity=Severity.WARNING)]
    assert summary([ADDED, ADDED], problems, 2, places=[PLACE]) == "2 vassals: 2 added; 1 problem"


def test_warnings_that_are_not_printed_again_are_counted() -> None:
    assert repeated(0) == ""
    assert repeated(1) == "; 1 warning as before (emperor-bridge check lists them)"
    assert repeated(2).startswith("; 2 warnings as before")


def test_changes_are_printed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_changes([ADDED], planned=False)
    print_changes([ADDED], planned=True)
    assert capsys.readouterr().out == "a\\x1b.ini: added, runs always\na\\x1b.ini: would be added, runs always\n"


def test_an_emperor_ini_that_was_found_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_found_ini(None)
    print_found_ini("/etc/uwsgi-emperor/emperor.ini")
    assert capsys.readouterr() == ("", "reading /etc/uwsgi-emperor/emperor.ini (no bridge.toml names vassals)\n")
