"""emperor-bridge as an admin uses it, inside the machine: vassals on disk, the command, and what came of it."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .machine import PATIENCE
from .suite import COMMAND

if TYPE_CHECKING:
    import subprocess

    from .machine import Entry, Machine, Process, Result

VASSALS = "/srv/vassals"
FOLDER = ("--emperor", VASSALS)
WATCH = "bridge-watch.service"
APP = "/srv/app/app.py"
APP_TEXT = """\
import json, os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "ppid": os.getppid(), "path": environ["PATH_INFO"]}).encode()]
"""


def config(*lines: str, master: bool = True) -> str:
    """Return a vassal's config that serves the test's app; Debian's uWSGI has Python as a plugin."""
    head = ["[uwsgi]", "plugin = python3", f"wsgi-file = {APP}"]
    head += ["master = true", "processes = 1"] if master else ["master = false"]
    return "\n".join([*head, *lines, ""])


@dataclass
class Bridge:
    """The command and its surroundings; everything it made is gone after the test."""

    machine: Machine
    options: list[str] = field(default_factory=lambda: [*FOLDER, "--emperor-on-demand-extension", ".socket"])
    user: str | None = None
    program: str = COMMAND
    cursor: str | None = None
    """The journal's end when the watch daemon was started."""

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of one of the bridge's commands with the options in force."""
        scope = ["--user"] if self.user else []
        return [self.program, name, *scope, *self.options, *arguments]

    def run(self, name: str, *arguments: str, status: int | None = 0, timeout: float = 120.0) -> Result:
        """Run a command of the bridge's; it must exit with ``status`` unless that is None."""
        result = self.machine.run(*self.command(name, *arguments), check=False, user=self.user, timeout=timeout)
        assert "Traceback" not in result.stderr, result.stderr
        if status is not None:
            shown = shlex.join(self.command(name, *arguments))
            assert result.returncode == status, f"{shown}\n{result.stdout}\n{result.stderr}"
        return result

    def sync(self, *arguments: str, status: int | None = 0) -> Result:
        """Run sync."""
        return self.run("sync", *arguments, status=status)

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of the bridge's without waiting for it."""
        return self.machine.popen(*self.command(name, *arguments), user=self.user)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return ``status --json`` by vassal."""
        rows: list[dict[str, Any]] = json.loads(self.run("status", "--json").stdout)
        return {row["vassal"]: row for row in rows}

    def vassal(self, name: str, text: str | None = None, *, address: str | None = None, folder: str = VASSALS) -> str:
        """Write a vassal's config, and the rule file that puts it on demand; return the config's path."""
        path = f"{folder}/{name}"
        # The rule first: without it the vassal would be taken to run always.
        rule = {} if address is None else {f"{path}.socket": f"{address}\n"}
        self.machine.write_many({**rule, path: config() if text is None else text})
        return path

    def processes(self, vassal: str) -> list[Process]:
        """Return the processes of a vassal's service, by the vassal's stem."""
        return self.machine.processes(f"vassal-{vassal}.service", user=self.user)

    def app(self, protocol: str, address: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Ask the app, which must answer; return what it says of itself."""
        response = self.machine.request(protocol, address, timeout=timeout)
        assert response.status == 200, response
        answer: dict[str, Any] = json.loads(response.body)
        return answer

    def wait(self, vassal: str, state: str, *, timeout: float = PATIENCE) -> None:
        """Wait until a vassal's socket is ``listening``, its service ``running``, ``dead``, and so on, by its stem."""
        kind = "socket" if state == "listening" else "service"
        self.machine.wait_unit(f"vassal-{vassal}.{kind}", "SubState", state, timeout, user=self.user)

    def watch(self) -> None:
        """Run the watch daemon as a service until the test ends; it is ready on return."""
        command = shlex.join(self.command("watch"))
        lines = ["[Service]", "Type=notify", f"ExecStart={command}", "ExecReload=kill -HUP $MAINPID", ""]
        self.machine.write(f"/etc/systemd/system/{WATCH}", "\n".join(lines))
        self.machine.cleanups.append(self.unwatch)
        self.cursor = self.machine.journal_cursor()
        self.machine.run("systemctl", "start", WATCH)

    def unwatch(self) -> None:
        """End the watch daemon for good."""
        self.machine.run("systemctl", "stop", WATCH, check=False)
        self.machine.remove(f"/etc/systemd/system/{WATCH}")
        self.machine.run("systemctl", "reset-failed", WATCH, check=False)
        self.machine.run("systemctl", "daemon-reload")

    def told(self, pattern: str, since_cursor: str | None = None, timeout: float = PATIENCE) -> Entry:
        """Wait until the watch daemon tells something, after a cursor or else since it was started."""
        return self.machine.wait_journal(pattern, unit=WATCH, since_cursor=since_cursor or self.cursor, timeout=timeout)

    def clear(self) -> None:
        """Take away whatever the test made."""
        with suppress(AssertionError):
            self.run("remove", "--yes", status=None)
        self.machine.remove(VASSALS)


def install(machine: Machine) -> None:
    """Put the test's app where the vassals' configs say it is."""
    machine.write(APP, APP_TEXT)
