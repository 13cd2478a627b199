"""The two sides inside the machine: a real Emperor, and the bridge's daemon."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bridge.model.unit_names import path_label, unit_label
from bridge.model.vassal import stem_of
from tests.booted.client import request
from tests.booted.suite import COMMAND

from .model import CWD, RUN, TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Imperial, Stage

EMPERORS = "/run/monitors-emperor"
RULE = "emperor-on-demand-extension = .socket"
UNITS = """
systemctl show 'vassal*' 'emperor-bridge*' 'monitors*'
grep -rh --exclude='the-emperor-*' . /etc/systemd/system /run/systemd/transient || :
"""
LABEL_MAX = 200
STATS_WITHIN = 2.0
ANSWER_WITHIN = 5.0
DAEMON = "monitors-bridge.service"
INI = f"{TOP}/bridge.ini"
ERRORS = {"FileNotFoundError": "no path", "ConnectionRefusedError": "refused"}


def run(*argv: str, check: bool = True) -> str:
    """Run a command to its end, and return what it prints."""
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=check, timeout=120).stdout


class Side(Protocol):
    """What can be seen of a vassal on one side."""

    name: str
    run: str
    cwd: str

    def states(self, vassals: Sequence[str]) -> dict[str, int]:
        """Return the process of each of these vassals that is known, 0 where it waits."""

    def log(self) -> str:
        """Return what has been told so far."""

    def secret_places(self, secret: str) -> list[str]:
        """Return where a secret can be read."""


def ask(side: Side, address: str) -> dict[str, Any]:
    """Return what the app at an address says, or ``error``."""
    outcome = request("uwsgi", address.replace(RUN, side.run, 1), "/", ANSWER_WITHIN)
    if outcome["status"] == 200:
        with suppress(ValueError):
            facts: dict[str, Any] = json.loads(str(outcome["body"]))
            return facts
    return {"error": ERRORS.get(str(outcome["error"] or "").partition(":")[0], "no answer")}


class EmperorSide:
    """A real Emperor, with folders of its own where the bridge has the real ones."""

    name = "emperor"

    def __init__(self, imperial: Imperial, stage: Stage) -> None:
        self._unit = f"the-emperor-{imperial.name}.service"
        top = f"{EMPERORS}/{imperial.name}"
        self.run, self.cwd, self._log = f"{top}/run", f"{top}/cwd", f"{top}/log"
        self._ini = f"{TOP}/{imperial.name}.ini"
        make_folders(self.run, self.cwd)
        lines = [f"plugin = {name}" for name in imperial.plugins] + [f"emperor-stats = {RUN}/stats"]
        Path(self._ini).write_text(ini(lines, () if imperial.in_arguments else imperial.monitors, stage))
        self._arguments = [f"--emperor={spec}" for spec in imperial.monitors] if imperial.in_arguments else []
        self._environment = imperial.environment

    def start(self) -> None:
        """Start it; it need not be ready on return."""
        properties = [f"StandardOutput=append:{self._log}", f"StandardError=append:{self._log}", "KillSignal=SIGINT"]
        properties += [f"BindPaths={self.run}:{RUN} {self.cwd}:{CWD}", "TimeoutStopSec=5", "KillMode=mixed"]
        words = ["--collect", f"--unit={self._unit}", *(f"--property={one}" for one in properties)]
        words += [f"--setenv={one}" for one in self._environment]
        emperor = ["/usr/bin/uwsgi", "--ini", self._ini, *self._arguments]
        # On 257 a service inherits all capabilities here, and what root inherits the Emperor does not drop.
        run("systemd-run", "--quiet", *words, "--", "setpriv", "--inh-caps=-all", *emperor)

    def stop(self) -> None:
        """Stop it, if it has not ended, and forget it."""
        subprocess.run(["systemctl", "stop", self._unit], stderr=subprocess.DEVNULL, check=False)
        Path(f"{self.run}/stats").unlink(missing_ok=True)

    def states(self, vassals: Sequence[str]) -> dict[str, int]:
        """Ask its stats; one that has ended or hangs has no vassals."""
        found = {one["id"]: max(0, one["pid"]) for one in self._stats().get("vassals", [])}
        return {name: found[name] for name in vassals if name in found}

    def log(self) -> str:
        """Read its file."""
        return Path(self._log).read_text(errors="replace") if Path(self._log).exists() else ""

    def secret_places(self, secret: str) -> list[str]:
        """Look at its arguments, its log and its stats."""
        lines = run("ps", "axww", "-o", "unit:60=,args=").splitlines()
        texts = {
            "ps": "\n".join(line for line in lines if self._unit in line),
            "log": self.log(),
            "stats": json.dumps(self._stats()),
        }
        return [name for name, text in texts.items() if secret in text]

    def _stats(self) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX) as asked:
                asked.settimeout(STATS_WITHIN)
                asked.connect(f"{self.run}/stats")
                stats: dict[str, Any] = json.loads(b"".join(iter(lambda: asked.recv(65536), b"")))
        except (OSError, ValueError):
            return {}
        return stats


class BridgeSide:
    """The bridge's daemon, which has the monitors of all Emperors of a stage."""

    name = "bridge"
    run, cwd = RUN, CWD

    def __init__(self, stage: Stage) -> None:
        imperials = [one for world in stage.worlds for one in world.emperors]
        monitors = list(dict.fromkeys(spec for one in imperials for spec in one.monitors))
        Path(INI).write_text(ini([], monitors, stage))
        self._began = time.time()

    def start(self) -> None:
        """Start the daemon; it is ready on return."""
        words = ["--collect", f"--unit={DAEMON}", "--property=Type=notify", "--property=ExecReload=kill -HUP $MAINPID"]
        run("systemd-run", "--quiet", *words, "--", COMMAND, "watch", "--emperor-ini", INI)

    def stop(self) -> None:
        """Stop the daemon; the vassals go on."""
        subprocess.run(["systemctl", "stop", DAEMON], stderr=subprocess.DEVNULL, check=False)

    def remove(self) -> None:
        """Remove everything that it made."""
        run(COMMAND, "remove", "--yes", "--emperor-ini", INI, check=False)
        run("rm", "-rf", "/var/lib/emperor-bridge")

    def states(self, vassals: Sequence[str]) -> dict[str, int]:
        """Ask systemd."""
        labels = {name: label_of(name) for name in vassals}
        units = [f"vassal-{label}.{kind}" for label in labels.values() for kind in ("service", "socket")]
        text = run("systemctl", "show", "--property=Id,MainPID,ActiveState", "--", *units) if units else ""
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n")]
        shown = {block["Id"]: block for block in blocks if block}
        found: dict[str, int] = {}
        for name, label in labels.items():
            service, waits = shown[f"vassal-{label}.service"], shown[f"vassal-{label}.socket"]
            if waits["ActiveState"] == "active" or service["ActiveState"] not in {"inactive", "failed"}:
                found[name] = int(service["MainPID"])
        return found

    def log(self) -> str:
        """Read the daemon's journal of this stage."""
        return run("journalctl", "--no-pager", "-o", "cat", f"--since=@{self._began:.0f}", "-u", DAEMON)

    def secret_places(self, secret: str) -> list[str]:
        """Look everywhere but at the Emperors."""
        lines = run("ps", "axww", "-o", "unit:60=,args=").splitlines()
        texts = {
            "ps": "\n".join(line for line in lines if not line.startswith("the-emperor")),
            "log": run("journalctl", "--no-pager", "-o", "verbose", "-u", DAEMON, "-u", "emperor-bridge-monitor-*"),
            "units": run("sh", "-c", UNITS),
            "status": run(COMMAND, "status", "--json", "--emperor-ini", INI, check=False),
        }
        return [name for name, text in texts.items() if secret in text]


def make_folders(run: str, cwd: str) -> None:
    """Make the folders of a side."""
    for folder in (run, cwd):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for name in ("bus", "own"):
        Path(run, name).mkdir(exist_ok=True)
        Path(run, name).chmod(0o1777)


def ini(lines: Sequence[str], monitors: Sequence[str], stage: Stage) -> str:
    """Return an emperor.ini."""
    common = ["emperor-freq = 1", RULE, f"chdir = {CWD}", *stage.lines]
    return "\n".join(["[uwsgi]", *lines, *(f"emperor = {spec}" for spec in monitors), *common, ""])


def label_of(vassal: str) -> str:
    """Return what the bridge calls a vassal in the names of units."""
    folder, _, name = vassal.rpartition("/")
    stem = stem_of(name)
    label = path_label(f"{folder}/{stem}") if vassal.startswith("/") else unit_label(stem)
    # No unit has such a long name, and systemctl refuses it.
    return label[:LABEL_MAX]
