"""The report: a table for the terminal, and the README's section. Pure: the same results give the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import RATE, quantity
from .judging import growth_of, growths, judge, ratio, say_bar
from .measures import BEYOND, GROWTH, LARGE, ROWS, SCAN, THOUSAND, Who
from .plots import PLOTS, file_name
from .results import NOISE_BOUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .measures import Row
    from .results import Results

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
OURS = frozenset({Who.BRIDGE, Who.SYNC, Who.WATCH})


def full(results: Results) -> str:
    """Return the whole report for a terminal."""
    parts = [facts(results)]
    head: tuple[str, ...]
    for row in ROWS:
        lines = [line for size in results.sizes for line in lines_of(results, row, size)]
        if lines:
            head = ("vassals", "", "median", "quartiles", "worst", "n", "ratio", "bar")
            parts.append(f"{row.title}\n{aligned([head, *lines])}")
    if growing := [
        (one.title, one.who, f"{one.power:.2f}", one.beyond, "" if one.who not in OURS else _word(met=one.met))
        for one in growths(results)
    ]:
        head = ("", "", "exponent", f"at {BEYOND:,}", f"≤ {GROWTH}")
        title = f"growth from {THOUSAND:,} to {LARGE:,} vassals, and to {BEYOND:,} were it to go on like this"
        parts.append(f"{title}\n{aligned([head, *growing])}")
    else:
        parts.append(f"No growth is told without both {THOUSAND:,} and {LARGE:,} vassals.")
    parts += [f"FAILED {one.measure}, {one.who}, {one.size:,} vassals: {one.reason}" for one in results.failures]
    parts.append(verdict(results))
    return "\n\n".join(parts) + "\n"


def lines_of(results: Results, row: Row, size: int) -> list[tuple[str, ...]]:
    """Return a row's lines at one size: the bridge's, then its peers' with the ratio to each."""
    ours = results.of(row.measure, row.who, size)
    if ours is None:
        return []
    bars = [
        f"{say_bar(bar, row).partition(' at ')[0]}: {found.shown} {_word(met=found.met)}"
        for bar in row.bars
        if (found := judge(results, row, bar, size))
    ]
    lines: list[tuple[str, ...]] = []
    for number, (measure, who) in enumerate(((row.measure, row.who), *row.peers)):
        if (summary := results.of(measure, who, size)) is None:
            continue
        spread = f"{quantity(summary.low, row.unit)} - {quantity(summary.high, row.unit)}"
        times = ratio(results, row, (measure, who), size) if number else None
        worst = summary.least if row.unit == RATE else summary.most
        lines.append(
            (
                f"{size:,}" if not number else "",
                str(who),
                quantity(summary.median, row.unit),
                spread,
                quantity(worst, row.unit),
                str(summary.count),
                "" if times is None else f"{times:.3f}" if row.unit == RATE else f"{times:.2f}",
                "" if number else "; ".join(bars),
            )
        )
    return lines


def facts(results: Results) -> str:
    """Return what was measured where."""
    return "\n".join(f"{name}: {value}" for name, value in results.facts.items())


def verdict(results: Results) -> str:
    """Return what can be concluded."""
    judged = [
        found for row in ROWS for bar in row.bars for size in results.sizes if (found := judge(results, row, bar, size))
    ]
    grown = [one for one in growths(results) if one.who in OURS]
    missed = sum(not found.met for found in judged) + sum(not one.met for one in grown)
    unknown = sum(
        (bar.sizes is None or size in bar.sizes) and judge(results, row, bar, size) is None
        for row in ROWS
        for bar in row.bars
        for size in results.sizes
    )
    text = f"{len(judged) + len(grown) - missed} bars met, {missed} missed, {unknown} without figures"
    text += f", {len(results.failures)} measures failed."
    return f"{text} {noise(results)}"


def noise(results: Results) -> str:
    """Say how quiet the machine was."""
    spread = f"the fixed work between the steps varied by {results.noise:.0%} (bound {NOISE_BOUND:.0%})"
    if results.too_noisy:
        return f"The machine was TOO NOISY to conclude: {spread}."
    return f"The machine was quiet enough: {spread}."


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def section(results: Results) -> str:
    """Return the README's section between its markers."""
    sizes = results.sizes
    head = ["measure", *(f"{size:,}" for size in sizes), "growth", "must reach", "reached"]
    rows = [line for row in ROWS for line in _readme_lines(results, row)]
    table = [head, ["---"] * len(head), *rows]
    beyond = [f"{one.title} {one.beyond}" for one in growths(results) if one.who in OURS]
    lines = [
        BEGIN,
        "## How fast",
        "",
        "`make bench` measures this anew: the bridge, the real Emperor with the same vassals, and bare systemd given",
        "minimal units written beforehand (the floor), in turn, each in a freshly booted machine. The figures are",
        "medians, by number of vassals; growth is the power of that number that they grow with from",
        f"{THOUSAND:,} to {LARGE:,}, at most {GROWTH}. The Emperor never applies a changed address; it sees an added",
        f"or removed vassal at its next scan, every {SCAN:g} s. All samples are in",
        "[results.json](tests/bench/results.json).",
        "",
        *("| " + " | ".join(row) + " |" for row in table),
        "",
        " · ".join(f"{name} {value}" for name, value in results.facts.items()) + ".",
        noise(results),
        *(f"Failed: {one.measure}, {one.who}, {one.size:,} vassals." for one in results.failures),
        "",
        *(f"![{plot.title}](tests/bench/{file_name(plot)})" for plot in PLOTS if plot.has_samples(results)),
        "",
        f"At {BEYOND:,} vassals, were all to grow on as they do: {'; '.join(beyond)}." if beyond else "",
        END,
        "",
    ]
    return "\n".join(lines)


def _readme_lines(results: Results, row: Row) -> list[list[str]]:
    lines = []
    # Where one measure has two rows, those beside it stand below the second.
    later = ROWS[ROWS.index(row) + 1 :]
    peers = () if any(other.measure == row.measure for other in later) else row.peers
    for number, (measure, who) in enumerate(((row.measure, row.who), *peers)):
        found = [results.of(measure, who, size) for size in results.sizes]
        if not any(found):
            continue
        medians = ["-" if one is None else quantity(one.median, row.unit) for one in found]
        growth = next((one for one in growths(results) if (one.measure, one.who) == (measure, who)), None)
        power = f"{growth.power:.2f}" if growth else ""
        if number:
            lines.append([f"· {who}", *medians, power, "", ""])
        else:
            lines.append(
                [row.title, *medians, power, "<br>".join(say_bar(bar, row) for bar in row.bars), _reached(results, row)]
            )
    return lines


def _reached(results: Results, row: Row) -> str:
    """Say for each bar whether it is met, and where it is worst."""
    words = []
    for bar in row.bars:
        found = [one for size in results.sizes if (one := judge(results, row, bar, size))]
        if missed := [one for one in found if not one.met]:
            words.append("**MISS** " + ", ".join(f"{one.shown} at {one.size:,}" for one in missed))
        elif found:
            worst = min(found, key=lambda one: one.value) if bar.least else max(found, key=lambda one: one.value)
            words.append(f"met, {worst.shown}")
        else:
            words.append("-")
    growth = growth_of(results, row)
    if growth and not growth.met:
        words.append(f"**MISS** growth {growth.power:.2f}")
    return "<br>".join(words)


def _word(*, met: bool) -> str:
    return "met" if met else "MISS"


def replace_section(readme: str, text: str) -> str:
    """Return the README with its section replaced; one without markers gets it before "How it is built"."""
    if BEGIN in readme:
        before, _, rest = readme.partition(BEGIN)
        return before + text.rstrip("\n") + rest.partition(END)[2]
    before, heading, after = readme.partition("## How it is built")
    return f"{before}{text}\n{heading}{after}"


def section_of(readme: str) -> str:
    """Return the section that a README has, as `section` writes it."""
    return BEGIN + readme.partition(BEGIN)[2].partition(END)[0] + END + "\n"
