"""Names of units: how a vassal's name becomes one, and every name the bridge gives.

The escaping is that of systemd-escape(1).
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from string import ascii_letters, digits

_PREFIX = "vassal-"

UNIT_NAME_MAX = 255
"""Bytes a whole unit name may have, its suffix included (systemd.unit(5))."""


_UNIT_CHARS = frozenset((ascii_letters + digits + ":_.").encode())


_PLAIN_LABEL = re.compile(rb"[A-Za-z0-9:_][A-Za-z0-9:_.]*")


class EscapeError(ValueError):
    """A value that no quoting of systemd's can express; the message is for admins."""


def unit_label(text: str) -> str:
    """Escape any string for use inside a unit name, as ``systemd-escape TEXT`` does.

    Raises:
        EscapeError: the text is empty; a unit needs a name.
    """
    if not text:
        raise EscapeError("it has no name before its extension, and a unit needs one")
    return _escape_label(os.fsencode(text))


def path_label(path: str) -> str:
    """Escape an absolute, normalised path for use inside a unit name, as ``systemd-escape --path`` does.

    Raises:
        EscapeError: the path is relative or not normalised.
    """
    if not path.startswith("/") or os.path.normpath(path).lstrip("/") != path.strip("/"):
        raise EscapeError("only an absolute path without '.' and '..' can name a unit")
    return _escape_label(os.fsencode(path.strip("/"))) or "-"


def _escape_label(raw: bytes) -> str:
    if _PLAIN_LABEL.fullmatch(raw):
        return raw.decode()
    out = []
    for at, byte in enumerate(raw):
        if byte == ord("/"):
            out.append("-")
        elif byte in _UNIT_CHARS and not (at == 0 and byte == ord(".")):
            out.append(chr(byte))
        else:
            out.append(f"\\x{byte:02x}")
    return "".join(out)


SLICES = 128
"""Sub-slices the vassals are spread over: daemon-reload is quadratic in the units of one slice."""


SHARES = tuple("0123456789abcdef")
"""Shares in which all sockets are started, one after the other: a transaction of thousands leaves PID 1 fragmented."""


PAUSE_PREFIX = "pause-"
"""What the name of a vassal's service gets in front for the unit that is its pause after a failure."""


TARGET = "vassals.target"


STARTER = "vassals-start.service"


SOCKETS = "vassals-sockets@.target"


SERVICES = "vassals-services.target"


SLICE = "vassals.slice"


PAUSE_SCRIPT = "vassals-pause"
"""What every vassal's service runs when it has ended; no unit, but it lives and goes with them."""


COMMON = (TARGET, STARTER, SOCKETS, SERVICES, SLICE, PAUSE_SCRIPT)
"""The files that are there once, whatever the number of vassals."""


SUB_SLICE = re.compile(r"vassals-[0-9a-f]{2}(-[0-9]+)?\.slice")
"""The names :func:`slice_of` gives; these slices have no files."""


def boot_target(*, user_manager: bool) -> str:
    """Return the target that pulls the vassals in at boot, or at the start of a user's manager."""
    return "default.target" if user_manager else "multi-user.target"


def starter_of(unit: str) -> str:
    """Return the target that wants this unit of a vassal: where its link belongs."""
    if not unit.endswith(".socket"):
        return SERVICES
    label = unit.removeprefix("vassal-").removesuffix(".socket")
    return SOCKETS.replace("@", f"@{SHARES[_spread(label) % len(SHARES)]}")


def service_of(socket: str) -> str:
    """Return the service that a vassal's socket starts."""
    return socket.removesuffix(".socket") + ".service"


def link_path(unit: str) -> str:
    """Return where the link belongs that has a unit of a vassal started, below the unit directory."""
    return f"{starter_of(unit)}.wants/{unit}"


def pause_of(service: str) -> str:
    """Return the unit that is a service's pause after a failure; it is there while the pause lasts."""
    name = PAUSE_PREFIX + service
    if len(name) <= UNIT_NAME_MAX:
        return name
    return f"{PAUSE_PREFIX}vassal-{blake2b(service.encode(), digest_size=16).hexdigest()}.service"


def slice_of(label: str, tenant: int | None = None) -> str:
    """Return the sub-slice a vassal lives in: by its name, or one for each tenant, by uid, within such a sub-slice."""
    key = label if tenant is None else str(tenant)
    spread = f"{_spread(key) % SLICES:02x}"
    return f"vassals-{spread}.slice" if tenant is None else f"vassals-{spread}-{tenant}.slice"


def _spread(key: str) -> int:
    return blake2b(key.encode(), digest_size=2).digest()[0]


def vassal_unit(unit: str) -> tuple[str, str] | None:
    """Return the label and kind of a vassal's unit, or None if the name is not of one."""
    stem, _, kind = unit.rpartition(".")
    if stem.startswith(_PREFIX) and kind in {"service", "socket"}:
        return stem.removeprefix(_PREFIX), kind
    return None
