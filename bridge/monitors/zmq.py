"""zmq://: messages on a ZeroMQ socket say which vassals there are."""

from __future__ import annotations

import re
from typing import Any

from bridge.feeder.zmq_options import ZmqOptionsError, from_values
from bridge.monitors.mirrored import MirroredMonitor
from bridge.monitors.spec import MonitorSpec, SpecError, SpecWarning, shown

_LOOPBACK = re.compile(r"tcp://(127\.[0-9.]+|localhost|\[::1\]|lo):", re.IGNORECASE)


class ZmqMonitor(MirroredMonitor):
    """Listens on a ZeroMQ socket, as the Emperor's emperor_zeromq."""

    SECRET = "curve_secret_key"  # noqa: S105
    """The order that has the secret of a password file: CURVE's key of the server."""

    @staticmethod
    def parse(text: str, *, hostname: str) -> MonitorSpec:
        """Read what follows ``zmq://``; see :func:`parse_zmq`."""
        del hostname
        return parse_zmq(text)


def parse_zmq(text: str) -> MonitorSpec:
    """Read an endpoint to listen on, such as ``tcp://127.0.0.1:5252`` or ``ipc:///run/x`` (zmq_bind(3)).

    Raises:
        SpecError: it is none that another process could reach.
    """
    try:
        from_values({"endpoint": text})
    except ZmqOptionsError as error:
        raise SpecError(str(error), "write zmq://ipc:///run/NAME or zmq://tcp://127.0.0.1:PORT") from None
    if text.startswith("ipc://") and not text.startswith(("ipc:///", "ipc://@")):
        raise SpecError("the path of its endpoint is relative", "write zmq://ipc:///run/NAME")
    warnings = []
    if text.startswith("tcp://") and not _LOOPBACK.match(text):
        warnings.append(
            SpecWarning(
                "zmq-open",
                "whoever can connect to its port can run programs here",
                "use ipc:// or 127.0.0.1, or give it a key of CURVE by password-file",
            )
        )
    if text.startswith("ipc://@"):
        warnings.append(
            SpecWarning(
                "zmq-open",
                "every user of this machine can connect to an abstract name, and so run programs here",
                "use a path: its socket is made for its owner only",
            )
        )
    options: dict[str, Any] = {"endpoint": text}
    return MonitorSpec(
        scheme="zmq", id=f"zmq://{shown(text)}", options=options, warnings=tuple(warnings), needs_daemon=True
    )
