"""The lock under which the bridge changes things, and the note of what it was about to do."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.files import remove_if_there

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DONE = b"done"
"""What the lock holds after a run that did all it began; a run that begins with no unit to note must not look so."""


class Lock:
    """The lock under which the bridge changes things; it remembers what a run was about to do until that is done."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    @contextmanager
    def hold(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lock; if another run has it, call ``waiting`` once and wait.

        Raises:
            BridgeError: the lock's folder cannot be made or written.
        """
        try:
            while not self._take(waiting):
                pass
        except OSError as error:
            problem = Diagnostic(
                code="lock",
                path=self._path,
                message=f"cannot take the lock: {error.strerror}",
                hint="run as root, or use --user for your own service manager",
            )
            raise BridgeError(problem) from error
        try:
            yield
        finally:
            os.close(self._fd)
            self._fd = -1

    def _take(self, waiting: Callable[[], None]) -> bool:
        """Take the lock; False if the file was removed while this run waited for it."""
        # A removal takes the folder away too, so it is made at each attempt.
        os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            return False
        self._fd = fd
        return True

    @property
    def is_there(self) -> bool:
        """Whether a run has taken the lock since the last removal, or the boot."""
        return os.path.exists(self._path)

    def pending(self) -> frozenset[str]:
        """Return the units an interrupted run meant to stop and start again.

        The lock lives in /run, so this is forgotten when the manager forgets too: at a reboot.
        """
        try:
            units = json.loads(os.pread(self._fd, os.fstat(self._fd).st_size, 0))
        except ValueError:
            # Empty, or _DONE.
            return frozenset()
        return frozenset(unit for unit in units if isinstance(unit, str))

    def begin(self, units: Iterable[str]) -> None:
        """Note what is about to be changed."""
        raw = json.dumps(sorted(units)).encode()
        # Blanks cover a longer note of an interrupted run: killed before the cut, this one can be read all the same.
        os.pwrite(self._fd, raw.ljust(os.fstat(self._fd).st_size), 0)
        os.ftruncate(self._fd, len(raw))

    def finish(self, began: int) -> None:
        """Note that all of it was done by a run that began at ``began`` (nanoseconds since the epoch)."""
        os.pwrite(self._fd, _DONE, 0)
        os.ftruncate(self._fd, len(_DONE))
        os.utime(self._fd, ns=(began, began))

    def forget(self) -> None:
        """Remove the lock itself, as the last thing a removal does."""
        remove_if_there(self._path)
        with suppress(OSError):
            os.rmdir(os.path.dirname(self._path))

    def stamp(self) -> int:
        """Return when the last run began, in nanoseconds since the epoch; 0 if there was none or it did not finish."""
        info = os.fstat(self._fd)
        return info.st_mtime_ns if os.pread(self._fd, info.st_size, 0) == _DONE else 0
