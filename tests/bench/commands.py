"""What the agent does in the machine besides taking times: files, commands, units."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path
from typing import Any

from . import layout

STALE = "changed on disk"
"""What systemctl warns of when it starts a unit that systemd must read again first."""


class FailedError(Exception):
    """A step cannot be done; the text says why."""


def write(files: dict[str, str]) -> None:
    """Write files in their order."""
    for path, text in files.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    """Start a command whose output goes to a file."""
    with open(layout.OUTPUT, "wb") as output:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def run(argv: list[str], timeout: float) -> str:
    """Run a command, which must succeed; return what it said."""
    process = start(argv)
    # Popen.wait with a timeout looks every 50 ms; what is measured ends in between.
    ended = os.pidfd_open(process.pid)
    try:
        if not select.select([ended], [], [], timeout)[0]:
            process.kill()
            raise FailedError(f"{' '.join(argv[:3])} did not end within {timeout:g} s")
    finally:
        os.close(ended)
        status = process.wait()
    said = Path(layout.OUTPUT).read_text(errors="replace")
    if status:
        raise FailedError(f"{' '.join(argv[:3])} exited with {status}: {said[-500:]}")
    return said


def do(actions: list[list[Any]], timeout: float) -> None:
    """Do what is asked for: write files, remove them, run a command, start units."""
    for verb, what in actions:
        if verb == "write":
            write(what)
        elif verb == "unlink":
            for path in what:
                os.unlink(path)
        elif verb == "run":
            run(what, timeout)
        elif verb == "start" and STALE in run(["systemctl", "start", *what], timeout):
            run(["systemctl", "stop", *what], timeout)
            run(["systemctl", "daemon-reload"], timeout)
            run(["systemctl", "start", *what], timeout)
