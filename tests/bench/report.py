"""The report: tables for the terminal and for tests/bench/README.md. Pure: the same results give the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import RATE, SECONDS, quantity
from .judging import NAMES, growth_of, growths, judge, ratio, say_bar
from .measures import BEYOND, GROWTH, LARGE, ROWS, SCAN, THOUSAND, Who
from .plots import PLOTS, file_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .judging import Verdict
    from .measures import Row
    from .results import Results

BEGIN, END = "<!-- bench{suite} -->", "<!-- /bench{suite} -->"
"""Around what the benchmark writes into tests/bench/README.md."""
SPEED_BEGIN, SPEED_END = "<!-- speed -->", "<!-- /speed -->"
"""Around what it writes into the README of the project."""
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
        f"{say_bar(bar, row).partition(' at ')[0]}: {found.shown} {found.word}"
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
                name_of(row, measure, who),
                quantity(summary.median, row.unit),
                spread,
                quantity(worst, row.unit),
                str(summary.count),
                "" if times is None else f"{times:.3f}" if row.unit == RATE else f"{times:.2f}",
                "" if number else "; ".join(bars),
            )
        )
    return lines


def name_of(row: Row, measure: str, who: Who) -> str:
    """Return what a figure is called in a row's lines: its contestant, or what else was measured of the bridge."""
    return NAMES[measure] if who in OURS and measure != row.measure and measure in NAMES else str(who)


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
    unsure = sum(not found.certain for found in judged)
    unknown = sum(
        (bar.sizes is None or size in bar.sizes) and judge(results, row, bar, size) is None
        for row in ROWS
        for bar in row.bars
        for size in results.sizes
    )
    text = f"{len(judged) + len(grown) - missed} bars met, {missed} missed, {unknown} without figures"
    text += f", {len(results.failures)} measures failed. Of these verdicts, {unsure} are not certain (?)."
    return f"{text} {noise(results)}"


def noise(results: Results) -> str:
    """Say how quiet the machine was."""
    return f"The fixed work between the steps varied by {results.noise:.0%}."


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def section(results: Results, suite: str = "") -> str:
    """Return the table, the plots and the facts between their markers, for tests/bench/README.md.

    ``suite`` is the Debian suite that was measured, if it is not this machine's own.
    """
    begin, end = markers(suite)
    file, folder = (f"results-{suite}.json", f"{suite}/") if suite else ("results.json", "")
    sizes = results.sizes
    head = ["measure", *(f"{size:,}" for size in sizes), "growth", "must reach", "reached"]
    rows = [line for row in ROWS for line in _table_lines(results, row)]
    table = [head, ["---"] * len(head), *rows]
    beyond = [f"{one.title} {one.beyond}" for one in growths(results) if one.who in OURS]
    lines = [
        begin,
        *((f"## Debian {suite}", "") if suite else ()),
        "`make bench` measures this again. It compares three contestants: the bridge, the real Emperor with the same",
        "vassals, and bare systemd. Bare systemd, the floor, gets minimal units that were written beforehand.",
        "They take turns, each in a freshly booted machine.",
        "",
        "The figures are medians, by number of vassals. *Growth* is the power of that number with which a figure grows",
        f"from {THOUSAND:,} to {LARGE:,} vassals; it must be at most {GROWTH}. The Emperor never applies a changed",
        f"address. It notices an added or removed vassal at its next scan, every {SCAN:g} s. All samples are in",
        f"[{file}]({file}). A question mark: the bar lies in the 95 % confidence interval of the median, so",
        "another run may well say otherwise. Fewer than six samples have none; it is between the least and the most.",
        "",
        *("| " + " | ".join(row) + " |" for row in table),
        "",
        " · ".join(f"{name} {value}" for name, value in results.facts.items()) + ".",
        noise(results),
        *(f"Failed: {one.measure}, {one.who}, {one.size:,} vassals." for one in results.failures),
        "",
        *(f"![{plot.title}]({folder}{file_name(plot)})" for plot in PLOTS if plot.has_samples(results)),
        "",
        f"At {BEYOND:,} vassals, if the growth stays the same: {'; '.join(beyond)}." if beyond else "",
        end,
        "",
    ]
    return "\n".join(lines)


def markers(suite: str = "") -> tuple[str, str]:
    """Return what stands before and after a suite's section."""
    name = " " + suite if suite else ""
    return BEGIN.format(suite=name), END.format(suite=name)


def _table_lines(results: Results, row: Row) -> list[list[str]]:
    lines = []
    # Where one measure has two rows, those beside it stand below the second.
    later = ROWS[ROWS.index(row) + 1 :]
    peers = () if any(other.measure == row.measure for other in later) else row.peers
    for number, (measure, who) in enumerate(((row.measure, row.who), *peers)):
        found = [results.of(measure, who, size) for size in results.sizes]
        if not any(found):
            if not number:
                return []
            continue
        medians = ["-" if one is None else quantity(one.median, row.unit) for one in found]
        growth = next((one for one in growths(results) if (one.measure, one.who) == (measure, who)), None)
        power = f"{growth.power:.2f}" if growth else ""
        if number:
            lines.append([f"· {name_of(row, measure, who)}", *medians, power, "", ""])
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
            words.append("**MISS** " + ", ".join(f"{one.shown} at {one.size:,}{_doubt(one)}" for one in missed))
        elif found:
            worst = min(found, key=lambda one: one.value) if bar.least else max(found, key=lambda one: one.value)
            words.append(f"met, {worst.shown}{_doubt(worst)}")
        else:
            words.append("-")
    growth = growth_of(results, row)
    if growth and not growth.met:
        words.append(f"**MISS** growth {growth.power:.2f}")
    return "<br>".join(words)


def _doubt(verdict: Verdict) -> str:
    return "" if verdict.certain else " (?)"


def _word(*, met: bool) -> str:
    return "met" if met else "MISS"


def headline(results: Results) -> str:
    """Return one figure and the command that measures it, between their markers, for the README of the project."""
    ours, emperors = (results.of("add", who, THOUSAND) for who in (Who.WATCH, Who.EMPEROR))
    lines = ["`make bench` measures the bridge beside the Emperor and beside bare systemd."]
    if ours and emperors:
        here, there = quantity(ours.median, SECONDS), quantity(emperors.median, SECONDS)
        lines.append(f"With {THOUSAND:,} vassals, the socket of a new vassal listens {here} after its file is written.")
        lines.append(f"The Emperor takes {there}.")
    return "\n".join([SPEED_BEGIN, *lines, SPEED_END, ""])


def replace_section(page: str, text: str) -> str:
    """Return the page with ``text`` in place of what stands between the same markers; without them, at its end."""
    begin, *_, end = text.rstrip("\n").split("\n")
    if begin in page:
        before, _, rest = page.partition(begin)
        return before + text.rstrip("\n") + rest.partition(end)[2]
    return f"{page}\n{text}"


def section_of(page: str, begin: str, end: str) -> str:
    """Return what stands in a page between two markers, in the form in which it was written."""
    return begin + page.partition(begin)[2].partition(end)[0] + end + "\n"
