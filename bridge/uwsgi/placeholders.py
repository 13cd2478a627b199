"""Expands placeholders in values, ``%(name)`` and ``$(NAME)``. All that they cost is charged to a budget.

core/utils.c, ``uwsgi_apply_config_pass``; core/config.c, ``uwsgi_manage_placeholder``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.uwsgi.budget import Budget
    from bridge.uwsgi.options import Option

_INT64 = re.compile(r"[ \t\n\v\f\r]*([+-]?)0*([0-9]*)")
_INT64_MAX = 2**63 - 1
_INT64_DIGITS = 19
_OPERATORS = frozenset("+-*/")


def substitute(option: Option, text: str, what: str, replacement: str | None, budget: Budget) -> str:
    """Return ``text`` with each ``what`` replaced once, as ``uwsgi_substitute`` (core/utils.c) does."""
    budget.work(len(text), option)
    count = text.count(what)
    if replacement is None or not count:
        return text
    budget.text(len(text) + count * (len(replacement) - len(what)), option)
    return text.replace(what, replacement)


def expand(option: Option, symbol: str, lookup: Callable[[str], str | None], budget: Budget) -> str:
    """Return the option's value with each ``symbol(name)`` replaced for which ``lookup`` has a value.

    After each replacement uWSGI searches again from the second character of the value, so it expands placeholders
    in replacements too. Of nested placeholders it takes the innermost. Unknown ones stay.
    """
    value = option.value
    start = 0
    while (found := _find(option, value, symbol, start, budget)) is not None:
        begin, end = found
        replacement = lookup(value[begin + 2 : end])
        if replacement is None:
            start = end + 1
            continue
        budget.text(begin + len(replacement) + len(value) - end, option)
        value = value[:begin] + replacement + value[end + 1 :]
        start = 1
    return value


def _find(option: Option, value: str, symbol: str, start: int, budget: Budget) -> tuple[int, int] | None:
    """Return where the first closed, non-empty ``symbol(…)`` opens and closes."""
    stops = re.compile(f"[(){re.escape(symbol)}]")
    begin = value.find(symbol + "(", start)
    budget.work(len(value) - start, option)
    while begin >= 0:
        depth = 0
        position = begin + 2
        while (stop := stops.search(value, position)) is not None:
            budget.work(0, option)
            position = stop.end()
            if stop.group() == "(":
                depth += 1
            elif stop.group() == symbol or not depth:
                break
            else:
                depth -= 1
        if stop is None:
            return None
        if stop.group() == ")" and stop.start() > begin + 2:
            return begin, stop.start()
        begin = value.find(symbol + "(", stop.start())
    return None


def calculate(option: Option, text: str, lookup: Callable[[str], str | None], budget: Budget) -> str | None:
    """Return the value of ``%(text)``: one option's value, or words that are joined and calculated from left to right.

    ``%(a b)`` joins; ``%(a + 1)`` and ``-``, ``*``, ``/`` take integers of 64 bits; ``%(a ++)`` counts up.
    """
    if " " not in text:
        return lookup(text)
    budget.work(len(text), option)
    current: str | None = None
    operator = ""
    for word in text.split(" "):
        if not word:
            continue
        if word in _OPERATORS:
            operator = word
            continue
        if word in {"++", "--"}:
            if current is not None:
                current = _wrapped(_integer(current) + (1 if word == "++" else -1))
            operator = ""
            continue
        value = word if word.isascii() and word.isdigit() else lookup(word) or ""
        budget.text(len(current or "") + len(value), option)
        current = _apply(operator, current or "", value)
        operator = ""
    return current


def _apply(operator: str, left: str, right: str) -> str:
    if not operator:
        return left + right
    one, two = _integer(left), _integer(right)
    match operator:
        case "+":
            return _wrapped(one + two)
        case "-":
            return _wrapped(one - two)
        case "*":
            return _wrapped(one * two)
    if not two:
        return "0"
    quotient = abs(one) // abs(two)
    return _wrapped(quotient if (one < 0) == (two < 0) else -quotient)


def _integer(text: str) -> int:
    """Read a number from the start of a text as ``strtoll`` in base ten does, within 64 bits."""
    match = _INT64.match(text)
    sign, digits = match.groups() if match else ("", "")
    size = int(digits or "0") if len(digits) <= _INT64_DIGITS else _INT64_MAX + 1
    return max(-size, -_INT64_MAX - 1) if sign == "-" else min(size, _INT64_MAX)


def _wrapped(number: int) -> str:
    return str((number + 2**63) % 2**64 - 2**63)
