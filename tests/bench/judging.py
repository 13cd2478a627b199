"""Which bars are met, and how costs grow. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .figures import exponent, extrapolate, quantity
from .measures import BEYOND, GROWTH, LARGE, ROWS, THOUSAND, Who

if TYPE_CHECKING:
    from .measures import Bar, Row
    from .results import Results


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a bar at one size."""

    size: int
    value: float
    """What is judged: a ratio, or the figure itself."""
    met: bool
    shown: str
    """The value as it is written."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a figure grows from a thousand vassals on."""

    measure: str
    who: Who
    title: str
    power: float
    beyond: str
    """What it would be at many more vassals, were it to grow on like this."""

    @property
    def met(self) -> bool:
        """Whether it grows no faster than it may."""
        return self.power <= GROWTH


def judge(results: Results, row: Row, bar: Bar, size: int) -> Verdict | None:
    """Return whether a bar is met at a size; None if it does not hold there, or there are no figures."""
    if bar.sizes is not None and size not in bar.sizes:
        return None
    ours = results.of(row.measure, row.who, size)
    if ours is None:
        return None
    value = ours.most if bar.worst else ours.median
    if bar.beside is None:
        shown = quantity(value, row.unit)
    else:
        theirs = results.of(*bar.beside, size)
        if theirs is None or theirs.median <= 0:
            return None
        value /= theirs.median
        shown = f"{value:.3f}" if value < 0.1 or bar.least else f"{value:.2f}"
    reached = value >= bar.limit if bar.least else value <= bar.limit
    return Verdict(size=size, value=value, met=reached and not (bar.strict and value == bar.limit), shown=shown)


def ratio(results: Results, row: Row, peer: tuple[str, Who], size: int) -> float | None:
    """Return the row's median over a peer's."""
    ours, theirs = results.of(row.measure, row.who, size), results.of(*peer, size)
    return ours.median / theirs.median if ours and theirs and theirs.median > 0 else None


def say_bar(bar: Bar, row: Row) -> str:
    """Write what a bar asks for."""
    sign = "≥" if bar.least else "<" if bar.strict else "≤"
    where = "" if bar.sizes is None else " at " + ", ".join(f"{size:,}" for size in bar.sizes)
    if bar.beside is None:
        return f"{'worst ' if bar.worst else ''}{sign} {quantity(bar.limit, row.unit)}{where}"
    measure, who = bar.beside
    name = f"{who}'s" if measure == row.measure else "bring-up"
    return f"{sign} {bar.limit:g} × {name}{where}"


def growths(results: Results) -> list[Growth]:
    """Return how every cost grows, of the bridge's and of those beside it."""
    found = []
    seen = set()
    for row in ROWS:
        for measure, who in ((row.measure, row.who), *row.peers):
            small, large = results.of(measure, who, THOUSAND), results.of(measure, who, LARGE)
            if not row.grows or small is None or large is None or (measure, who) in seen:
                continue
            seen.add((measure, who))
            power = exponent((THOUSAND, small.median), (LARGE, large.median))
            if power is not None:
                title = row.title if who == row.who else row.title.replace(f", through {row.who}", "")
                beyond = quantity(extrapolate((LARGE, large.median), power, BEYOND), row.unit)
                found.append(Growth(measure=measure, who=who, title=title, power=power, beyond=beyond))
    return found


def growth_of(results: Results, row: Row) -> Growth | None:
    """Return how a row's own figure grows."""
    return next((one for one in growths(results) if (one.measure, one.who) == (row.measure, row.who)), None)
