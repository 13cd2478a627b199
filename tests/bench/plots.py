"""The plots of growth, as SVG: time against number of vassals, readable on light and on dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .measures import Who

if TYPE_CHECKING:
    from pathlib import Path

    from .results import Results

GREY = "#808080"
"""Of axes and text: to be read on white and on black."""
LINES = {
    Who.BRIDGE: ("#2f81f7", "o", "bridge"),
    Who.SYNC: ("#2f81f7", "o", "bridge, sync"),
    Who.WATCH: ("#8957e5", "s", "bridge, watch"),
    Who.EMPEROR: ("#d1242f", "^", "Emperor"),
    Who.FLOOR: ("#2da44e", "D", "bare systemd (floor)"),
    Who.SLICE: ("#bf8700", "v", "all units in one slice"),
}


@dataclass(frozen=True)
class Plot:
    """One measure's growth."""

    measure: str
    title: str

    def has_samples(self, results: Results) -> bool:
        """Say whether there is anything to draw."""
        return bool(results.samples.get(self.measure))


PLOTS = (
    Plot("cold", "Cold start: connection to first byte"),
    Plot("up", "Bring-up: empty system to all sockets listening"),
    Plot("boot", "Boot: units on disk to all sockets listening"),
    Plot("nothing", "sync with nothing to do"),
    Plot("status", "emperor-bridge status"),
    Plot("check", "emperor-bridge check"),
    Plot("add", "One vassal added"),
    Plot("change", "One vassal given another address"),
    Plot("remove", "One vassal removed"),
    Plot("hundred", "100 vassals added at once"),
    Plot("reload", "daemon-reload"),
)


def file_name(plot: Plot) -> str:
    """Return the name of a plot's file."""
    return f"growth-{plot.measure}.svg"


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw all plots that there are samples for."""
    import matplotlib as mpl

    folder.mkdir(exist_ok=True)
    mpl.use("svg")
    # The same results give the same file.
    mpl.rcParams["svg.hashsalt"] = "emperor-bridge"
    mpl.rcParams["svg.fonttype"] = "none"
    return [_draw(results, plot, folder / file_name(plot)) for plot in PLOTS if plot.has_samples(results)]


def _draw(results: Results, plot: Plot, path: Path) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    for who, (colour, marker, label) in LINES.items():
        points = [(size, one) for size in results.sizes if (one := results.of(plot.measure, who, size))]
        if not points:
            continue
        sizes, medians = [size for size, _ in points], [one.median for _, one in points]
        spread = [[one.median - one.low for _, one in points], [one.high - one.median for _, one in points]]
        axes.errorbar(sizes, medians, yerr=spread, color=colour, marker=marker, label=label, capsize=2, lw=1.5, ms=4)
    axes.set(xscale="log", yscale="log", xlabel="vassals", ylabel="seconds (median, quartiles)")
    axes.set_title(plot.title, color=GREY, fontsize=10)
    axes.set_xticks(results.sizes, [f"{size:,}" for size in results.sizes])
    axes.minorticks_off()
    axes.grid(visible=True, color=GREY, alpha=0.3, lw=0.5)
    axes.tick_params(colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_color(GREY)
    axes.legend(frameon=False, labelcolor=GREY, fontsize=8)
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return path
