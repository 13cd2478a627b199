"""A container with a systemd of its own as PID 1: its boot, its commands, files and users, and its end."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .cgroups import joinable
from .process import CommandError, Lines, MachineError, Result, execute, kill, spawn
from .suite import CHECKOUT, PYTHON, SUITE, files, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).resolve().parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("systemd-nspawn", "unshare", "nsenter", "setpriv", "mount")
NOBODY = 65534
JOIN = 'for group in $1; do mkdir -p "$group"; echo $$ >"$group/cgroup.procs"; done; shift; exec "$@"'


class Container:
    """A machine over an overlay of a tree, the host's own or another suite's, which stays as it was.

    The checkout is there at its own path, read-only, and so is this process's interpreter over the host's own tree.
    """

    def __init__(
        self, directory: Path | None = None, *, boot_timeout: float = 60.0, plan: Mapping[str, object] | None = None
    ) -> None:
        """Prepare a machine whose files are kept below `directory` until it is closed.

        `plan` is `usual_plan()`, or what was made of it.
        """
        chosen = directory or Path(os.environ.get("EMPEROR_BRIDGE_MACHINE_DIR") or "/var/tmp")
        self.directory = chosen.resolve()
        self.boot_timeout = boot_timeout
        self.plan = plan or usual_plan()
        self.cleanups: list[Callable[[], object]] = []
        self._leader = 0
        self._groups = ""
        self._users: dict[str, tuple[int, int, str]] = {}
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._events: Lines | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Boot, reboot, end

    def start(self) -> None:
        """Boot, and return when systemd says that it has finished."""
        self._check_host()
        argv = [sys.executable, str(HERE / "supervisor.py"), str(self.directory), json.dumps(self.plan)]
        self._supervisor = spawn(argv, merge_stderr=True)
        self._events = Lines(self._supervisor.stdout)
        try:
            self._await_boot()
            self._check_interpreter()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill the machine and wait until nothing of it remains."""
        supervisor, self._supervisor = self._supervisor, None
        self._leader = 0
        self._users.clear()
        if supervisor is None:
            return
        try:
            # The end of its input is what it waits for. An interrupt here leaves it to finish alone.
            supervisor.communicate(timeout=30)
        except subprocess.TimeoutExpired as error:
            kill(supervisor)
            raise MachineError("the machine's supervisor did not end within 30 s") from error

    def reboot(self, *, at_once: bool = False) -> None:
        """Reboot as an administrator would, and return when it is up again. ``at_once``: nothing is stopped."""
        self.run("systemctl", "reboot", *(["--force", "--force"] if at_once else []), check=False)
        self._leader = 0
        self._await_boot()

    def pid1(self) -> int:
        """Return the machine's PID 1 as the host numbers it."""
        if not self._leader:
            raise MachineError("the machine is not running")
        return self._leader

    def supervisor_pid(self) -> int:
        """Return the pid of the process that ends last, when everything else is cleared away."""
        if self._supervisor is None:
            raise MachineError("the machine is not running")
        return self._supervisor.pid

    def upper(self) -> Path:
        """Return the folder on the host that has all that differs in the machine from the host's own tree."""
        return self.directory / f"emperor-bridge-machine-{self.supervisor_pid()}" / "upper"

    def _check_host(self) -> None:
        if os.geteuid() != 0:
            raise MachineError("booting a machine for the tests needs root")
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            needs = "see packaging/test-packages.txt"
            raise MachineError(f"booting a machine for the tests needs {', '.join(missing)}: {needs}")
        self.directory.mkdir(parents=True, exist_ok=True)
        kind = execute(["stat", "-f", "-c", "%T", str(self.directory)], timeout=10).stdout.strip()
        if kind in {"tmpfs", "overlayfs"}:
            raise MachineError(
                f"{self.directory} is on {kind}, which cannot hold the machine's files: "
                "set EMPEROR_BRIDGE_MACHINE_DIR to a directory on disk"
            )

    def _await_boot(self) -> None:
        """Follow the supervisor's reports until the machine is ready; see `supervisor.py`."""
        deadline = time.monotonic() + self.boot_timeout
        leader = 0
        try:
            while line := self._next_event(deadline):
                event = json.loads(line) if line.startswith("{") else {"event": "failed", "reason": line}
                if event["event"] == "leader":
                    leader = int(event["pid"])
                elif event["event"] == "ready" and leader:
                    self._leader = leader
                    self._groups = " ".join(map(str, joinable(leader)))
                    return
                elif event["event"] == "failed":
                    raise MachineError(f"the machine cannot be set up: {event['reason']}")
                elif event["event"] == "ended":
                    raise MachineError(f"the machine did not boot; its console ends with\n{event['console']}")
        except TimeoutError as error:
            raise MachineError(
                f"the machine did not boot within {self.boot_timeout:g} s; its console ends with\n" + self.console()
            ) from error
        raise MachineError("the machine's supervisor ended without a word")

    def _next_event(self, deadline: float) -> str | None:
        return self._events.next(deadline) if self._events else None

    def _check_interpreter(self) -> None:
        script = str(HERE / "wait_unit.py")
        argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        result = self.run(*argv, PYTHON, script, "--help", check=False)
        if result.returncode:
            raise MachineError(f"an ordinary user cannot use {PYTHON} and {script}:\n{result.stderr}")

    def console(self) -> str:
        """Return the last lines of the machine's console."""
        supervisor = self._supervisor
        name = f"emperor-bridge-machine-{supervisor.pid if supervisor else 0}"
        try:
            text = (self.directory / name / "console").read_text(errors="replace")
        except OSError as error:
            return f"(no console: {error})"
        return "\n".join(text.splitlines()[-30:])

    # Commands

    def command(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> list[str]:
        """Return the host's command line for a command in the machine."""
        environment = {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/root"}
        become: list[str] = []
        if user is not None:
            uid, gid, home = self._account(user)
            runtime = f"/run/user/{uid}"
            environment |= {"HOME": home, "USER": user, "LOGNAME": user, "XDG_RUNTIME_DIR": runtime}
            environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
            become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--"]
        environment |= env or {}
        return [
            *("sh", "-ec", JOIN, "sh", self._groups),
            *("nsenter", "--target", str(self.pid1()), "--all", "env", "--ignore-environment"),
            f"--chdir={cwd or '/'}",
            *(f"{key}={value}" for key, value in environment.items()),
            *become,
            *argv,
        ]

    def run(
        self,
        *argv: str,
        check: bool = True,
        user: str | None = None,
        timeout: float = 60.0,
        input: bytes | None = None,  # noqa: A002 -- subprocess.run's name for it
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Result:
        """Run a command in the machine to its end, as root or as `user` with the user's manager at hand."""
        line = self.command(argv, user=user, env=env, cwd=cwd)
        result = execute(line, timeout=timeout, input_data=input)
        if check and result.returncode:
            raise CommandError(argv, result)
        return result

    def popen(
        self,
        *argv: str,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in the machine with three pipes; end it with `process.kill`."""
        return spawn(self.command(argv, user=user, env=env, cwd=cwd))

    # Users

    def add_user(self, name: str) -> int:
        """Make an ordinary user whose manager runs from now on, and return the uid."""
        self.run("useradd", "--create-home", "--shell", "/bin/bash", name)
        self.run("loginctl", "enable-linger", name)
        uid = self._account(name)[0]
        self.run("systemctl", "start", f"user@{uid}.service")
        return uid

    def remove_user(self, name: str) -> None:
        """Remove a user from `add_user` with the user's manager and home."""
        uid = self._account(name)[0]
        self.run("loginctl", "disable-linger", name)
        self.run("systemctl", "stop", f"user@{uid}.service", f"user-{uid}.slice")
        self.run("userdel", "--remove", name)
        del self._users[name]

    def _account(self, name: str) -> tuple[int, int, str]:
        if name not in self._users:
            entry = self.run("getent", "passwd", name).stdout.rstrip("\n").split(":")
            self._users[name] = (int(entry[2]), int(entry[3]), entry[5])
        return self._users[name]

    # Files: always inside, since an absolute symlink followed through /proc/PID/root leads to the host's.

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644, owner: str = "root") -> None:
        """Write a file, replacing what is there; missing directories are made."""
        self.write_many({path: content}, mode=mode, owner=owner)

    def write_many(self, files: Mapping[str, str | bytes], *, mode: int = 0o644, owner: str = "root") -> None:
        """Write many files at the cost of one command."""
        uid, gid, _ = self._account(owner)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                member = tarfile.TarInfo(path.lstrip("/"))
                member.size, member.mode, member.uid, member.gid = len(data), mode, uid, gid
                tar.addfile(member, io.BytesIO(data))
        # tar removes a file before it writes it anew. With priority it does both within the daemon's patience.
        nice = ("nice", "--adjustment=-20")
        argv = ("tar", "--extract", "--touch", "--preserve-permissions", "--numeric-owner", "--directory=/")
        self.run(*nice, *argv, input=archive.getvalue())

    def read(self, path: str) -> str:
        """Return a file's text."""
        return self.run("cat", "--", path).stdout

    def exists(self, path: str) -> bool:
        """Say whether a path exists; a broken symlink does not."""
        return self.run("test", "-e", path, check=False).returncode == 0

    def remove(self, *paths: str) -> None:
        """Remove files and whole directories; missing ones are no error."""
        self.run("rm", "--recursive", "--force", "--", *paths)


def usual_plan() -> dict[str, Any]:
    """Return what to boot and to show in it, as `upper.Plan` says."""
    if SUITE:
        lower = tree()
        return {"tree": str(lower), "lock": f"{lower}.lock", "binds": [str(CHECKOUT)], "files": files(lower)}
    wanted = {CHECKOUT, *(Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix))}
    wanted = {path for path in wanted if not path.is_relative_to("/usr")}
    return {"binds": sorted(str(path) for path in wanted if not wanted & set(path.parents))}
