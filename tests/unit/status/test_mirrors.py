"""What status says of databases and brokers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from bridge.config.settings import Settings
from bridge.mirror.state import MirrorState, write_state
from bridge.monitors import open_monitors
from bridge.monitors.mirrored import MirroredMonitor
from bridge.monitors.row_problems import shown_time
from bridge.status.mirrors import MirrorStatus, mirror_statuses, with_mirrors
from bridge.status.table import Row, State

if TYPE_CHECKING:
    from pathlib import Path

ROW = Row(vassal="a.ini", config="/m/a.ini", unit="u", socket=None, mode=None, state=State.RUNNING, monitor="pg:x")


def status(state: MirrorState, *, is_asked: bool = True) -> MirrorStatus:
    return MirrorStatus(monitor="pg:x", state=state, is_asked=is_asked)


def test_in_words() -> None:
    asked, since = shown_time(1000.0), shown_time(2000.0)
    down = MirrorState(asked=1000.0, since=2000.0, why="refused")
    assert str(status(MirrorState())) == "pg:x: it has not answered yet"
    assert str(status(MirrorState(asked=1000.0))) == f"pg:x: as of {asked}"
    assert str(status(down)) == f"pg:x: as of {asked}; cannot be asked since {since}: refused"
    assert str(status(down, is_asked=False)).endswith("refused; nobody asks it: the daemon does not run")


def test_in_json() -> None:
    other = Row(
        vassal="b.ini", config="/b.ini", unit="u", socket=None, mode=None, state=State.RUNNING, monitor="dir:///b"
    )
    first, second = with_mirrors([ROW, other], [status(MirrorState(asked=1000.0, since=2000.0, why="refused"))])
    assert first.as_of is not None
    assert datetime.fromisoformat(first.as_of).timestamp() == 1000.0
    assert first.unreachable_since is not None
    assert datetime.fromisoformat(first.unreachable_since).timestamp() == 2000.0
    assert first.unreachable == "refused"
    assert second == other
    (up,) = with_mirrors([ROW], [status(MirrorState(asked=1000.0))])
    assert (up.unreachable_since, up.unreachable) == (None, None)


def test_whether_somebody_asks(tmp_path: Path) -> None:
    monitors = open_monitors(Settings(emperor=("pg://host=db", str(tmp_path))), str(tmp_path / "mirrors"))
    mirrored = monitors[0]
    assert isinstance(mirrored, MirroredMonitor)
    assert [one.is_asked for one in mirror_statuses(monitors)] == [False]
    assert mirrored.writer.open()
    write_state(mirrored.folder.path, MirrorState(asked=1.0))
    (one,) = mirror_statuses(monitors)
    assert (one.monitor, one.is_asked, one.state.asked) == ("pg://host=db", True, 1.0)
    mirrored.writer.close()
    assert [one.is_asked for one in mirror_statuses(monitors)] == [False]
