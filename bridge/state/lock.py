"""The lock under which the bridge changes things, and the note of what a run was about to do."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from bridge.config.paths import RUN_NOTE_PREFIX
from bridge.diagnostics import BridgeError, Diagnostic
from bridge.host.files import remove_if_there

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DONE = b"done"
"""What the note holds after a run that did all it began. A run that begins with no unit to note must not look so."""

_POLL_INTERVAL = 0.1
"""Seconds between two attempts to take the lock, of somebody who must tell that he lives."""
_LEFT = "left"
"""In the note of a run that ended well, and left vassals to the next: they would not stop, or could not be told yet."""


class Pending(NamedTuple):
    """The units that a run was about to change."""

    restart: frozenset[str] = frozenset()
    """Units to be stopped and started again."""
    reread: frozenset[str] = frozenset()
    """Units whose files are rewritten while they run on."""
    reload: frozenset[str] = frozenset()
    """Services to be told that their config changed."""

    def __or__(self, other: Pending) -> Pending:
        return Pending(*(one | more for one, more in zip(self, other, strict=True)))

    def part(self, is_in: Callable[[str], bool]) -> Pending:
        """Return only those of the units."""
        return Pending(*(frozenset(filter(is_in, units)) for units in self))

    def note(self) -> dict[str, object]:
        """Return it as JSON can hold it."""
        return {what: sorted(units) for what, units in self._asdict().items()}


NOTHING = Pending()


class Lock:
    """The lock of all runs, and a note that remembers what a run was about to do until that is done.

    Both are one file, unless the run works under another bridge.toml than the usual one: then the note is its own.
    """

    def __init__(self, path: str, note: str) -> None:
        self._path = path
        self._note_path = note
        self._fd = self._note = -1

    @contextmanager
    def hold(self, waiting: Callable[[], None], alive: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock; if another run has it, call ``waiting`` once, and ``alive`` several times a second, and wait.

        Raises:
            BridgeError: the lock's folder cannot be made or written.
        """
        try:
            while not self._take(waiting, alive):
                pass
            self._note = self._fd if self._note_path == self._path else _open(self._note_path)
        except OSError as error:
            self._release()
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
            self._release()

    def _take(self, waiting: Callable[[], None], alive: Callable[[], None] | None) -> bool:
        """Take the lock; False if the file was removed while this run waited for it."""
        # A removal removes the folder too, so it is made at each attempt.
        folder = os.path.dirname(self._path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # What runs note of one tenant is not for the others. A pause makes the folder too, with a usual mode.
        with suppress(PermissionError):
            os.chmod(folder, 0o700)
        fd = _open(self._path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            _wait_for(fd, alive)
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def _release(self) -> None:
        for fd in {self._fd, self._note} - {-1}:
            # A child process that cannot be killed may have it too.
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)
        self._fd = self._note = -1

    @property
    def is_held(self) -> bool:
        """Whether this run holds the lock."""
        return self._fd >= 0

    @property
    def exists(self) -> bool:
        """Whether a run has taken the lock since the last removal, or the boot."""
        return os.path.exists(self._note_path)

    @property
    def is_shared(self) -> bool:
        """Whether runs under other configurations have left notes. Only the usual one's note is in the lock's file."""
        folder = os.path.dirname(self._path)
        notes = {f"{folder}/{name}" for name in os.listdir(folder) if name.startswith(RUN_NOTE_PREFIX)}
        if os.path.getsize(self._path):
            notes.add(self._path)
        return not notes <= {self._note_path}

    def pending(self) -> Pending:
        """Return what an interrupted run was about to do.

        The note lies in /run, so it is forgotten when the manager forgets too: at a reboot.
        """
        try:
            noted = json.loads(os.pread(self._note, os.fstat(self._note).st_size, 0))
        except ValueError:
            # Empty, or _DONE.
            return Pending()
        # Version 0.1.0 wrote a list.
        noted = noted if isinstance(noted, dict) else {"restart": noted}
        return Pending(*(frozenset(map(str, noted.get(what) or ())) for what in Pending._fields))

    def begin(self, pending: Pending) -> None:
        """Note what is about to be changed."""
        raw = json.dumps(pending.note()).encode()
        # Blanks cover a longer note of an interrupted run: killed before the cut, this one can be read all the same.
        os.pwrite(self._note, raw.ljust(os.fstat(self._note).st_size), 0)
        os.ftruncate(self._note, len(raw))

    def finish(self, began: int, left: Pending = NOTHING) -> None:
        """Note that a run that began at ``began`` (nanoseconds since the epoch) did all of it but what is ``left``."""
        raw = _DONE
        if left != NOTHING:
            raw = json.dumps({**left.note(), _LEFT: True}).encode()
        os.pwrite(self._note, raw.ljust(os.fstat(self._note).st_size), 0)
        os.ftruncate(self._note, len(raw))
        os.utime(self._note, ns=(began, began))

    def forget(self) -> None:
        """Remove the lock itself, as the last thing a removal does; the folder too, if no other run needs it."""
        remove_if_there(self._note_path)
        folder = os.path.dirname(self._path)
        with suppress(OSError):
            # If it has content, it is the note of the usual configuration.
            if os.listdir(folder) == [os.path.basename(self._path)] and not os.path.getsize(self._path):
                remove_if_there(self._path)
            os.rmdir(folder)

    def stamp(self) -> int:
        """Return when the last run began, in nanoseconds since the epoch; 0 if there was none or it did not finish."""
        info = os.fstat(self._note)
        raw = os.pread(self._note, info.st_size, 0)
        if raw == _DONE:
            return info.st_mtime_ns
        try:
            noted = json.loads(raw)
        except ValueError:
            return 0
        return info.st_mtime_ns if isinstance(noted, dict) and noted.get(_LEFT) else 0


def _wait_for(fd: int, alive: Callable[[], None] | None) -> None:
    if alive is None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    while True:
        alive()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_INTERVAL)
        else:
            return


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
