"""What the cases of the monitors are made of: frozen data, and the places that both sides have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

TOP = "/srv/monitors"
APP = f"{TOP}/app.py"
RUN = "/run/monitors"
"""Where sockets are. Each Emperor sees a folder of its own at this path, and the bridge the real one."""
CWD = f"{TOP}/cwd"
"""Where the Emperors and the bridge work (``chdir``); again each Emperor has its own there."""
APP_TEXT = """\
import json, os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    facts = {"mark": os.environ.get("MARK", ""), "uid": os.getuid(), "gid": os.getgid(), "cwd": os.getcwd()}
    return [json.dumps({**facts, "pid": os.getpid(), "ppid": os.getppid()}).encode()]
"""
PG_PORT, MONGO_PORT, AMQP_PORT, MUTE_PORT, TAKEN_PORT = 54321, 27017, 5672, 5999, 5998
PG_FOLDER = "/var/lib/monitors-pg"
PG = f"host={PG_FOLDER} port={PG_PORT} user=postgres dbname=postgres"
SOCKET, MOVED = f"{RUN}/NAME.sock", f"{RUN}/own/NAME.sock"
"""Where a vassal waits, and another place, in which any user can make sockets."""
OWN = f"socket = {SOCKET}"
IDLE = ("idle = 1", "die-on-idle = true")
LONG = ("#" * 8,) * 7500
"""Lines that make a text longer than 65,535 bytes, if something follows them."""

UP = {"state": "waits", "answer": "one"}
RUNS = {"state": "runs", "answer": "one"}
NEVER = {"state": "none", "answer": "no path", "log": "told"}


def config(mark: str, *lines: str) -> str:
    """Return a config; the app says the mark, by which its text is known."""
    return "\n".join(["[uwsgi]", "plugin = python3", f"wsgi-file = {APP}", f"env = MARK={mark}", *lines, ""])


def ts(seconds: float) -> float:
    """Return a time of a row, so many seconds after that of all the others."""
    return 1_764_000_000 + seconds


# What is done in a step. In all texts NAME is the case's name.


@dataclass(frozen=True, kw_only=True)
class Put:
    """A row or a document takes the place of the one that has its name."""

    table: str
    row: Mapping[str, object]
    adds: bool = False
    """Whether the one that has its name stays."""


@dataclass(frozen=True, kw_only=True)
class Delete:
    """A row or a document is gone."""

    table: str
    name: str = "NAME.ini"


@dataclass(frozen=True)
class Sql:
    """Statements."""

    text: str


@dataclass(frozen=True)
class Send:
    """Messages of ZeroMQ, one right after the other."""

    messages: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Publish:
    """A message of RabbitMQ."""

    key: str = ""
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    vhosts: tuple[str, ...] = ("/",)


@dataclass(frozen=True)
class Write:
    """A file, in the working folders if its path is relative."""

    path: str
    text: str


@dataclass(frozen=True)
class Remove:
    """A file is gone."""

    path: str


@dataclass(frozen=True)
class Kill:
    """The vassal's process is killed, on both sides."""


@dataclass(frozen=True)
class Server:
    """Something is done to a server; `run.Servers` says what there is."""

    name: str
    what: str


@dataclass(frozen=True)
class Restart:
    """The world's Emperor starts anew."""


Act: TypeAlias = Put | Delete | Sql | Send | Publish | Write | Remove | Kill | Server | Restart


@dataclass(frozen=True)
class Step:
    """Something is done to a vassal, and this is seen of it afterwards, by aspect, where all is right.

    ``state``: waits, runs, none. ``path``: whether there is a file at its address. ``answer``: what the app says at its
    address. ``moved``: the same at its other address. ``process``: whether the answer is of the same process as before.
    ``log``: whether anybody is told. ``touch``: whether there is a file of that name in the working folder.
    ``lives``: whether its process lasts. ``secret``: where the password can be read.
    """

    acts: tuple[Act, ...] = ()
    then: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One vassal, and what happens to it, step by step."""

    name: str
    steps: tuple[Step, ...]
    emperor: str = ""
    """Which Emperor is looked at; that of the world when empty."""
    vassal: str = "NAME.ini"
    shows: tuple[str, ...] = ("mark",)
    """What of the app's facts counts."""
    logs: tuple[str, str] = ("", "")
    """Patterns of what the Emperor and the bridge say in the journal."""
    start: int = 0
    """The round of its first step."""
    last: Mapping[str, str] = field(default_factory=dict)
    """What is seen in the end, when the Emperors and the daemon have started again without any server."""

    def fill(self, text: str) -> str:
        """Put the name in."""
        return text.replace("NAME", self.name)

    @property
    def address(self) -> str:
        """Where it waits."""
        return self.fill(SOCKET)

    @property
    def other_address(self) -> str:
        """Where it may move to."""
        return self.fill(MOVED)


@dataclass(frozen=True, kw_only=True)
class Imperial:
    """A real Emperor. The bridge has the monitors of all of them."""

    name: str
    monitors: tuple[str, ...]
    plugins: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    in_arguments: bool = False
    """Whether its monitors are in its arguments, not in its file."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happens to all vassals of a world before a round's steps."""

    acts: tuple[Act, ...]
    logs: tuple[str, str] = ("", "")
    """Patterns in the journal of the Emperor and of the bridge that must come before anything is looked at."""
    beacon: tuple[str, ...] = ("emperor", "bridge")
    """Who can be told of anything in this round."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The cases of one kind of monitor. They go through their rounds side by side, the worlds independently."""

    name: str
    emperors: tuple[Imperial, ...]
    """The first is that of all cases that name no other."""
    cases: tuple[Case, ...]
    prepare: tuple[Act, ...] = ()
    """What is done before anything starts."""
    beacon: tuple[Act, ...] = ()
    """What makes vassals: once they are known, all that was done before has been taken note of."""
    beacons: tuple[str, ...] = ("NAME.ini",)
    """Their names. The Emperor needs to know the first only."""
    events: Mapping[int, Event] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return max([case.start + len(case.steps) for case in self.cases] + [number + 1 for number in self.events])


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one daemon has: worlds at the same time, under the same lines of emperor.ini."""

    name: str
    worlds: tuple[World, ...]
    lines: tuple[str, ...] = ()
