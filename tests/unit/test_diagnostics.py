"""Diagnostics whose texts tenants write: cut, escaped, and few for each owner."""

from __future__ import annotations

import pytest

from bridge.cli import output
from bridge.diagnostics import PATH_MAX, PER_OWNER, TEXT_MAX, Diagnostic, bounded, cut, printable_lines

ODD = ["\x9b31m", "\u202e", "\u2066", "\x1b]0;x\x07", "\u200f", "\x85", "\u2028", "\udc80", "\x7f"]


def problem(number: int, owner: int | None) -> Diagnostic:
    return Diagnostic(code="config-vanished", message=f"{number}", owner=owner)


def test_long_texts_are_cut_in_the_middle() -> None:
    long = Diagnostic(
        code="x", message="a" * 10**6 + "end", hint="b" * 10**6, path="/" + "c" * 10**6, detail="d" * 10**6
    )
    assert len(long.message) == len(long.hint) == TEXT_MAX
    assert long.message.endswith("aend")
    assert "…" in long.message
    assert long.path is not None
    assert len(long.path) == PATH_MAX
    assert len(str(long)) < PATH_MAX + 2 * TEXT_MAX + 100
    short = Diagnostic(code="x", message="a" * TEXT_MAX)
    assert short.message == "a" * TEXT_MAX


def test_escapes_do_not_make_a_line_long() -> None:
    shown = str(Diagnostic(code="x", message="\U000e0001" * TEXT_MAX, hint="\x9b" * TEXT_MAX, path="\x9b" * PATH_MAX))
    assert len(shown) < PATH_MAX + 2 * TEXT_MAX + 100
    assert shown.isprintable()


@pytest.mark.parametrize("most", [4, 10, 499])
def test_what_is_cut_is_as_long_as_allowed(most: int) -> None:
    assert len(cut("x" * 500, most)) == most
    assert cut("x" * most, most) == "x" * most


def test_one_owner_has_few_lines_and_the_others_all_of_theirs() -> None:
    victim, roots = problem(0, 1002), [problem(number, 0) for number in range(100)]
    mallorys = [problem(number, 1001) for number in range(5010)]
    shown = bounded([*mallorys, victim, *roots, problem(1, None)])
    assert shown[:PER_OWNER] == mallorys[:PER_OWNER]
    assert shown[PER_OWNER:-1] == [victim, *roots, problem(1, None)]
    assert "and 4,990 more problems with vassals of the user 1001" in str(shown[-1])
    assert bounded(mallorys[:PER_OWNER]) == mallorys[:PER_OWNER]


@pytest.mark.parametrize("odd", ODD)
def test_texts_of_several_lines_are_escaped_too(odd: str) -> None:
    shown = printable_lines(f"[Unit]\n\tDescription=é {odd}\n")
    assert shown.startswith("[Unit]\n\tDescription=é ")
    assert shown.replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize("odd", ODD)
def test_a_diff_is_escaped(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    output._print_lines(output._diff("vassal-a.service", "a\n", f"b{odd}\n"))
    assert capsys.readouterr().out.replace("\n", "").isprintable()
