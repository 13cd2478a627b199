"""Find what keeps systemd from starting a vassal's service, such as a missing file that a drop-in names.

systemd itself says it only after an attempt, and of a false condition hardly anything.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.diagnostics import Severity
from bridge.host.files import read_text
from bridge.host.users import group_id, user_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import Vassal

_LISTS = frozenset({
    "AssertPathExists", "AssertPathExistsGlob", "AssertPathIsDirectory", "BindPaths", "BindReadOnlyPaths", "BindsTo",
    "ConditionPathExists", "ConditionPathExistsGlob", "ConditionPathIsDirectory", "EnvironmentFile", "ExecPaths",
    "ExecStart", "ExecStartPre", "InaccessiblePaths", "NoExecPaths", "ReadOnlyPaths", "ReadWritePaths", "Requires",
    "Requisite",
})  # fmt: skip
"""Settings that add to a list. An empty one clears the list."""
_SINGLE = frozenset({"Group", "RootDirectory", "RootImage", "User", "WorkingDirectory"})
_TESTS: dict[str, Callable[[str], bool]] = {
    "PathExists": os.path.exists,
    "PathExistsGlob": lambda pattern: bool(glob.glob(pattern)),
    "PathIsDirectory": os.path.isdir,
}
_PATHS = frozenset(name for name in _LISTS if name.endswith("Paths"))
_UNITS = frozenset({"BindsTo", "Requires", "Requisite"})
_EXEC_PREFIXES = "@-:+!|"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a unit, and where it stands."""

    name: str
    value: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why systemd does not start a service."""

    reason: str
    """What is wrong, such as "its EnvironmentFile /x is missing"."""
    path: str
    line: int
    is_condition: bool = False
    """Whether it is a condition: then systemd starts nothing, and reports no failure."""

    def __str__(self) -> str:
        drop_in = "drop-in " if self.path.endswith(".conf") else ""
        return f"{self.reason}, from {drop_in}{self.path}:{self.line}"

    def problem(self, vassal: Vassal) -> Diagnostic:
        """Return what ``check`` reports of it."""
        return vassal.problem(
            "cannot-start",
            f"systemd cannot start it: {self.reason}",
            "mend it, or change the drop-in and run systemctl daemon-reload",
            at=(self.path, self.line),
            severity=Severity.WARNING if self.is_condition else Severity.ERROR,
        )


class Obstacles:
    """Looks into unit files and drop-ins."""

    def __init__(self, unit_path: Sequence[str], *, of_many: bool = False) -> None:
        """Look into these folders, where the first has precedence.

        Args:
            unit_path: the folders of unit files.
            of_many: whether many vassals will be examined: then the folders are listed once, now.
        """
        self._unit_path = tuple(dict.fromkeys(map(os.path.realpath, unit_path)))
        self._known = frozenset(map(os.path.basename, _drop_in_folders(self._unit_path))) if of_many else None

    def of(self, service: str, *, drop_ins_only: bool = False) -> Iterator[Obstacle]:
        """Yield what keeps a service from being started, as far as files and users tell.

        Args:
            service: its unit.
            drop_ins_only: whether to find nothing for a service without drop-ins.
        """
        drop_ins = self._drop_ins(service)
        if drop_ins_only and not drop_ins:
            return
        files = [path for folder in self._unit_path if os.path.exists(path := f"{folder}/{service}")][:1]
        for setting in _effective(item for path in (*files, *drop_ins) for item in _parse(path)):
            # Specifiers and variables are systemd's to resolve.
            if "%" not in setting.value and (reason := self._reason(setting)):
                is_condition = setting.name.startswith("Condition")
                yield Obstacle(reason, setting.path, setting.line, is_condition)

    def first(self, service: str) -> str:
        """Return the first obstacle in words, or an empty text."""
        return next((str(found) for found in self.of(service)), "")

    def _drop_ins(self, service: str) -> list[str]:
        """Return the paths of a service's drop-ins, in the order in which systemd reads them (systemd.unit(5))."""
        stem = service.removesuffix(".service")
        dashes = [at + 1 for at, char in enumerate(stem) if char == "-"]
        names = ["service.d", *(f"{stem[:at]}.service.d" for at in dashes), f"{service}.d"]
        found: dict[str, str] = {}
        for name in names:
            if self._known is not None and name not in self._known:
                continue
            for folder in reversed(self._unit_path):
                path = f"{folder}/{name}"
                if os.path.isdir(path):
                    found |= {os.path.basename(one): one for one in glob.glob(f"{glob.escape(path)}/*.conf")}
        return [found[name] for name in sorted(found)]

    def _reason(self, setting: Setting) -> str:
        name, value = setting.name, setting.value
        if name.startswith(("Condition", "Assert")):
            return _false_condition(name, value)
        if name in {"User", "Group"}:
            lookup = user_id if name == "User" else group_id
            return "" if lookup(value) is not None else f"its {name} {value} does not exist"
        if name in {"ExecStart", "ExecStartPre"}:
            return _bad_program(name, value)
        if name in _UNITS:
            masked = [unit for unit in value.split() if self._is_masked(unit)]
            return f"its {name} {masked[0]} is masked" if masked else ""
        paths = value.split() if name in _PATHS else [value]
        for path in paths:
            source = path.lstrip("+").partition(":")[0] if name in _PATHS else path
            if source.startswith("/") and not glob.glob(source) and not os.path.lexists(source):
                return f"its {name} {source} is missing"
        return ""

    def _is_masked(self, unit: str) -> bool:
        for folder in self._unit_path:
            if os.path.lexists(path := f"{folder}/{unit}"):
                return os.path.realpath(path) == os.devnull
        return False


def _drop_in_folders(unit_path: Iterable[str]) -> Iterator[str]:
    for folder in unit_path:
        yield from glob.glob(f"{glob.escape(folder)}/*service.d")


def _parse(path: str) -> Iterator[Setting]:
    """Yield the settings of a unit file that can keep a service from being started."""
    text, started = "", 0
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not text:
            started = number
        if line.lstrip().startswith(("#", ";")):
            continue
        text += line
        if text.endswith("\\"):
            text = text[:-1] + " "
            continue
        name, equals, value = text.partition("=")
        if equals and (name := name.strip()) in _LISTS | _SINGLE:
            yield Setting(name, value.strip(), path, started)
        text = ""


def _effective(settings: Iterable[Setting]) -> list[Setting]:
    """Return the settings that count, in their order."""
    kept: list[Setting] = []
    for setting in settings:
        name = setting.name
        if name in _SINGLE or (not setting.value and name not in _UNITS):
            # An empty condition clears all conditions.
            kind = next((kind for kind in ("Condition", "Assert") if name.startswith(kind)), name)
            kept = [one for one in kept if not one.name.startswith(kind)]
        if setting.value:
            kept.append(setting)
    return kept


def _false_condition(name: str, value: str) -> str:
    kind = "Condition" if name.startswith("Condition") else "Assert"
    is_negated = value.startswith("!")
    path = value.lstrip("!").strip()
    if value.startswith("|") or not path.startswith("/") or _TESTS[name.removeprefix(kind)](path) is not is_negated:
        return ""
    return f"its {name} {value} does not hold"


def _bad_program(name: str, value: str) -> str:
    first = value.split(maxsplit=1)[0]
    program = first.lstrip(_EXEC_PREFIXES).strip("\"'")
    prefixes = first[: len(first) - len(first.lstrip(_EXEC_PREFIXES))]
    if not program.startswith("/") or "-" in prefixes or "\0" in program or os.access(program, os.X_OK):
        return ""
    missing = "cannot be run" if os.path.exists(program) else "is missing"
    return f"its {name} program {program} {missing}"
