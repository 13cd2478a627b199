"""Which bars are met, and how costs grow. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .figures import exponent, extrapolate, quantity
from .measures import BEYOND, GROWTH, LARGE, ROWS, THOUSAND, Who

if TYPE_CHECKING:
    from .measures import Bar, Row
    from .results import Results


NAMES = {"up": "bring-up", "python": "python3 -c pass"}
"""What a figure is called beside which another measure stands."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a bar at one size."""

    size: int
    value: float
    """What is judged: a ratio, or the figure itself."""
    met: bool
    certain: bool
    """Whether other samples would hardly say otherwise: the bar is outside of the confidence interval."""
    shown: str
    """The value as it is written."""

    @property
    def word(self) -> str:
        """How it is written."""
        return ("met" if self.met else "MISS") + ("" if self.certain else "?")


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
    low, high = (value, value) if bar.worst else ours.sure
    if bar.beside is None:
        shown = quantity(value, row.unit)
    else:
        theirs = results.of(*bar.beside, size)
        if theirs is None or theirs.sure[0] <= 0:
            return None
        value /= theirs.median
        low, high = low / theirs.sure[1], high / theirs.sure[0]
        shown = f"{value:.3f}" if value < 0.1 or bar.least else f"{value:.2f}"
    met = _reaches(bar, value)
    certain = _reaches(bar, low) == _reaches(bar, high) == met
    return Verdict(size=size, value=value, met=met, certain=certain, shown=shown)


def _reaches(bar: Bar, value: float) -> bool:
    reached = value >= bar.limit if bar.least else value <= bar.limit
    return reached and not (bar.strict and value == bar.limit)


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
    name = NAMES[measure] if measure != row.measure else f"{who}'s"
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
