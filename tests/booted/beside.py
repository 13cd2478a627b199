"""The same folder and emperor.ini given to the real Emperor and to the bridge, and what both made of each vassal."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from .container import HERE
from .process import MachineError
from .suite import COMMAND, PYTHON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .machine import Machine

TOP = "/srv/beside"
APP = f"{TOP}/app.py"
APP_TEXT = """\
import json, os, uwsgi

def text(value):
    if isinstance(value, list):
        return [text(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value

def status(name):
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name))

def application(environ, start_response):
    umask = os.umask(0o22)
    os.umask(umask)
    start_response("200 OK", [("Content-Type", "application/json")])
    said = {
        "uid": os.getuid(), "gid": os.getgid(), "groups": sorted(os.getgroups()), "cwd": os.getcwd(),
        "umask": oct(umask), "capabilities": status("CapBnd:"), "effective": status("CapEff:"),
        "path": environ["PATH_INFO"], "workers": uwsgi.numproc, "master": uwsgi.masterpid() > 0,
    }
    said |= {f"option {key}": text(value) for key, value in uwsgi.opt.items()}
    said |= {f"env {key}": value for key, value in os.environ.items() if key.startswith(("UWSGI_", "CASE_"))}
    if "env UWSGI_EMPEROR_FD" in said:
        said["env UWSGI_EMPEROR_FD"] = "a descriptor"
    return [json.dumps(said).encode()]
"""
HEAD = f"plugin = python3\nwsgi-file = {APP}\n"
INI = f"[uwsgi]\n{HEAD}"
ANSWER_WITHIN = 60.0
BROKEN_WITHIN = 2.0
"""How long a client waits for a vassal that cannot start."""


@dataclass(frozen=True)
class Link:
    """A symlink among a case's files."""

    target: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vassal. In all texts FOLDER is where the vassals are, and RUN is a folder for sockets."""

    name: str
    file: str = ""
    """Its config's name in the folder; NAME.ini when empty."""
    text: str | Link = INI
    files: Mapping[str, str | Link | None] = field(default_factory=dict)
    """More files, by their names in the folder; None is a directory."""
    owner: str = "root:root"
    address: str = "RUN/NAME.sock"
    """Where to ask it; nowhere when empty."""
    rule: str | None = "ADDRESS\n"
    """The content of its rule file, if there is one."""
    protocol: str = "uwsgi"
    waits: bool = True
    own: bool = False
    """Its config binds its sockets itself: only under the bridge it waits."""
    idle: bool = False
    broken: bool = False
    touch: bool = True
    removes: bool = True

    @property
    def config(self) -> str:
        return self.file or f"{self.name}.ini"


def ini(name: str, *lines: str, **more: object) -> Case:
    """A vassal that waits, with some lines of its own."""
    return Case(name=name, text=INI + "".join(f"{line}\n" for line in lines), **more)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Vassals under one emperor.ini."""

    name: str
    lines: tuple[str, ...]
    cases: tuple[Case, ...]
    emperor: str = "FOLDER"
    extension: str = ".socket"
    """The rule files' ending, if that is the rule."""
    files: Mapping[str, str | Link | None] = field(default_factory=dict)
    names_are_paths: bool = False
    run_owner: str = "root"
    """To whom RUN belongs."""

    @property
    def folder(self) -> str:
        return f"{TOP}/{self.name}/vassals"

    @property
    def run(self) -> str:
        return f"/run/beside/{self.name}"

    @property
    def ini(self) -> str:
        return f"{TOP}/{self.name}/emperor.ini"

    def fill(self, text: str, case: Case | None = None) -> str:
        """Put the places into a text."""
        if case is not None:
            text = text.replace("ADDRESS", case.address).replace("NAME", case.name)
        return text.replace("FOLDER", self.folder).replace("RUN", self.run)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A known difference, and why ours is better."""

    cases: str
    """A pattern of GROUP/NAME."""
    aspect: str
    emperor: object
    bridge: object
    reason: str

    def covers(self, case: str, aspect: str, emperor: object, bridge: object) -> bool:
        return (
            fnmatchcase(case, self.cases)
            and fnmatchcase(aspect, self.aspect)
            and (emperor, bridge) == (self.emperor, self.bridge)
        )


@dataclass(frozen=True)
class Both:
    """What both made of one vassal, by aspect."""

    emperor: dict[str, Any]
    bridge: dict[str, Any]

    def differences(self) -> list[tuple[str, Any, Any]]:
        """Return the aspects that are not the same; what only one side's answer says is none."""
        names = list(self.emperor) + [name for name in self.bridge if name not in self.emperor]
        if self.emperor.get("answer") != self.bridge.get("answer"):
            names = [name for name in names if name in self.emperor and name in self.bridge]
        pairs = [(name, self.emperor.get(name), self.bridge.get(name)) for name in names]
        return [(name, one, other) for name, one, other in pairs if one != other]


def build(machine: Machine, group: Group) -> None:
    """Lay out a group's folder anew."""
    machine.remove(f"{TOP}/{group.name}", group.run)
    lines = [f"emperor = {group.emperor}", "emperor-freq = 1", "emperor-stats = RUN/stats", *group.lines]
    files: dict[str, str] = {group.ini: group.fill("\n".join(["[uwsgi]", *lines, ""]))}
    links: list[tuple[str, str]] = []
    directories: list[str] = [group.folder, group.run]
    owners: list[tuple[str, str]] = []

    def put(name: str, content: str | Link | None, case: Case | None) -> None:
        path = normpath(f"{group.folder}/{name}")
        if isinstance(content, Link):
            links.append((group.fill(content.target, case), path))
        elif content is None:
            directories.append(path)
        else:
            files[path] = group.fill(content, case)

    for name, content in group.files.items():
        put(name, content, None)
    for case in group.cases:
        put(case.config, case.text, case)
        owners.append((case.owner, f"{group.folder}/{case.config}"))
        if group.extension and case.rule is not None:
            put(case.config + group.extension, case.rule, case)
        for name, content in case.files.items():
            put(group.fill(name, case), content, case)
    script = [f"mkdir -p '{path}'" for path in directories]
    script += [f"ln -s '{target}' '{path}'" for target, path in links]
    script += [f"chown -h '{owner}' '{path}'" for owner, path in owners if owner != "root:root"]
    script += [f"chmod +x '{path}'" for path, text in files.items() if text.startswith("#!")]
    script.append(f"chown {group.run_owner}: {group.run}")
    machine.run("mkdir", "-p", group.folder)
    machine.write_many(files)
    machine.run("sh", "-ec", "\n".join(script))


def observe(machine: Machine, group: Group, side: str, options: list[str]) -> dict[str, dict[str, Any]]:
    """Go through the life of a group's vassals inside the machine."""
    cases = []
    for case in group.cases:
        path = f"{group.folder}/{case.config}"
        cases.append(
            {
                "name": case.name,
                "vassal": path if group.names_are_paths else case.config,
                "path": path,
                "address": group.fill(case.address, case),
                "protocol": case.protocol,
                "patience": BROKEN_WITHIN if case.broken else ANSWER_WITHIN,
                "waits": case.waits and not (case.own and side == "emperor"),
                "idle": case.idle,
                "broken": case.broken,
                "touch": case.touch,
                "removes": case.removes,
            }
        )
    given = {
        "side": side,
        "stats": f"{group.run}/stats",
        "status": [COMMAND, "status", "--json", *options],
        "sync": [COMMAND, "sync", "--allow-mass-removal", *options],
        "cases": cases,
    }
    argv = (PYTHON, str(HERE / "observer.py"))
    result = machine.run(*argv, input=json.dumps(given).encode(), timeout=150)
    seen: dict[str, dict[str, Any]] = json.loads(result.stdout)
    return seen


def under_the_emperor(machine: Machine, group: Group) -> dict[str, dict[str, Any]]:
    """Give a group to the real Emperor."""
    build(machine, group)
    unit = f"the-emperor-{group.name}.service"
    # It logs for all its vassals: more than journald takes from one unit.
    options = ["--collect", "--property=LogRateLimitIntervalSec=0", "--property=KillSignal=SIGINT"]
    options += ["--property=TimeoutStopSec=5", "--property=KillMode=mixed"]
    # On 257 a service inherits all capabilities here, and what root inherits the Emperor does not drop.
    options += ["--", "setpriv", "--inh-caps=-all"]
    machine.run("systemd-run", f"--unit={unit}", *options, "/usr/bin/uwsgi", "--ini", group.ini)
    try:
        return observe(machine, group, "emperor", [])
    finally:
        machine.run("systemctl", "stop", unit, check=False)


def under_the_bridge(machine: Machine, group: Group) -> dict[str, dict[str, Any]]:
    """Give a group to the bridge."""
    build(machine, group)
    options = ["--emperor-ini", group.ini]
    result = machine.run(COMMAND, "sync", *options, check=False, timeout=120)
    try:
        if result.returncode not in (0, 1) or "Traceback" in result.stderr:
            raise MachineError(f"sync: {result.stdout}\n{result.stderr}")
        return observe(machine, group, "bridge", options)
    finally:
        machine.run(COMMAND, "remove", "--yes", *options, check=False, timeout=120)


def compare(machine: Machine, groups: tuple[Group, ...]) -> dict[str, Both]:
    """Return what both made of every vassal, by GROUP/NAME; the Emperors work side by side, as the bridge is one."""
    machine.write(APP, APP_TEXT)
    with ThreadPoolExecutor(3) as pool:
        imperial = list(pool.map(lambda group: under_the_emperor(machine, group), groups))
    bridged = [under_the_bridge(machine, group) for group in groups]
    machine.remove(TOP, "/run/beside")
    return {
        f"{group.name}/{case.name}": Both(emperor[case.name], bridge[case.name])
        for group, emperor, bridge in zip(groups, imperial, bridged, strict=True)
        for case in group.cases
    }
