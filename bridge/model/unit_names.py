"""The names of units: how a vassal's name becomes one, and every name the bridge gives.

The escaping is that of systemd-escape(1).
"""

from __future__ import annotations

import os
import re

from bridge.model.digest import blake2b

UNIT_NAME_MAX = 255
"""Bytes a whole unit name may have, its suffix included (systemd.unit(5))."""
SLICES = 128
"""Sub-slices the vassals are spread over: daemon-reload is quadratic in the units of one slice."""

TARGET = "vassals.target"
STARTER = "vassals-start.service"
SOCKETS = "vassals-sockets.target"
SERVICES = "vassals-services.target"
SLICE = "vassals.slice"
PAUSE_SCRIPT = "vassals-pause"
"""What every vassal's service runs when it has ended. It is no unit, but it is written and removed with them."""
BRAKE = "vassals-brake@.service"
BRAKE_SCRIPT = "vassals-brake"
"""What an instance of ``vassals-brake@.service`` runs when a start failed. It is no unit either."""
LIMIT_SCRIPT = "vassals-limit"
"""What takes and gives the places for vassals where their number is limited."""
SCRIPTS = frozenset({PAUSE_SCRIPT, BRAKE_SCRIPT, LIMIT_SCRIPT})
COMMON = (TARGET, STARTER, SOCKETS, SERVICES, SLICE, PAUSE_SCRIPT, BRAKE, BRAKE_SCRIPT, LIMIT_SCRIPT)
"""The files that exist once, whatever the number of vassals."""
OBSOLETE = ("vassals-sockets@.target",)
"""Files for all vassals that earlier versions wrote. A run of all vassals removes them."""
OBSOLETE_STARTERS = tuple(f"vassals-sockets@{share:x}.target" for share in range(16))
"""The targets that started the sockets in earlier versions. A run of all vassals moves their links."""

PREFIX = "vassal-"
"""What the name of every vassal's unit begins with."""
PAUSE_PREFIX = "pause-"
"""What is put before the name of a vassal's service to name the unit that is its pause after a failure."""
PATTERNS = (f"{PREFIX}*", "vassals*", f"{PAUSE_PREFIX}{PREFIX}*")
"""Patterns (fnmatch(3)) that match every unit the bridge makes, and its pauses."""
SUB_SLICE = re.compile(r"vassals-[0-9a-f]{2}(-[0-9]+)?\.slice")
"""The names :func:`slice_of` gives. These slices have no files."""
BATCH_UNIT = re.compile(r"vassals-batch-\d+\.target")
"""The names of the short-lived targets that start or stop many units as one job."""

_VASSAL_UNIT = re.compile(rf"{PREFIX}(?P<label>.+)\.(?P<kind>service|socket)", re.DOTALL)
_UNIT_CHARS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")
_PLAIN_LABEL = re.compile(rb"[A-Za-z0-9:_][A-Za-z0-9:_.]*")


class EscapeError(ValueError):
    """A value that systemd's quoting cannot express. The message is for admins."""


class UnitNames:
    """The names of a vassal's units, for every class that has the vassal's label."""

    __slots__ = ()

    label: str
    """The vassal's name, escaped: the LABEL in ``vassal-LABEL.service``."""

    @property
    def service(self) -> str:
        """The service that runs the vassal."""
        return f"{PREFIX}{self.label}.service"

    @property
    def socket(self) -> str:
        """The socket that starts the service at the first connection. A vassal that runs always has none."""
        return f"{PREFIX}{self.label}.socket"

    @property
    def pause(self) -> str:
        """The unit that exists while the vassal pauses after a failure."""
        return pause_of(self.service)


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


def vassal_unit(unit: str) -> tuple[str, str] | None:
    """Return the label and the kind (``service``, ``socket``) of a vassal's unit, or None for any other name."""
    match = _VASSAL_UNIT.fullmatch(unit)
    return (match["label"], match["kind"]) if match else None


def label_of(unit: str) -> str:
    """Return the label of the vassal that a unit is of; the unit's own name if it is of none."""
    parts = vassal_unit(unit)
    return parts[0] if parts else unit


def is_bridge_name(unit: str) -> bool:
    """Tell whether the bridge could give a unit file this name."""
    return unit in COMMON or unit in OBSOLETE or _VASSAL_UNIT.fullmatch(unit) is not None


def boot_target(*, user_manager: bool) -> str:
    """Return the target that starts the vassals at boot, or at the start of a user's manager."""
    return "default.target" if user_manager else "multi-user.target"


def starter_of(unit: str) -> str:
    """Return the target that wants this unit of a vassal: its link is in that target's ``.wants`` folder."""
    return SOCKETS if unit.endswith(".socket") else SERVICES


def service_of(socket: str) -> str:
    """Return the service that a vassal's socket starts."""
    return socket.removesuffix(".socket") + ".service"


def socket_of(service: str) -> str:
    """Return the socket unit of a service that is on demand."""
    return service.removesuffix(".service") + ".socket"


def link_path(unit: str) -> str:
    """Return the path, below the unit directory, of the link that has a vassal's unit started."""
    return f"{starter_of(unit)}.wants/{unit}"


def pause_of(service: str) -> str:
    """Return the unit that is a service's pause after a failure. It exists while the pause lasts."""
    name = PAUSE_PREFIX + service
    if len(name) <= UNIT_NAME_MAX:
        return name
    return f"{PAUSE_PREFIX}{PREFIX}{blake2b(service.encode(), digest_size=16).hexdigest()}.service"


def slice_of(label: str, tenant: int | None = None) -> str:
    """Return the sub-slice of a vassal: chosen by its label, or in tyrant mode one for each tenant's uid."""
    spread = _share(label, tenant)
    return f"vassals-{spread}.slice" if tenant is None else f"vassals-{spread}-{tenant}.slice"


def brake_of(label: str, tenant: int | None = None) -> str:
    """Return the unit that pauses a vassal whose start failed. Vassals of one sub-slice share it."""
    return BRAKE.replace("@", f"@{_share(label, tenant)}")


def is_brake(unit: str) -> bool:
    """Tell whether a unit is one that :func:`brake_of` returns."""
    name, _, kind = BRAKE.partition("@")
    return unit.startswith(f"{name}@") and unit.endswith(kind)


def places_beside(pauses: str) -> str:
    """Return the folder in which ``LIMIT_SCRIPT`` keeps the places, by the folder of the pause notes."""
    return f"{os.path.dirname(pauses)}/places"


def _share(label: str, tenant: int | None) -> str:
    return f"{_spread(label if tenant is None else str(tenant)) % SLICES:02x}"


def _spread(key: str) -> int:
    return blake2b(key.encode(), digest_size=2).digest()[0]
