"""Where the zmq monitor listens, and who may send there. It needs no driver, so the root side can use it, too."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

IPC, TCP = "ipc://", "tcp://"
IPC_PATH_MAX = 107
"""Bytes of the path of a Unix socket (unix(7), less the NUL)."""
KEY_LENGTH = 40
"""Characters of a key of CURVE as text (Z85, rfc.zeromq.org/spec/32)."""
_KEY = re.compile(rf"[0-9A-Za-z.:+=^!/*?&<>()[\]{{}}@%$#-]{{{KEY_LENGTH}}}")


class ZmqOptionsError(ValueError):
    """The options of a zmq monitor are not understood; the text says what is wrong, without secrets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ZmqOptions:
    """They are the options of :class:`bridge.feeder.protocol.Orders`."""

    endpoint: str
    """As zmq_bind(3) takes it, such as ``ipc:///run/emperor.sock`` or ``tcp://127.0.0.1:5252``."""
    curve_secret_key: str = field(default="", repr=False)
    """This side's secret key (Z85). Empty: no encryption, and whoever can connect may send."""
    curve_client_keys: list[str] = field(default_factory=list)
    """Public keys (Z85) of those who may send. Empty: all who know this side's public key."""

    @property
    def path(self) -> str:
        """The path of the socket's file; empty if it has none."""
        rest = self.endpoint.removeprefix(IPC)
        return "" if rest == self.endpoint or rest.startswith("@") else rest


def from_values(values: dict[str, Any]) -> ZmqOptions:
    """Return options from their names and values.

    Raises:
        ZmqOptionsError: a name is unknown, or the endpoint is none at which one can listen for good.
    """
    try:
        options = ZmqOptions(**values)
    except TypeError:
        raise ZmqOptionsError(f"one of these options is unknown: {', '.join(sorted(values))}") from None
    _check(options.endpoint)
    return options


def client_keys(text: str) -> list[str]:
    """Return the public keys of a file: each line begins with one, and what follows it says whose it is.

    Raises:
        ZmqOptionsError: a line has none, or all are empty. No key would mean that every client may send.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            if not _KEY.fullmatch(words[0]):
                raise ZmqOptionsError(f"line {number} does not begin with a public key of {KEY_LENGTH} characters")
            keys.append(words[0])
    if not keys:
        raise ZmqOptionsError("it has no key")
    return keys


def _check(endpoint: str) -> None:
    if endpoint.startswith(IPC):
        path = endpoint.removeprefix(IPC)
        if path in {"", "*"} or len(path.encode("utf-8", "surrogateescape")) > IPC_PATH_MAX:
            raise ZmqOptionsError(f"the path after ipc:// must have 1 to {IPC_PATH_MAX} bytes, and not be *")
    elif endpoint.startswith(TCP):
        # libzmq cuts a greater port to 16 bits, and takes any free one for * and 0.
        host, _, port = endpoint.removeprefix(TCP).rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
            raise ZmqOptionsError("after tcp:// it needs an address and a port, such as 127.0.0.1:5252")
    else:
        raise ZmqOptionsError("it must begin with ipc:// or tcp://")
