"""The one place where the harness starts processes on the host."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class MachineError(Exception):
    """The machine did not do what the harness needs; the text says why."""


@dataclass(frozen=True)
class Result:
    """What a finished command left behind."""

    stdout: str
    stderr: str
    returncode: int


class CommandError(MachineError):
    """A command in the machine failed."""

    def __init__(self, argv: Sequence[str], result: Result) -> None:
        self.result = result
        super().__init__(f"{shlex.join(argv)} exited with {result.returncode}\n{result.stdout}{result.stderr}".rstrip())


def spawn(argv: Sequence[str], *, merge_stderr: bool = False) -> subprocess.Popen[bytes]:
    """Start a process with pipes on all three streams, in a session of its own.

    The session keeps a Ctrl-C at the terminal away from it, and lets it be killed with its children.
    """
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE,
        start_new_session=True,
    )


def group_members(group: int) -> set[int]:
    """Return the processes of a process group."""
    members = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(int(entry.name)) == group:
                members.add(int(entry.name))
    return members


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process from `spawn` and its children, reap it and close its pipes.

    Its children first: nsenter then reaps the command that it entered the machine with. Killed before it,
    that command would be left to the host's init, and the machine cannot shut down until that has reaped it.
    """
    if process.poll() is None:
        for pid in group_members(process.pid) - {process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def execute(argv: Sequence[str], *, timeout: float, input_data: bytes | None = None) -> Result:
    """Run a command to its end; a command that takes too long is killed with its children."""
    process = spawn(argv)
    try:
        out, err = process.communicate(input_data, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{shlex.join(argv)} did not end within {timeout:g} s") from error
    finally:
        kill(process)
    return Result(out.decode(errors="replace"), err.decode(errors="replace"), process.returncode)


class Lines:
    """The lines of a pipe, read with a deadline."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        if stream is None:
            raise MachineError("the process has no pipe to read from")
        self._fd = stream.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._buffer = b""

    def next(self, deadline: float) -> str | None:
        """Return the next line, or None at the end; TimeoutError when `deadline` (monotonic) passes."""
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise TimeoutError
            chunk = os.read(self._fd, 65536)
            if not chunk:
                return None
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode(errors="replace")
