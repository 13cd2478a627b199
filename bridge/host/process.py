"""Runs a program of the admin's: without a shell, with a time limit, with bounded output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.diagnostics import printable
from bridge.host.signals import signal_name

if TYPE_CHECKING:
    from collections.abc import Sequence


_CHUNK = 1 << 16
"""Bytes that are read at once: Python makes room for all of them each time."""


class CommandError(Exception):
    """A program that failed; the message completes a sentence that begins with the program's name."""


def output_of(argv: Sequence[str], *, timeout: float, max_bytes: int, cwd: str, with_errors: bool = False) -> bytes:
    """Run a program and return its standard output; ``with_errors``, also its standard error.

    After ``timeout`` seconds, or more than ``max_bytes`` of output, the program and its children are killed.

    Raises:
        CommandError: it cannot be started, exits with another status than 0, is killed, runs too long or prints too
            much.
    """
    with tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if with_errors else stderr,
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise CommandError(f"cannot be started: {why}") from error
        deadline = time.monotonic() + timeout
        try:
            raw = _output(process, deadline, max_bytes)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            _kill(process)
            if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
                raise CommandError(f"did not end within {timeout:g} s") from None
            raise
        if status != 0:
            how = f"exited with status {status}" if status > 0 else f"was killed by {signal_name(-status)}"
            raise CommandError(how + _last_line(stderr.fileno()))
        return raw


def _output(process: subprocess.Popen[bytes], deadline: float, max_bytes: int) -> bytes:
    """Read the output to its end, which a child in a session of its own may delay for ever.

    Raises:
        TimeoutError: the deadline has passed.
        CommandError: the program printed too much.
    """
    assert process.stdout is not None  # noqa: S101 - for the type checker: Popen got PIPE
    raw = b""
    with process.stdout as pipe:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while len(raw) <= max_bytes:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            if not (chunk := os.read(pipe.fileno(), min(max_bytes + 1 - len(raw), _CHUNK))):
                return raw
            raw += chunk
    raise CommandError(f"printed more than {max_bytes} bytes")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(fd: int) -> str:
    """Return the last line of the program's standard error, formatted for the end of a message."""
    size = os.fstat(fd).st_size
    lines = os.pread(fd, 300, max(0, size - 300)).decode(errors="replace").strip().splitlines()
    return f": {printable(lines[-1])[:200]}" if lines else ""
