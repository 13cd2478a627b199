"""Wait in the machine until a unit's property has a value.

`wait_unit.py [--user] UNIT PROPERTY VALUE SECONDS` prints the property's last value and exits with 1 when the
time is up. It listens first and reads then, so that no change can fall between the two.
"""

from __future__ import annotations

import argparse
import sys
import time

from jeepney import DBusAddress, MatchRule, MessageType, Properties, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = DBusAddress("/org/freedesktop/systemd1", bus_name=SYSTEMD, interface="org.freedesktop.systemd1.Manager")


def call(
    connection: DBusConnection, address: DBusAddress, method: str, signature: str = "", *arguments: str
) -> tuple[object, ...]:
    """Call a method and return its answer; an error from systemd ends the program with its text."""
    message = new_method_call(address, method, signature or None, arguments)
    reply = connection.send_and_get_reply(message)
    if reply.header.message_type is MessageType.error:
        sys.exit(f"{method}: {reply.body[0] if reply.body else 'failed'}")
    body: tuple[object, ...] = reply.body
    return body


def wait(connection: DBusConnection, unit: str, name: str, value: str, seconds: float) -> tuple[str, bool]:
    """Return the property's last value and whether it is the wanted one."""
    deadline = time.monotonic() + seconds
    call(connection, MANAGER, "Subscribe")
    (path,) = call(connection, MANAGER, "LoadUnit", "s", unit)
    rule = MatchRule(type="signal", interface="org.freedesktop.DBus.Properties", path=str(path))
    Proxy(message_bus, connection).AddMatch(rule)
    with connection.filter(rule, bufsize=1000) as signals:
        while True:
            signals.clear()
            current = text(read(connection, str(path), unit, name))
            if current == value:
                return current, True
            try:
                connection.recv_until_filtered(signals, timeout=deadline - time.monotonic())
            except TimeoutError:
                return current, False


def read(connection: DBusConnection, path: str, unit: str, name: str) -> object:
    """Return a property of all units, or else of the unit's own kind."""
    for kind in ("Unit", unit.rpartition(".")[2].capitalize()):
        address = DBusAddress(path, bus_name=SYSTEMD, interface=f"{SYSTEMD}.{kind}")
        reply = connection.send_and_get_reply(Properties(address).get_all())
        if reply.header.message_type is not MessageType.error and name in reply.body[0]:
            value: object = reply.body[0][name][1]
            return value
    sys.exit(f"{unit} has no property {name}")


def text(value: object) -> str:
    """Return a value as `systemctl show` writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def main() -> None:
    """Read the arguments and wait."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", action="store_true")
    parser.add_argument("unit")
    parser.add_argument("property")
    parser.add_argument("value")
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    with open_dbus_connection(bus="SESSION" if arguments.user else "SYSTEM") as connection:
        current, reached = wait(connection, arguments.unit, arguments.property, arguments.value, arguments.seconds)
    sys.stdout.write(current)
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
