"""What is measured, for whom, and the bar for each: what a figure must reach. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .figures import BYTES, RATE, SECONDS, TICKS

SMALL, THOUSAND, LARGE = 1, 1000, 8000
SIZES = (SMALL, 100, THOUSAND, LARGE)
BEYOND = 100_000
"""Vassals to extrapolate to: more than one machine's limits allow."""
GROWTH = 1.05
"""The highest power of the number of vassals that any cost may grow with."""
HUNDRED = 100
SCAN = 3.0
"""Seconds between the Emperor's scans."""
ROUNDS, ROUNDS_LARGE = 5, 3
"""How often each contestant is measured."""
QUIET = 60.0
"""Seconds in which nothing may happen."""


class Who(StrEnum):
    """A contestant, as the samples name it."""

    BRIDGE = "bridge"
    SYNC = "sync"
    WATCH = "watch"
    EMPEROR = "Emperor"
    FLOOR = "floor"
    SLICE = "one slice"
    ROWS = "rows"
    """The daemon with the rows of a database."""
    FEEDER = "feeder"
    """The process that talks to the database for it."""
    SYSTEMD = "PID 1"


PYTHON = ("python", Who.BRIDGE)
"""The measure of an interpreter that starts and does nothing."""


class Step(StrEnum):
    """What `--measures` chooses from; one may give several measures."""

    COLD = "cold"
    UP = "up"
    BOOT = "boot"
    VERSION = "version"
    NOTHING = "nothing"
    ONE = "one"
    HUNDRED = "hundred"
    RELOAD = "reload"
    IDLE = "idle"
    MEMORY = "memory"
    STATUS = "status"
    CHECK = "check"
    WARM = "warm"
    ROWS = "rows"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a figure must reach: at most `limit`, or at least where `least`, itself or as a ratio to another's."""

    limit: float
    beside: tuple[str, Who] | None = None
    """The measure and contestant whose median it is divided by."""
    sizes: tuple[int, ...] | None = None
    """Where it holds; None: at every size."""
    least: bool = False
    strict: bool = False
    """The limit itself is a miss."""
    worst: bool = False
    """Judges the worst sample, not the median."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure of the bridge's and those it stands beside."""

    measure: str
    who: Who
    title: str
    unit: str = SECONDS
    peers: tuple[tuple[str, Who], ...] = ()
    bars: tuple[Bar, ...] = ()
    grows: bool = True
    """Is a cost, so that its growth counts."""


def _change(measure: str, title: str) -> list[Row]:
    """Return the rows of one vassal's change: through sync and through watch, beside the floor."""
    floor = (measure, Who.FLOOR)
    # The Emperor reads a rule only when the vassal first appears: it never applies another address.
    peers = (floor,) if measure == "change" else (floor, (measure, Who.EMPEROR))
    scan = Bar(limit=SCAN, worst=True, strict=True)
    # Most of what sync takes is the start of a command, which the floor has not: only the daemon is judged beside it.
    return [
        Row(measure=measure, who=who, title=f"one vassal {title}, through {who}", peers=peers, bars=bars)
        for who, bars in ((Who.SYNC, (scan,)), (Who.WATCH, (Bar(limit=1.25, beside=floor), scan)))
    ]


def _command(measure: str, title: str, *bars: Bar, who: Who = Who.BRIDGE) -> Row:
    """Return the row of a command that changes nothing, beside an interpreter that does nothing."""
    return Row(measure=measure, who=who, title=title, peers=(PYTHON,), bars=bars)


def _times_python(limit: float, *sizes: int) -> Bar:
    return Bar(limit=limit, beside=PYTHON, sizes=sizes or None)


_FLOORS_UP = ("up", Who.FLOOR)
_FROM_ROWS = (
    *(
        Row(
            measure=measure,
            who=Who.ROWS,
            title=f"bring-up of all from a database, {when}",
            bars=(Bar(limit=limit, beside=("up", Who.WATCH), sizes=(LARGE,)),),
        )
        for measure, when, limit in (
            ("rows-first", "at the first fill", 1.5),
            ("rows-up", "once the mirror is there", 1.1),
        )
    ),
    Row(
        measure="rows-change",
        who=Who.ROWS,
        title="one row given another address, through NOTIFY",
        bars=(Bar(limit=1, worst=True, strict=True),),
    ),
    *(
        Row(
            measure="rows-idle",
            who=who,
            title=f"clock ticks in {QUIET:g} s of idleness, with a database: {title}",
            unit=TICKS,
            peers=peers,
            bars=(Bar(limit=limit),),
        )
        for who, title, limit, peers in (
            (Who.ROWS, "the daemon", 0, ()),
            (Who.FEEDER, "its feeder", 1, (("rows-idle", Who.SYSTEMD),)),
        )
    ),
    *(
        Row(
            measure=f"rows-{kind}",
            who=Who.ROWS,
            title=f"memory ({kind.upper()}) of the daemon with a database",
            unit=BYTES,
            peers=((f"rows-{kind}", Who.FEEDER), (f"rows-{kind}", Who.SYSTEMD)),
        )
        for kind in ("rss", "pss")
    ),
)
COLD_PARTS = {
    "cold-wake": "cold start: connection until PID 1 has forked, and notes it",
    "cold-exec": "cold start: fork to exec (systemd 256 and later tell)",
    "cold-start": "cold start: exec (or fork) to the app's first line",
    "cold-app": "cold start: the app's first line to the first byte",
}
ROWS: tuple[Row, ...] = (
    Row(
        measure="cold",
        who=Who.BRIDGE,
        title="cold start, connection to first byte",
        peers=(("cold", Who.FLOOR), ("cold", Who.EMPEROR)),
        bars=(Bar(limit=1.02, beside=("cold", Who.FLOOR), sizes=(SMALL, LARGE)),),
    ),
    *(
        Row(measure=part, who=Who.BRIDGE, title=title, peers=((part, Who.FLOOR),), grows=False)
        for part, title in COLD_PARTS.items()
    ),
    *(
        Row(
            measure="up",
            who=who,
            title=f"bring-up of all, through {who}",
            peers=(_FLOORS_UP, ("up", Who.EMPEROR)),
            bars=(
                Bar(limit=1.6, beside=_FLOORS_UP, sizes=(THOUSAND,)),
                Bar(limit=1.8, beside=_FLOORS_UP, sizes=(LARGE,)),
            ),
        )
        for who in (Who.SYNC, Who.WATCH)
    ),
    Row(
        measure="boot",
        who=Who.BRIDGE,
        title="start of vassals.target, units on disk to all sockets listening",
        peers=(("boot", Who.FLOOR), ("up", Who.EMPEROR)),
        bars=(Bar(limit=1.1, beside=("boot", Who.FLOOR), sizes=(THOUSAND, LARGE)),),
    ),
    _command("version", "emperor-bridge --version", _times_python(4)),
    _command("nothing", "sync with nothing to do", _times_python(12, SMALL), _times_python(45, LARGE), who=Who.SYNC),
    *_change("add", "added"),
    *_change("change", "given another address"),
    *_change("remove", "removed"),
    *(
        Row(
            measure="hundred",
            who=who,
            title=f"{HUNDRED} vassals added at once, through {who}",
            peers=(("hundred", Who.FLOOR), ("hundred", Who.EMPEROR)),
            bars=bars,
        )
        for who, bars in (
            (Who.SYNC, ()),
            (Who.WATCH, (Bar(limit=1.6, beside=("hundred", Who.FLOOR), sizes=(LARGE,)),)),
        )
    ),
    Row(
        measure="reload",
        who=Who.BRIDGE,
        title="daemon-reload",
        peers=(("reload", Who.SLICE),),
        bars=(Bar(limit=0.1, beside=("reload", Who.SLICE), sizes=(LARGE,), strict=True),),
    ),
    Row(
        measure="idle",
        who=Who.WATCH,
        title=f"clock ticks in {QUIET:g} s of idleness: watch and growth in PID 1",
        unit=TICKS,
        peers=(("idle", Who.EMPEROR),),
        bars=(Bar(limit=0, sizes=(LARGE,)),),
    ),
    Row(
        measure="memory",
        who=Who.WATCH,
        title="memory (RSS) of the daemon",
        unit=BYTES,
        peers=(("memory", Who.EMPEROR),),
        bars=(Bar(limit=50e6, sizes=(LARGE,)),),
    ),
    Row(
        measure="pss",
        who=Who.WATCH,
        title="memory (PSS) of the daemon",
        unit=BYTES,
        peers=(("pss", Who.EMPEROR),),
    ),
    Row(
        measure="pid1",
        who=Who.SYNC,
        title="growth of PID 1 (RSS)",
        unit=BYTES,
        peers=(("pid1", Who.FLOOR), ("pid1", Who.EMPEROR)),
    ),
    Row(
        measure="pid1-each",
        who=Who.SYNC,
        title="growth of PID 1 (RSS) for each vassal",
        unit=BYTES,
        peers=(("pid1-each", Who.FLOOR), ("pid1-each", Who.EMPEROR)),
        bars=(Bar(limit=14e3, sizes=(LARGE,)),),
        grows=False,
    ),
    Row(
        measure="pid1-boot",
        who=Who.BRIDGE,
        title="growth of PID 1 (RSS) for each vassal, after a boot",
        unit=BYTES,
        peers=(("pid1-boot", Who.FLOOR),),
        grows=False,
    ),
    _command("status", "emperor-bridge status", _times_python(12, SMALL), _times_python(55, LARGE)),
    _command("check", "emperor-bridge check", Bar(limit=2, sizes=(LARGE,))),
    Row(
        measure="warm",
        who=Who.BRIDGE,
        title="requests per second once it runs (wrk, 4 connections)",
        unit=RATE,
        peers=(("warm", Who.FLOOR), ("warm", Who.EMPEROR)),
        bars=(Bar(limit=0.98, beside=("warm", Who.EMPEROR), least=True),),
        grows=False,
    ),
    *_FROM_ROWS,
)
