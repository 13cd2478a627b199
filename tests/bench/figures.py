"""What many samples say: medians, spread, exponents of growth, and how a figure is written. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DOUBT = 0.05
"""The chance that a median is outside its interval."""
SECONDS, BYTES, TICKS, RATE = "s", "B", "ticks", "1/s"
_SCALES = {
    SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    BYTES: ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    TICKS: ((1.0, "ticks"),),
    RATE: ((1.0, "/s"),),
}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What there is to say of the samples of one contestant at one size."""

    count: int
    median: float
    low: float
    """The lower quartile; of fewer than four samples the least."""
    high: float
    least: float
    most: float
    sure: tuple[float, float]
    """Between these the median of all runs is, with 95 % certainty; see `interval`."""


def summarise(values: Sequence[float]) -> Summary:
    """Return the summary of at least one sample."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if len(ordered) >= 4:
        low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Summary(
        count=len(ordered),
        median=statistics.median(ordered),
        low=low,
        high=high,
        least=ordered[0],
        most=ordered[-1],
        sure=interval(ordered),
    )


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Return the confidence interval of a median: the sample so far from either end that 5 % at most are beyond.

    Half of all runs take less than the median, whatever their distribution: how many of ``n`` do, is binomial. With
    fewer than six samples not even the least and the most are so far apart that 95 % is reached; they are returned.
    """
    count = len(ordered)
    beyond, rank = 2 * 0.5**count, 0
    while rank < (count - 1) // 2 and (wider := beyond + 2 * math.comb(count, rank + 1) * 0.5**count) <= DOUBT:
        beyond, rank = wider, rank + 1
    return ordered[rank], ordered[-1 - rank]


def exponent(small: tuple[float, float], large: tuple[float, float]) -> float | None:
    """Return the power of the size that a figure grows with between two (size, figure); None where there is none."""
    (size, figure), (more, grown) = small, large
    if size == more or figure <= 0 or grown <= 0:
        return None
    return math.log(grown / figure) / math.log(more / size)


def extrapolate(known: tuple[float, float], power: float, size: float) -> float:
    """Return the figure at another size, were it to grow on with this power."""
    return known[1] * math.pow(size / known[0], power)


def noise(probes: Sequence[float]) -> float:
    """Return by what part of the median the fixed work's time varies, from its first to its last tenth."""
    if len(probes) < 2:
        return 0.0
    tenths = statistics.quantiles(probes, n=10, method="inclusive")
    return (tenths[-1] - tenths[0]) / statistics.median(probes)


def digits(value: float) -> str:
    """Write a number with its first three digits, large ones whole."""
    if value == 0:
        return "0"
    # Rounded before: what becomes 1,000 has a digit more.
    value = float(f"{value:.3g}") if abs(value) < 1000 else round(value)
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def quantity(value: float, unit: str) -> str:
    """Write a figure with its unit."""
    if unit == TICKS:
        return f"{value:g}"
    scales = _SCALES[unit]
    scale, name = next((one for one in scales if abs(value) >= one[0] * 0.9995), scales[-1])
    return f"{digits(value / scale)} {name}"
