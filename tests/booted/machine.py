"""The machine that the tests and the demo work on: a real systemd, and ways to watch what it does.

with Machine() as machine:
    machine.write("/etc/systemd/system/a.socket", ...)
    machine.run("systemctl", "start", "a.socket")
    machine.wait_unit("a.socket", "SubState", "listening")
    print(machine.request("uwsgi", "/run/a.sock").body)
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from .container import HERE, Container
from .process import CommandError, Lines, MachineError, Result, kill
from .suite import PYTHON

__all__ = ["CommandError", "Entry", "Machine", "MachineError", "Process", "Response", "Result"]

Entry = dict[str, Any]

PATIENCE = 60.0
"""Seconds to wait for what happens in one on a quiet machine: only what never happens takes longer."""

# From a control group to its processes; the container sees systemd's hierarchy at one of these places.
LIST_PROCESSES = """
for top in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    if [ -d "$top$1" ]; then
        pids=$(find "$top$1" -name cgroup.procs -exec cat {} + | sort -nu | paste -sd,)
        [ -z "$pids" ] || ps -ww -o pid=,args= -p "$pids"
        exit 0
    fi
done
"""


@dataclass(frozen=True)
class Process:
    """A process of a unit, numbered as in the machine."""

    pid: int
    command: str


@dataclass(frozen=True)
class Response:
    """The outcome of a request; `error` says why there is no status."""

    status: int | None
    body: str
    error: str | None
    elapsed: float


def message(entry: Entry) -> str:
    """Return a journal entry's text; journalctl writes one that is not UTF-8 as a list of bytes."""
    text = entry.get("MESSAGE") or ""
    return text if isinstance(text, str) else bytes(text).decode(errors="replace")


class Machine(Container):
    """A booted machine; see `Container` for its commands, files and users."""

    # Units

    def show(self, unit: str, name: str, *, user: str | None = None) -> str:
        """Return a property as `systemctl show` writes it."""
        argv = ["systemctl", "show", f"--property={name}", "--value", "--", unit]
        if user is not None:
            argv.insert(1, "--user")
        return self.run(*argv, user=user).stdout.rstrip("\n")

    def wait_unit(
        self, unit: str, name: str, value: str, timeout: float = PATIENCE, *, user: str | None = None
    ) -> None:
        """Return as soon as a unit's property has a value, at once if it has it already.

        The value is the bus's: for times and counters other than what `systemctl show` writes.
        """
        argv = [PYTHON, str(HERE / "wait_unit.py"), *(["--user"] if user is not None else [])]
        argv += ["--", unit, name, value, str(timeout)]
        result = self.run(*argv, check=False, user=user, timeout=timeout + 30)
        if result.returncode:
            found = result.stderr.strip() or f"it is {result.stdout!r}"
            raise MachineError(f"{unit}: {name} is not {value!r} after {timeout:g} s: {found}")

    def processes(self, unit: str, *, user: str | None = None) -> list[Process]:
        """Return the processes in a unit's control group."""
        group = self.show(unit, "ControlGroup", user=user)
        if not group:
            return []
        lines = self.run("sh", "-c", LIST_PROCESSES, "sh", group).stdout.splitlines()
        found = [line.strip().partition(" ") for line in lines]
        return [Process(int(pid), command) for pid, _, command in found]

    # Journal

    def journal_cursor(self) -> str:
        """Return the cursor of the journal's last entry."""
        self.run("journalctl", "--sync")
        shown = self.run("journalctl", "--lines=1", "--show-cursor", "--quiet").stdout.rstrip("\n")
        return shown.rpartition("-- cursor: ")[2]

    def journal(
        self, since_cursor: str | None = None, unit: str | None = None, *, lines: int | None = None
    ) -> list[Entry]:
        """Return the journal's entries, oldest first, everything logged so far among them."""
        self.run("journalctl", "--sync")
        argv = ["--no-pager", *journal_filter(since_cursor, unit)]
        if lines is not None:
            argv.append(f"--lines={lines}")
        text = self.run("journalctl", *argv).stdout
        entries: list[Entry] = [json.loads(line) for line in text.split("\n") if line.startswith("{")]
        return [entry for entry in entries if entry["__CURSOR"] != since_cursor]

    def until(self, command: str, timeout: float = PATIENCE) -> None:
        """Wait until a command of the shell succeeds, for what nobody tells of."""
        script = f"until {command}; do sleep 0.1; done"
        self.run("timeout", f"{timeout}", "sh", "-c", script, timeout=timeout + 10)

    def wait_journal(
        self,
        pattern: str,
        *,
        unit: str | None = None,
        timeout: float = PATIENCE,
        since_cursor: str | None = None,
    ) -> Entry:
        """Return the first journal entry whose text has the pattern, past or still to come."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout
        argv = ["--follow", "--no-tail", *journal_filter(since_cursor, unit)]
        process = self.popen("journalctl", *argv)
        try:
            lines = Lines(process.stdout)
            while (line := lines.next(deadline)) is not None:
                entry: Entry = json.loads(line) if line.startswith("{") else {}
                if entry.get("__CURSOR") != since_cursor and expression.search(message(entry)):
                    return entry
        except TimeoutError as error:
            place = f" of {unit}" if unit else ""
            raise MachineError(f"the journal{place} shows no {pattern!r} within {timeout:g} s") from error
        finally:
            kill(process)
        raise MachineError("journalctl --follow ended by itself")

    # Requests

    def request(self, protocol: str, address: str, path: str = "/", timeout: float = PATIENCE) -> Response:
        """Send one request from inside the machine; see `client.py`."""
        argv = [str(HERE / "client.py"), f"--path={path}", f"--timeout={timeout}", "--", protocol, address]
        result = self.run(PYTHON, *argv, timeout=timeout + 30)
        return Response(**json.loads(result.stdout))


def journal_filter(since_cursor: str | None, unit: str | None) -> list[str]:
    """Return journalctl's arguments for entries after a cursor and of a unit, one JSON object per line."""
    argv = ["--output=json", "--all"]
    if since_cursor is not None:
        # --after-cursor skips one entry too many where the cursor's own is not of the unit.
        argv.append(f"--cursor={since_cursor}")
    if unit is not None:
        argv.append(f"--unit={unit}")
    return argv
