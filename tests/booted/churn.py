"""Rows that come, change and go at random moments, and what must hold of them meanwhile and afterwards."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .mirror_look import is_whole
from .process import Lines, kill
from .sources import MIRROR, STATE, Source, vassal
from .steady import asked
from .suite import CHECKOUT, PYTHON

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from bridge.feeder.protocol import Row

FOLDER = "/run/rows"
STEADY, ALWAYS = "/run/steady.sock", "127.0.0.1:9341"
NAMES = [f"row{number}.ini" for number in range(40)]
FEW = 6
PADDING = 200
"""Lines of a text, of a hundred bytes each: it is not written at once."""
WITHIN = 10.0
"""Seconds in which everything must be in force once the server is back."""
LOOK = (PYTHON, "-m", "tests.booted.mirror_look")
"""As a module: beside it is one that is named like the bridge itself."""


class Churn:
    """A source in which somebody changes rows, while two sites that nobody changes are asked."""

    def __init__(self, source: Source, chance: random.Random) -> None:
        self.source = source
        self.machine = source.machine
        self._chance = chance
        self._version = 0

    def row(self, name: str, *lines: str, socket: str | None = None, size: int = PADDING) -> Row:
        """Return a row in a version of its own, at an address of this version."""
        self._version += 1
        address = f"{FOLDER}/{name}-{self._version}.sock" if socket is None else socket
        padding = [f"# {'x' * 97}"] * size
        return vassal(name, *lines, f"# version {self._version}", *padding, f"# end {self._version}", socket=address)

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Ask two sites ten times a second, and look at all texts, as long as the block lasts.

        Each request must be answered, by the same processes, and each text be whole.
        """
        quiet = "disable-logging = true"
        always = self.row("always.ini", quiet, f"socket = {ALWAYS}", socket="")
        self.source.put(self.row("steady.ini", quiet, socket=STEADY), always)
        self.machine.wait_unit("vassal-steady.socket", "SubState", "listening")
        self.machine.wait_unit("vassal-always.service", "SubState", "running")
        self.machine.request("uwsgi", STEADY)
        with asked(self.machine, STEADY, ALWAYS), self._watched():
            before = self._main_pids()
            yield
            assert self._main_pids() == before

    def begin(self, count: int) -> None:
        """Have so many changes made from now on, one after the other with pauses between them, of a few rows."""
        for name in self._chance.choices(NAMES[:FEW], k=count):
            self._change(name, self._chance.uniform(0, 0.15))

    def burst(self) -> set[str]:
        """Have every row changed once within about a second from now; return the names of those that are deleted."""
        deleted: set[str] = set()
        for name in self._chance.sample(NAMES, k=len(NAMES)):
            # More than half of all, gone at once while the daemon is down, would not be removed.
            may_go = len(deleted) < len(NAMES) // 3
            if self._change(name, self._chance.uniform(0, 2 / len(NAMES)), may_go=may_go):
                deleted.add(name)
        return deleted

    def _change(self, name: str, after: float, *, may_go: bool = True) -> bool:
        """Have a row added, changed or deleted; return whether it is deleted."""
        rows = self.source.rows
        if name in rows and self._chance.random() < 0.3 and may_go:
            del rows[name]
            self.source.begin({"gone": name, "after": after})
            return True
        rows[name] = self.row(name)
        self.source.begin({**asdict(rows[name]), "after": after})
        return False

    def pause(self, most: float) -> None:
        """Wait for a random time: whatever comes next is to come at any moment."""
        time.sleep(self._chance.uniform(0, most))

    def picture(self) -> dict[str, Any]:
        """Return what the mirror has; each row there must have its text, and each text be whole."""
        found = self._look("picture", MIRROR)
        assert found["rows"].keys() <= found["texts"].keys()
        assert [name for name, text in found["texts"].items() if not is_whole(text)] == []
        return found

    def converge(self) -> float:
        """Wait until exactly the sockets of the rows listen; return how long that took. The mirror must be the same."""
        rows = self.source.rows
        wanted = [row.socket for row in rows.values() if row.socket.startswith(FOLDER)]
        found = self._look("until", FOLDER, str(WITHIN), about=wanted)
        assert (found["missing"], found["extra"]) == ([], []), found
        has = self.picture()
        assert has["rows"].keys() == rows.keys()
        assert {name: has["texts"][name] for name in rows} == {name: row.config for name, row in rows.items()}
        assert has["new"] == []
        return float(found["took"])

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave no room for the mirror, which must be on a file system of its own, until the block ends."""
        self.machine.run("dd", "if=/dev/zero", f"of={STATE}/filler", "bs=1k", check=False)
        try:
            yield
        finally:
            self.machine.remove(f"{STATE}/filler")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        process = self.machine.popen(*LOOK, "watch", MIRROR, cwd=str(CHECKOUT))
        try:
            lines = Lines(process.stdout)
            assert lines.next(time.monotonic() + 30) == "looking"
            yield
            assert process.stdin is not None
            process.stdin.close()
            found = json.loads(lines.next(time.monotonic() + 30) or "{}")
            assert found["wrong"] == []
            assert found["looks"] > 0
        finally:
            kill(process)

    def _look(self, *argv: str, about: object = None) -> dict[str, Any]:
        result = self.machine.run(*LOOK, *argv, cwd=str(CHECKOUT), input=json.dumps(about).encode())
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def _main_pids(self) -> list[str]:
        return [self.machine.show(f"vassal-{name}.service", "MainPID") for name in ("steady", "always")]
