"""The object paths of units on D-Bus."""

from __future__ import annotations

import re

from bridge.model.unit_names import PAUSE_PREFIX

ROOT = "/org/freedesktop/systemd1"
"""The manager's own path."""


def object_path(unit: str) -> str:
    """Return a unit's object path: every byte but letters and digits is escaped (sd_bus_path_encode(3))."""
    escaped = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 0x80 and not (at == 0 and chr(byte).isdigit()) else f"_{byte:02x}"
        for at, byte in enumerate(unit.encode())
    )
    return f"{ROOT}/unit/{escaped}"


_OURS = (object_path("vassal"), object_path(f"{PAUSE_PREFIX}vassal"))
"""What the object path of every unit of the bridge begins with."""


def unit_of(path: str) -> str:
    """Return the unit of an object path, or an empty text if it is no unit of a vassal."""
    if not path.startswith(_OURS):
        return ""
    name = path.removeprefix(f"{ROOT}/unit/")
    return re.sub(r"_([0-9a-f]{2})", lambda escaped: chr(int(escaped[1], 16)), name)
