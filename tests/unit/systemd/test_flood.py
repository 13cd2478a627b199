"""One unit's flood of signals is dropped unread, and its state asked for a second later."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call, new_signal

from bridge.model.unit import UnitChange
from bridge.systemd.dbus_parser import SKIPPED, Reader, signal_path
from bridge.systemd.flood import PERIOD, SIGNALS_MAX, FloodGate
from bridge.systemd.manager import SystemdManager
from bridge.systemd.object_paths import object_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

UNIT_INTERFACE = "org.freedesktop.systemd1.Unit"
PROPERTIES = "org.freedesktop.DBus.Properties"
LOUD, QUIET = "vassal-loud.service", "vassal-quiet.service"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def signal(unit: str, state: str = "active", interface: str = UNIT_INTERFACE) -> bytes:
    emitter = DBusAddress(object_path(unit), interface=PROPERTIES)
    body: tuple[Any, ...] = (interface, {"ActiveState": ("s", state), "StatusText": ("s", "x" * 100)}, [])
    message = new_signal(emitter, "PropertiesChanged", "sa{sv}as", body)
    raw: bytes = message.serialise(serial=1)
    return raw


def test_a_unit_beyond_the_limit_is_dropped_for_a_second_and_then_asked_for() -> None:
    clock = Clock()
    gate = FloodGate(clock)
    assert [gate.admit(LOUD) for _ in range(SIGNALS_MAX + 2)] == [True] * SIGNALS_MAX + [False] * 2
    assert gate.admit(QUIET)
    assert gate.due() == clock.now + PERIOD
    assert set(gate.closed) == {LOUD}
    assert gate.take() == []
    clock.now += PERIOD
    assert gate.take() == [LOUD]
    assert gate.due() is None
    assert gate.admit(LOUD)


def test_signals_over_a_long_time_are_no_flood() -> None:
    clock = Clock()
    gate = FloodGate(clock)
    for _ in range(3 * SIGNALS_MAX):
        clock.now += PERIOD / SIGNALS_MAX * 1.1
        assert gate.admit(LOUD)


def test_muted_signals_are_skipped_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(["ActiveState"])
    reader.muted = {object_path(LOUD).encode()}
    decoded: list[bytes] = []
    real = Reader._decoded

    def noted(reader: Reader, raw: bytes) -> Any:
        decoded.append(raw)
        return real(reader, raw)

    monkeypatch.setattr(Reader, "_decoded", noted)
    call = new_method_call(DBusAddress(object_path(LOUD), bus_name="a.b"), "Get").serialise(serial=2)
    wanted = [signal(QUIET), call, signal(LOUD + "x")]
    found = reader.feed(b"".join([signal(LOUD), signal(LOUD), wanted[0], signal(LOUD), wanted[1], wanted[2]]))
    assert decoded == wanted
    assert [message is SKIPPED for message in found] == [True, True, False, True, False, False]
    found = [message for message in found if message is not SKIPPED]
    assert [message.header.fields[HeaderFields.path] for message in found] == [
        object_path(QUIET), object_path(LOUD), object_path(LOUD + "x")
    ]  # fmt: skip
    assert found[1].header.message_type is MessageType.method_call


def test_a_message_whose_path_is_not_seen_is_decoded() -> None:
    raw = bytearray(signal(LOUD))
    assert signal_path(bytes(raw)) == object_path(LOUD).encode()
    raw[16] = 3
    assert signal_path(bytes(raw)) == b""
    assert signal_path(b"B" + bytes(raw)[1:]) == b""


class FakeBus:
    """Signals that arrive, and units that answer with their state."""

    def __init__(self, keep: Any) -> None:
        self.keep = keep
        self.waiting: list[Any] = []
        self.muted: list[str] = []
        self.asked: list[str] = []

    def mute(self, paths: Iterable[str]) -> None:
        self.muted = list(paths)

    def send(self, unit: str, state: str) -> None:
        for message in Reader(["ActiveState"]).feed(signal(unit, state)):
            fields = message.header.fields
            kept = self.keep(fields[HeaderFields.path], fields[HeaderFields.member], message.body)
            if kept is not None:
                self.waiting.append((fields[HeaderFields.path], fields[HeaderFields.member], kept))

    def next_signal(self, _deadline: float) -> Any:
        return self.waiting.pop(0) if self.waiting else None

    def take_signals(self) -> list[Any]:
        taken, self.waiting = self.waiting, []
        return taken

    def call_many(self, calls: Iterable[Any]) -> list[Any]:
        self.asked += [f"{path.rpartition('/')[2]} {body[0].rpartition('.')[2]}" for path, *_, body in calls]
        return [({"ActiveState": ("s", "failed"), "Names": ("as", [])},) for _ in self.asked]


def test_the_manager_reports_the_state_after_a_flood_as_one_change() -> None:
    clock = Clock()
    manager = SystemdManager.__new__(SystemdManager)
    manager._gate = FloodGate(clock)
    bus = FakeBus(manager._admitted)
    manager._bus = cast("Any", bus)
    manager._changes = deque()
    for _ in range(10 * SIGNALS_MAX):
        bus.send(LOUD, "reloading")
    bus.send(QUIET, "active")
    assert len(list(manager.changes())) == SIGNALS_MAX + 1
    assert bus.muted == [object_path(LOUD)]
    assert manager.due() == clock.now + PERIOD
    clock.now += PERIOD
    bus.send(QUIET, "failed")
    changes = list(manager.changes())
    assert bus.muted == []
    assert bus.asked == ["vassal_2dloud_2eservice Service", "vassal_2dloud_2eservice Unit"]
    assert changes == [
        UnitChange(QUIET, "Unit", {"ActiveState": "failed"}),
        UnitChange(LOUD, "Service", {"ActiveState": "failed"}),
        UnitChange(LOUD, "Unit", {"ActiveState": "failed"}),
    ]
    assert manager.due() is None
