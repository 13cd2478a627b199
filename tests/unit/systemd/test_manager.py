from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import BridgeError
from bridge.progress import no_progress
from bridge.systemd import manager
from bridge.systemd.bus import CallError
from bridge.systemd.object_paths import object_path, unit_of
from tests.unit.build import make_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@pytest.mark.parametrize(
    ("unit", "escaped"),
    [
        ("vassal-a.b.service", "vassal_2da_2eb_2eservice"),
        ("vassal-\\xe4.socket", "vassal_2d_5cxe4_2esocket"),
        ("vassals.target", "vassals_2etarget"),
        ("pause-vassal-a.service", "pause_2dvassal_2da_2eservice"),
    ],
)
def test_object_paths_of_vassals_units(unit: str, escaped: str) -> None:
    path = object_path(unit)
    assert path == f"/org/freedesktop/systemd1/unit/{escaped}"
    assert unit_of(path) == unit


@pytest.mark.parametrize(
    "path", ["/org/freedesktop/systemd1", object_path("ssh.service"), object_path("pause-a.service")]
)
def test_other_object_paths_are_no_vassals(path: str) -> None:
    assert unit_of(path) == ""


class Loaded:
    """A bus with a manager that has some units loaded, and counts what it is asked."""

    def __init__(self, loaded: set[str]) -> None:
        self.loaded = loaded
        self.asked: Counter[str] = Counter()

    def ask(
        self, _path: str, _interface: str, method: str, _signature: str, *body: Any
    ) -> Callable[[], tuple[Any, ...]]:
        self.asked[method] += 1
        found = sorted(unit for unit in self.loaded if any(fnmatchcase(unit, pattern) for pattern in body[1]))
        return lambda: ([(unit, "loaded", "active", "listening") for unit in found],)

    def call(self, _path: str, _interface: str, method: str, _signature: str, *body: Any) -> tuple[Any, ...]:
        assert self.loaded.issuperset(body[0]), "the manager would load the others"
        self.asked[method] += 1
        return ([(unit, "loaded", "active", "listening") for unit in body[0]],)

    def call_many(self, calls: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...] | CallError]:
        units = [body[0] for _, _, method, _, body in calls if method == "GetUnit"]
        self.asked["GetUnit"] += len(units)
        missing = CallError("org.freedesktop.systemd1.NoSuchUnit", "it is not loaded")
        return [("/path",) if unit in self.loaded else missing for unit in units]


@pytest.mark.parametrize("new", [1, 65, 100, 400])
@pytest.mark.parametrize("known", [0, 3, 100])
def test_states_of_some_units_are_the_same_however_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, new: int, known: int
) -> None:
    bus = Loaded({f"vassal-{number}.socket" for number in range(8000)})
    monkeypatch.setattr(manager, "Bus", lambda **_: bus)
    systemd = manager.SystemdManager(make_paths(Path("/nowhere")))
    assert len(systemd.units()) == 8000
    wanted = {f"vassal-{number}.socket" for number in range(known)}
    assert systemd.units({*wanted, *(f"vassal-new{number}.service" for number in range(new))}).keys() == wanted
    assert systemd.units([]) == {}
    # To list thousands takes longer than to ask for some.
    asked = new + known if new + known < 8000 / 30 else 0
    assert bus.asked["GetUnit"] == asked
    assert bus.asked["ListUnitsByNames"] == (1 if asked and known else 0)
    assert bus.asked["ListUnitsByPatterns"] == (1 if asked else 2)
    # The daemon knows from its child how long a list is.
    another = manager.SystemdManager(make_paths(Path("/nowhere")))
    another.lists.expect(systemd.lists.longest)
    assert another.units({*wanted, *(f"vassal-new{number}.service" for number in range(new))}).keys() == wanted
    assert bus.asked["GetUnit"] == 2 * asked


class Broken:
    """A bus whose connection breaks at the first call."""

    def __getattr__(self, _name: str) -> Callable[..., Any]:
        def call(*_: object, **__: object) -> Any:
            raise CallError("lost", "the connection broke")

        return call


@pytest.mark.parametrize(
    "question",
    [
        lambda systemd: systemd.units(),
        lambda systemd: systemd.units(["vassal-a.socket"]),
        lambda systemd: systemd.own_properties("Version"),
        lambda systemd: systemd.properties(["vassal-a.service"], "Service", "MainPID"),
        lambda systemd: systemd.kill(["vassal-a.service"]),
        lambda systemd: systemd.hang_up(["vassal-a.service"]),
        lambda systemd: systemd.reload_units(["vassal-a.service"]),
        lambda systemd: systemd.reset_failed(["vassal-a.service"]),
        lambda systemd: systemd.daemon_reload(),
        lambda systemd: systemd.start(["vassal-a.socket"], timeout=1.0, progress=no_progress),
        lambda systemd: systemd.stop(["vassal-a.socket"], timeout=1.0, progress=no_progress),
    ],
)
def test_a_broken_connection_is_an_error_for_admins(
    monkeypatch: pytest.MonkeyPatch, question: Callable[[manager.SystemdManager], object]
) -> None:
    monkeypatch.setattr(manager, "Bus", lambda **_: Broken())
    systemd = manager.SystemdManager(make_paths(Path("/nowhere")))
    systemd.lists.expect(8000)
    with pytest.raises(BridgeError, match="the connection broke"):
        question(systemd)
