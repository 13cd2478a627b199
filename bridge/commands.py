"""The one way the bridge runs a program of the admin's: no shell, a time limit, bounded output."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from threading import Timer
from typing import TYPE_CHECKING

from bridge.diagnostics import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


class CommandError(Exception):
    """A program that failed; the message continues a sentence that begins with its name."""


def output_of(argv: Sequence[str], *, timeout: float, max_bytes: int, cwd: str) -> bytes:
    """Run a program and return what it printed.

    The program and all it started are killed after ``timeout`` seconds or once it has printed more than ``max_bytes``.

    Raises:
        CommandError: it cannot be started, exits other than with 0, is killed, runs too long or prints too much.
    """
    with tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"cannot be started: {error.strerror}") from error
        timed_out = False

        def expire() -> None:
            nonlocal timed_out
            timed_out = True
            _kill(process)

        timer = Timer(timeout, expire)
        timer.start()
        try:
            assert process.stdout is not None  # noqa: S101 - for the type checker: PIPE was asked for
            with process.stdout:
                raw = process.stdout.read(max_bytes + 1)
            if len(raw) > max_bytes:
                _kill(process)
            status = process.wait()
        except BaseException:
            _kill(process)
            raise
        finally:
            timer.cancel()
        if timed_out:
            raise CommandError(f"did not end within {timeout:g} s")
        if len(raw) > max_bytes:
            raise CommandError(f"printed more than {max_bytes} bytes")
        if status != 0:
            how = f"exited with status {status}" if status > 0 else f"was killed by {signal.Signals(-status).name}"
            raise CommandError(how + _last_line(stderr.fileno()))
        return raw


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(fd: int) -> str:
    """Return the last thing the program complained of, ready to be added to a message."""
    size = os.fstat(fd).st_size
    lines = os.pread(fd, 300, max(0, size - 300)).decode(errors="replace").strip().splitlines()
    return f": {printable(lines[-1])[:200]}" if lines else ""
