"""The samples of a run, and their file: results.json."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .figures import Summary, noise, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .measures import Who

_NUMBERS = re.compile(r"\[([-+\d\s.,e]+)\]")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A measure that could not be taken."""

    measure: str
    who: str
    size: int
    reason: str


@dataclass
class Results:
    """Everything one run has found."""

    facts: dict[str, str] = field(default_factory=dict)
    """The machine, the versions, the date."""
    sizes: list[int] = field(default_factory=list)
    rounds: dict[str, int] = field(default_factory=dict)
    """By size."""
    samples: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    """By measure, contestant and size."""
    probes: list[float] = field(default_factory=list)
    """Seconds that the fixed work took between the steps, on all processors at once."""
    failures: list[Failure] = field(default_factory=list)

    def add(self, measure: str, who: str, size: int, values: Iterable[float]) -> None:
        """Add samples."""
        self.samples.setdefault(measure, {}).setdefault(who, {}).setdefault(str(size), []).extend(
            round(value, 6) for value in values
        )

    def of(self, measure: str, who: Who, size: int) -> Summary | None:
        """Return what the samples say, if there are any."""
        values = self.samples.get(measure, {}).get(who, {}).get(str(size))
        return summarise(values) if values else None

    @property
    def noise(self) -> float:
        """How much the machine was disturbed."""
        return noise(self.probes)

    def text(self) -> str:
        """Return the file's content, the same for the same results."""
        shown = asdict(self)
        shown["noise"] = round(self.noise, 4)
        text = json.dumps(shown, indent=1, ensure_ascii=False)
        # A list of numbers on one line: the file is read by people, and compared by git.
        return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `text` was written to."""
        found: dict[str, Any] = json.loads(path.read_text())
        found.pop("noise")
        failures = [Failure(**failure) for failure in found.pop("failures")]
        return cls(**found, failures=failures)
