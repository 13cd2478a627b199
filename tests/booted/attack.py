"""Attacks of one tenant on another, and what must hold meanwhile.

with attack.held():
    attack.mallory(SCRIPT, "argument")

The watch daemon runs in tyrant mode. The victim's site is asked ten times a second. At the end of the block nothing
outside mallory's bounds has changed, the site has answered all the time, the daemon is the same process, and it applies
the victim's next change within seconds.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from . import soak
from .bridge import VASSALS, WATCH, Bridge
from .container import HERE
from .machine import Machine, MachineError
from .process import Lines, kill
from .snapshot import Seen, walk
from .suite import PYTHON

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

MALLORY, VICTIM = "mallory", "victim"
UIDS = {MALLORY: 4101, VICTIM: 4102}
LOOT = "/tmp/loot"
"""What code of an attacker's leaves behind, with the name of the user as whom it ran."""
SOCKETS = "/run/vassals"
"""Where tenants' sockets are, each in a subfolder of root's named after the uid."""
APP = "/srv/app/victim.py"
APP_TEXT = """\
import json, os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"uid": os.getuid(), "mark": os.environ.get("MARK", "")}).encode()]
"""
BAIT = "/etc/bait"
"""A file of root's that nobody else may read. ``BAIT.d/bait`` is another."""
APPLIED_WITHIN = 5.0
"""Seconds in which the bridge must have applied the victim's change."""
ROUNDS = soak.times(8)
"""How often a race is run."""
LAYOUTS = {
    "shared": ("--emperor", VASSALS),
    "folders": ("--emperor", "glob:///home/*/vassals/*.ini"),
}
ADDRESSES = {"shared": f"{SOCKETS}/{UIDS[VICTIM]}/site.sock", "folders": "127.0.0.1:9601"}
EVIL = "/home/mallory/evil.py"
EVIL_TEXT = f"""\
import os, pwd
open(f"{LOOT}-{{pwd.getpwuid(os.getuid()).pw_name}}", "a").close()

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"evil"]
"""

# What is not compared: the manager, logind and the journal keep it.
LEFT_OUT_UPPER = (
    "/var/log",
    "/var/lib/systemd",
    "/var/lib/dbus",
    "/var/cache",
    "/run",
    "/tmp",
    "/dev",
    "/proc",
    "/sys",
)
LEFT_OUT_RUN = (
    *("/run/log", "/run/utmp", "/run/host", "/run/mount", "/run/motd.dynamic", "/run/credentials", "/run/udev"),
    *(f"/run/user/{uid}" for uid in UIDS.values()),
    *(f"/run/systemd/{name}" for name in (
        *("units", "sessions", "users", "seats", "inhibit", "journal", "propagate", "transient", "machines"),
        *("inaccessible", "generator", "generator.early", "generator.late", "netif", "shutdown", "ask-password"),
        *("ask-password-block", "fsck.progress", "incoming", "unit-root", "dynamic-uid", "io.system.ManagedOOM"),
    )),
)  # fmt: skip
# The bridge keeps these: they must be root's, and only root may change them; their content is its own.
BRIDGES = (
    *("/run/emperor-bridge", "/run/emperor-bridge/*", SOCKETS, f"{SOCKETS}/*", "/run/systemd/system/vassals-*"),
    *("/etc/systemd/system/vassal*", "/etc/systemd/system/*.wants", "/etc/systemd/system/*.wants/vassal*"),
)
MOVE = """
# Never is a config there without its rule.
[ ! -e "$1.socket" ] || cp -- "$1.socket" "$2.socket"
mv -- "$1" "$2"
rm -f -- "$1.socket"
"""
SWAP = 'umask 022; cat >"$1.part" && mv -f -- "$1.part" "$1"'


OWN_SOCKETS = ("--on-demand-own-sockets", "all")
"""By these, a site that has no rule file waits on its own port."""


def config(*lines: str, app: str = APP) -> str:
    """Return a config that serves an app, by default the victim's."""
    head = (
        "[uwsgi]",
        "plugin = python3",
        f"wsgi-file = {app}",
        "master = true",
        "processes = 1",
        "disable-logging = true",
    )
    return "\n".join([*head, *lines, ""])


@dataclass
class Attack:
    """A machine with a mallory and a victim, both ordinary users with vassals of their own."""

    bridge: Bridge
    layout: str
    always: bool = False
    """Whether the victim's site has no rule file and binds its own port."""
    site: str = "site.ini"
    """The name of the config of the victim's site."""
    expected: list[str] = field(default_factory=list)
    """Patterns of paths that the test itself changes."""
    counts: Counter[str] = field(default_factory=Counter)
    """What `make soak` reports."""
    windows: list[tuple[float, float]] = field(default_factory=list)
    """When the victim himself moved his site, so that a connection may have been refused."""
    _marks: int = 0
    _before: dict[str, Seen] = field(default_factory=dict)
    _client: subprocess.Popen[bytes] | None = None
    _lines: Lines | None = None
    _failures: list[dict[str, object]] = field(default_factory=list)

    @property
    def machine(self) -> Machine:
        """The machine it happens in."""
        return self.bridge.machine

    @property
    def address(self) -> str:
        """Where the victim's site answers."""
        return "127.0.0.1:9602" if self.always else ADDRESSES[self.layout]

    def folder(self, user: str) -> str:
        """Return the folder of a user's vassals."""
        return VASSALS if self.layout == "shared" else f"/home/{user}/vassals"

    def path(self, user: str, name: str) -> str:
        """Return the path of a user's vassal."""
        return f"{self.folder(user)}/{name}"

    def label(self, user: str, stem: str) -> str:
        """Return the label in the units of a user's vassal."""
        return stem if self.layout == "shared" else f"home-{user}-vassals-{stem}"

    # What the tenants do, as themselves

    def mallory(self, script: str, *arguments: str, timeout: float = soak.times(120)) -> str:
        """Run a Python script as mallory to its end; return what it printed."""
        return self.machine.run(PYTHON, "-c", script, *arguments, user=MALLORY, timeout=timeout).stdout

    def put(self, user: str, path: str, text: str) -> None:
        """Have a user write a file, whole or not at all."""
        self.machine.run("sh", "-ec", SWAP, "sh", path, user=user, input=text.encode())

    def serve(self, user: str, name: str, *lines: str, address: str | None = None, app: str = APP) -> str:
        """Have a user write a vassal, the rule first; return the config's path."""
        path = self.path(user, name)
        if address is not None:
            self.put(user, f"{path}.socket", f"{address}\n")
        self.put(user, path, config(*lines, app=app))
        return path

    def change(self, new_name: str = "") -> float:
        """Have the victim change his site's config, or rename it too; return the seconds until the site answers so.

        All that mallory did before has been seen by then.
        """
        self._marks += 1
        mark = f"m{self._marks}"
        began = time.monotonic()
        if new_name:
            old, new = self.path(VICTIM, self.site), self.path(VICTIM, new_name)
            self.expected += [f"{path}{end}" for path in (old, new) for end in ("", ".socket")]
            self.machine.run("sh", "-ec", MOVE, "sh", old, new, user=VICTIM)
            self.site = new_name
        self.put(VICTIM, self.path(VICTIM, self.site), self._site_text(mark))
        written = time.monotonic()
        at = self._wait_mark(mark)
        if new_name:
            self.windows.append((began, at + 0.2))
        return at - written

    def _site_text(self, mark: str) -> str:
        return config(f"env = MARK={mark}", *([f"socket = {self.address}"] if self.always else []))

    # What must hold

    @contextmanager
    def held(self) -> Iterator[None]:
        """Run an attack; at its end, all that must hold is asserted."""
        pid = self.machine.show(WATCH, "MainPID")
        self._ask()
        try:
            self.change()
            self._before = self.snapshot()
            yield
            took = self.change()
            self.assert_bounds()
            daemon = {name: self.machine.show(WATCH, name) for name in ("MainPID", "NRestarts", "ActiveState")}
            summary = self._finish()
        finally:
            if self._client is not None:
                kill(self._client)
                self._client = None
        failures = [one for one in self._failures if not self._is_forgiven(one)]
        assert not failures, f"the victim's site did not answer {len(failures)} times of {summary['asked']}: {failures}"
        assert daemon == {"MainPID": pid, "NRestarts": "0", "ActiveState": "active"}
        assert took <= APPLIED_WITHIN, f"the victim's change was applied after {took:.1f} s"

    def assert_bounds(self) -> None:
        """Assert that nothing outside mallory's bounds has changed since the block began."""
        strange = self.outside(self._before, self.snapshot())
        assert not strange, "changed outside mallory's bounds:\n" + "\n".join(strange)

    def snapshot(self) -> dict[str, Seen]:
        """Return what stands in the overlay's upper layer, in /run, and in the folders that everybody may write to."""
        upper = str(self.machine.upper())
        found = {}
        for path, seen in walk(upper, lambda path: path[len(upper) :] in LEFT_OUT_UPPER, lambda _path: True):
            found[path[len(upper) :] or "/"] = seen
        argv = (PYTHON, str(HERE / "snapshot.py"), "/run", "/tmp", "/dev/shm")
        inside = json.loads(self.machine.run(*argv, input="\n".join(LEFT_OUT_RUN).encode()).stdout)
        return found | {path: Seen(*seen) for path, seen in inside.items()}

    def outside(self, before: Mapping[str, Seen], after: Mapping[str, Seen]) -> list[str]:
        """Return a line for each change that mallory had no right to."""
        lines = []
        for path in sorted(before.keys() | after.keys()):
            old, new = before.get(path), after.get(path)
            if old != new and not self._is_right(path, old, new, {**before, **after}):
                lines.append(f"{path}: {old} became {new}")
        return lines

    def _is_right(self, path: str, old: Seen | None, new: Seen | None, known: Mapping[str, Seen]) -> bool:
        sides = [side for side in (old, new) if side is not None]
        if any(fnmatchcase(path, pattern) for pattern in (*self.expected, self.path(VICTIM, self.site))):
            return True
        if path.startswith(f"{SOCKETS}/{UIDS[MALLORY]}/"):
            return all(self._is_his_socket(side) for side in sides)
        if any(fnmatchcase(path, pattern) for pattern in BRIDGES) and f"/{UIDS[VICTIM]}/" not in path:
            return all((side.uid == side.gid == 0 and not side.mode & 0o022) or side.kind == "l" for side in sides)
        folder = known.get(path.rpartition("/")[0] or "/")
        may_write = folder is not None and (folder.uid == UIDS[MALLORY] or bool(folder.mode & 0o002))
        return may_write and all(side.uid == UIDS[MALLORY] for side in sides)

    @staticmethod
    def _is_his_socket(side: Seen) -> bool:
        """Tell whether it is a socket of mallory's, or a folder above one that systemd made as root."""
        if side.kind == "d":
            return side.uid == side.gid == 0 and not side.mode & 0o022
        return side.kind == "s" and side.uid == side.gid == UIDS[MALLORY]

    def _is_forgiven(self, failure: dict[str, object]) -> bool:
        began, ended = failure["began"], failure["ended"]
        assert isinstance(began, float)
        assert isinstance(ended, float)
        return any(start <= began and ended <= end for start, end in self.windows)

    # The victim's client

    def _ask(self) -> None:
        argv = (PYTHON, str(HERE / "victim_client.py"), self.address, str(UIDS[VICTIM]))
        self._client = self.machine.popen(*argv)
        self._lines = Lines(self._client.stdout)

    def _next(self, deadline: float) -> dict[str, object]:
        assert self._lines is not None
        line = self._lines.next(deadline)
        if line is None:
            raise MachineError("the victim's client ended by itself")
        facts: dict[str, object] = json.loads(line)
        if "failure" in facts:
            self._failures.append(facts)
        return facts

    def _wait_mark(self, mark: str, timeout: float = 60.0) -> float:
        deadline = time.monotonic() + timeout
        try:
            while True:
                facts = self._next(deadline)
                if facts.get("mark") == mark:
                    at = facts["at"]
                    assert isinstance(at, float)
                    return at
        except TimeoutError:
            text = f"the victim's change {mark} was not applied within {timeout:g} s; failures: {self._failures[-3:]}"
            raise AssertionError(text) from None

    def _finish(self) -> dict[str, object]:
        assert self._client is not None
        assert self._client.stdin is not None
        self._client.stdin.close()
        deadline = time.monotonic() + 30
        while "asked" not in (facts := self._next(deadline)):
            pass
        return facts

    # Before and after

    def prepare(self) -> None:
        """Make the users, their folders, the bait, and the victim's site; start the daemon."""
        machine = self.machine
        for name, uid in UIDS.items():
            machine.run("useradd", "--uid", str(uid), "--user-group", "--create-home", "--shell", "/bin/sh", name)
            machine.cleanups.append(
                partial(machine.run, "sh", "-c", f"pkill -KILL -u {name}; userdel --remove --force {name}")
            )
            machine.run("chmod", "755", f"/home/{name}")
            machine.cleanups.append(partial(self._end_all, name))
        machine.write(APP, APP_TEXT)
        machine.write(EVIL, EVIL_TEXT, owner=MALLORY)
        machine.write_many({BAIT: "secret\n", f"{BAIT}.d/bait": "secret\n"}, mode=0o600)
        machine.cleanups.append(lambda: machine.remove(BAIT, f"{BAIT}.d", SOCKETS, f"{LOOT}-{VICTIM}"))
        if self.layout == "shared":
            machine.run("install", "-d", "-m", "1777", VASSALS)
        else:
            for name in UIDS:
                machine.run("install", "-d", "-o", name, "-g", name, "-m", "755", self.folder(name))
        machine.cleanups.append(self.bridge.clear)
        self.bridge.watch()
        path = self.path(VICTIM, self.site)
        if not self.always:
            self.put(VICTIM, f"{path}.socket", f"{self.address}\n")
        self.put(VICTIM, path, self._site_text("m0"))
        waits = not self.always or OWN_SOCKETS[0] in self.bridge.options
        self.bridge.wait(self.label(VICTIM, "site"), "listening" if waits else "running")

    def _end_all(self, user: str) -> None:
        """End a user's processes and remove the files that he left where everybody may write."""
        machine = self.machine
        with suppress(MachineError):
            machine.run("loginctl", "terminate-user", user, check=False)
            units = (f"user@{UIDS[user]}.service", f"user-runtime-dir@{UIDS[user]}.service")
            machine.run("systemctl", "stop", *units, check=False)
            places = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
            machine.run("find", *places, "-mindepth", "1", "-user", user, "-delete", check=False)


def make_attack(machine: Machine, layout: str, *options: str, always: bool = False) -> Attack:
    """Return a prepared attack; everything is gone after the test."""
    rule = ("--emperor-on-demand-extension", ".socket", "--emperor-tyrant")
    attack = Attack(Bridge(machine, options=[*LAYOUTS[layout], *rule, *options]), layout, always)
    attack.prepare()
    return attack
