"""The benchmark's figures, bars and report; the READMEs show exactly what the results say."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest

from tests.bench.comparing import report
from tests.bench.figures import BYTES, RATE, SECONDS, TICKS, exponent, extrapolate, interval, noise, quantity, summarise
from tests.bench.judging import growth_of, judge, say_bar
from tests.bench.layout import bare_target, vassal
from tests.bench.measures import LARGE, ROWS, SIZES, THOUSAND, Bar, Row, Who
from tests.bench.report import (
    SPEED_BEGIN,
    SPEED_END,
    full,
    headline,
    markers,
    replace_section,
    section,
    section_of,
)
from tests.bench.results import Failure, Results
from tests.unit.build import ROOT

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "tests/bench/README.md").read_text()
RESULTS = sorted((ROOT / "tests/bench").glob("results*.json"))
BEGIN, END = markers()
ROW = Row(measure="add", who=Who.SYNC, title="one added", peers=(("add", Who.FLOOR),))


def some_results() -> Results:
    """Samples for all rows: the bridge twice as fast as all others, growing with the square root."""
    results = Results(facts={"date": "2026-01-01"}, sizes=list(SIZES), probes=[1.0] * 20)
    for row, size in itertools.product(ROWS, SIZES):
        for number, (measure, who) in enumerate(((row.measure, row.who), *row.peers)):
            if results.of(measure, who, size) is None:
                results.add(measure, who, size, [math.sqrt(size) * (2 if number else 1)] * 5)
    return results


def test_a_summary_has_the_median_and_the_quartiles() -> None:
    found = summarise([5, 1, 2, 3, 4])
    assert (found.count, found.median, found.low, found.high, found.least, found.most) == (5, 3, 2, 4, 1, 5)


def test_of_few_samples_the_spread_is_least_to_most() -> None:
    found = summarise([3, 1])
    assert (found.median, found.low, found.high) == (2, 1, 3)


@pytest.mark.parametrize(("figures", "power"), [((1, 8), 1), ((1, 64), 2), ((5, 5), 0), ((0, 5), None), ((5, 0), None)])
def test_exponent(figures: tuple[float, float], power: float | None) -> None:
    found = exponent((1000, figures[0]), (8000, figures[1]))
    assert found == (power if power is None else pytest.approx(power))


def test_one_size_has_no_exponent() -> None:
    assert exponent((8000, 1), (8000, 2)) is None


def test_extrapolation_goes_on_with_the_power() -> None:
    assert extrapolate((1000, 3), 2, 10_000) == pytest.approx(300)


def test_noise_is_what_the_probes_vary_by() -> None:
    assert noise([1.0] * 50) == 0
    assert noise([1.0] * 50 + [1.5] * 50) == pytest.approx(0.4)
    assert noise([]) == 0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.345, SECONDS, "12.3 s"),
        (0.99999, SECONDS, "1.00 s"),
        (0.01234, SECONDS, "12.3 ms"),
        (0.00000123, SECONDS, "1.23 µs"),
        (116.7, SECONDS, "117 s"),
        (0, SECONDS, "0 µs"),
        (32_500_000, BYTES, "32.5 MB"),
        (14_000, BYTES, "14.0 kB"),
        (12, BYTES, "12.0 B"),
        (3, TICKS, "3"),
        (12_345.6, RATE, "12,346 /s"),
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("bar", "ours", "met"),
    [
        (Bar(limit=1.3, beside=("add", Who.FLOOR)), 2.6, True),
        (Bar(limit=1.3, beside=("add", Who.FLOOR)), 2.7, False),
        (Bar(limit=1.0, beside=("add", Who.FLOOR), strict=True), 2.0, False),
        (Bar(limit=0.98, beside=("add", Who.FLOOR), least=True), 1.97, True),
        (Bar(limit=0.98, beside=("add", Who.FLOOR), least=True), 1.95, False),
        (Bar(limit=0), 0, True),
    ],
)
def test_bars(bar: Bar, ours: float, *, met: bool) -> None:
    results = Results(sizes=[LARGE])
    results.add("add", Who.SYNC, LARGE, [ours])
    results.add("add", Who.FLOOR, LARGE, [2.0])
    found = judge(results, ROW, bar, LARGE)
    assert found is not None
    assert found.met is met


def test_a_bar_of_the_worst_judges_the_worst() -> None:
    results = Results(sizes=[LARGE])
    results.add("add", Who.SYNC, LARGE, [1, 1, 3.5])
    found = judge(results, ROW, Bar(limit=3, worst=True), LARGE)
    assert found is not None
    assert (found.met, found.shown) == (False, "3.50 s")


def test_a_bar_is_silent_elsewhere_and_without_figures() -> None:
    results = some_results()
    assert judge(results, ROW, Bar(limit=1, sizes=(LARGE,)), THOUSAND) is None
    assert judge(Results(sizes=[LARGE]), ROW, Bar(limit=1), LARGE) is None


def test_a_bar_in_words() -> None:
    assert say_bar(Bar(limit=1.3, beside=("add", Who.FLOOR)), ROW) == "≤ 1.3 × floor's"
    assert say_bar(Bar(limit=0.05, beside=("up", Who.SYNC), sizes=(LARGE,), strict=True), ROW) == (
        "< 0.05 × bring-up at 8,000"
    )
    assert say_bar(Bar(limit=3, worst=True, strict=True), ROW) == "worst < 3.00 s"


def test_growth_of_a_row() -> None:
    results = some_results()
    growth = growth_of(results, next(row for row in ROWS if row.measure == "up"))
    assert growth is not None
    assert growth.power == pytest.approx(0.5)
    assert growth.met


@pytest.mark.parametrize(
    ("count", "ranks"), [(1, (1, 1)), (3, (1, 3)), (5, (1, 5)), (6, (1, 6)), (9, (2, 8)), (10, (2, 9)), (25, (8, 18))]
)
def test_the_interval_of_a_median_is_the_one_of_the_tables(count: int, ranks: tuple[int, int]) -> None:
    assert interval([float(number + 1) for number in range(count)]) == ranks


def test_a_verdict_is_certain_if_its_bar_is_outside_of_the_interval() -> None:
    def word(*ours: float) -> str:
        results = Results(sizes=[LARGE])
        results.add("add", Who.SYNC, LARGE, ours)
        found = judge(results, ROW, Bar(limit=2), LARGE)
        assert found is not None
        return found.word

    assert [word(1, 1, 1), word(1, 1, 3), word(1, 3, 3), word(3, 3, 3)] == ["met", "met?", "MISS?", "MISS"]


def test_the_report_tells_of_misses_failures_and_noise() -> None:
    results = some_results()
    results.probes = [1.0, 2.0] * 10
    results.failures = [Failure(measure="cold", who="floor", size=1, reason="it broke")]
    text = full(results)
    assert "MISS" in text
    assert "FAILED cold, floor, 1 vassals: it broke" in text
    assert "varied by 67%" in text


def test_the_report_of_a_part_says_what_it_cannot() -> None:
    results = Results(sizes=[1])
    results.add("up", Who.SYNC, 1, [0.5])
    assert "No growth" in full(results)
    assert "without figures" in full(results)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = some_results()
    results.failures = [Failure(measure="cold", who="floor", size=1, reason="it broke")]
    (tmp_path / "results.json").write_text(results.text())
    assert Results.load(tmp_path / "results.json") == results


def test_a_section_takes_the_place_of_the_one_before() -> None:
    new = section(some_results())
    once = replace_section("# Title\n", new)
    assert once.startswith(f"# Title\n\n{BEGIN}\n")
    assert once.endswith(f"{END}\n")
    both = replace_section(once, section(some_results(), "trixie"))
    assert section_of(both, BEGIN, END) == new
    assert "(trixie/growth-up.svg)" in section_of(both, *markers("trixie"))
    more = f"{once}\n## More\nText\n"
    assert replace_section(more, new) == more
    assert replace_section(more.replace("| measure |", "| old |"), new) == more
    assert section_of(more, BEGIN, END) == new


def test_a_row_without_figures_leaves_no_line_of_another_contestant() -> None:
    results = Results(sizes=[1])
    results.add("up", Who.EMPEROR, 1, [1.0])
    assert "| · " not in section(results)
    results.add("boot", Who.BRIDGE, 1, [2.0])
    assert section(results).count("| · Emperor | 1.00 s |") == 1


def test_the_headline_names_both_or_nothing() -> None:
    assert "The Emperor takes" in headline(some_results())
    assert headline(Results()).count("\n") == 3


def test_the_pages_show_what_the_results_say() -> None:
    assert RESULTS[-1].name == "results.json"
    for file in RESULTS:
        suite, results = file.stem.partition("-")[2], Results.load(file)
        assert section_of(PAGE, *markers(suite)) == section(results, suite)
    assert section_of(README, SPEED_BEGIN, SPEED_END) == headline(results)


def test_the_rule_comes_before_the_config() -> None:
    assert [path.rpartition("/")[2] for path in vassal("a")] == ["a.ini.socket", "a.ini"]


def test_a_bare_target_wants_each_socket() -> None:
    (text,) = bare_target("x.target", ["a", "b"]).values()
    assert text.count("Wants=bare-") == 2


def test_of_two_versions_the_present_one_must_be_as_fast_as_the_base() -> None:
    before, after = Results(sizes=[1, 1000]), Results(sizes=[1, 1000])
    for size, present in ((1, 2.09), (1000, 2.11)):
        before.add("add", Who.SYNC, size, [2.0, 2.0, 2.0])
        after.add("add", Who.SYNC, size, [2.0, present, present])
    lines = [line.split() for line in report(before, after).splitlines()]
    assert [line[-3:] for line in lines if len(line) > 3 and line[0] in {"1", "1,000"}] == [
        ["1.000", "1.045", "met"],
        ["1.000", "1.055", "MISS"],
    ]
    assert lines[-1] == ["1", "figures", "missed."]
