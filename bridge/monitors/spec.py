"""What the parsers of the monitors' specs have in common. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.diagnostics import printable
from bridge.model.digest import blake2b

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN = 100
"""Characters of a query or filter that an id shows."""
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]*)?")


class SpecError(Exception):
    """A spec that cannot be used. Message and hint are for admins, and quote nothing that may be a password."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class SpecWarning(NamedTuple):
    """Something about a spec that ``check`` warns of."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorSpec:
    """A spec, read."""

    scheme: str
    """What the feeder is to speak."""
    id: str
    """What tells the monitor from others, without a secret."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the feeder needs, secrets included; see :class:`bridge.feeder.protocol.Orders`."""
    has_password: bool = False
    """Whether a secret stands in the spec."""
    warnings: tuple[SpecWarning, ...] = ()
    needs_daemon: bool = False
    """Whether it can only be told of vassals while it listens, and never asks: nothing is known without the daemon."""

    @property
    def is_answer_whole(self) -> bool:
        """Whether the server answers with all that it has. A broker tells only of changes."""
        return self.scheme in {"pg", "mongodb"}


def shown(text: str) -> str:
    """Return a query or a filter fit for an id: on one line, and a digest in place of a long rest."""
    text = printable(" ".join(text.split()))
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}…{blake2b(text.encode(), digest_size=4).hexdigest()}"


def without_password(netloc: str, rest: str) -> tuple[str, bool]:
    """Return the ``USER:PASSWORD@HOSTS`` of a URL without the password, and whether it had one.

    ``rest`` is what follows of the URL and is shown, such as its path.

    Raises:
        SpecError: what should be a port is none, or an ``@`` follows: it may be a password with a ``/`` or ``#``.
    """
    login, at, hosts = netloc.rpartition("@")
    if "@" in rest or not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise SpecError(
            "one of its hosts is not of the form HOST or HOST:PORT",
            "write special characters of a password as %XX (in a config as %%XX), or give it by password-file",
        )
    user, colon, password = login.partition(":")
    return f"{user}{at}{hosts}", bool(colon and password)


def take_port(text: str, default: int) -> int:
    """Return the number of a port, or the default for an empty text.

    Raises:
        SpecError: it is none.
    """
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65_536:
        raise SpecError("what follows the host's last ':' is no port", "write a number from 1 to 65535")
    return int(text)
