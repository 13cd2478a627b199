"""The environment in which systemd starts a vassal's service.

systemd.exec(5), "Environment variables set or propagated for the service". What a drop-in of the admin's adds is not
known here.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING

from bridge.host.users import find_login

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.vassal import SpawnSpec
    from bridge.systemd.protocol import Manager

_RANDOM = ("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID")
"""Variables that have another value at each start."""
_PRESSURE_SINCE = 254
"""The version of systemd from which services are told how to watch for pressure on their memory."""
_USER_SINCE = 255
"""The version from which a service without ``User=`` is told that it is root's."""
_MANAGER_SINCE = 258
"""The version from which a user's service is told of its manager in another way, too."""
_USUAL = {"LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
"""What the service manager gives every service by default."""


class Environments:
    """Tells which environment each service will have; it asks the manager once, and looks up each user once."""

    def __init__(self, manager: Manager | None, *, user_manager: bool) -> None:
        """``manager`` is the service manager. None: it cannot be asked."""
        self._manager = manager
        self._user_manager = user_manager
        self._logins: dict[str, Mapping[str, str]] = {"": {}}

    def of(self, spawn: SpawnSpec, directory: str) -> dict[str, str]:
        """Return the environment of a service that is started so there, but for what :meth:`login` returns."""
        # A tenant's vassal is started by a shell, which sets this.
        shell = {} if spawn.tenant is None else {"PWD": os.path.realpath(directory)}
        return {**self._common, **_variables(spawn), **shell}

    def login(self, spawn: SpawnSpec) -> Mapping[str, str]:
        """Return what systemd sets for a service with ``User=``. Few configs use it, and each lookup takes time."""
        if (found := self._logins.get(spawn.user)) is None:
            found = self._logins[spawn.user] = _login(spawn.user)
        return {**found, **_variables(spawn)}

    @cached_property
    def _common(self) -> Mapping[str, str]:
        asked = self._manager.own_properties("Environment", "Version") if self._manager else {}
        passed_on = dict(one.split("=", 1) for one in asked.get("Environment", ()) if "=" in one)
        passed_on = passed_on or _USUAL | (_session() if self._user_manager else {})
        found = re.match(r"[0-9]+", asked.get("Version", ""))
        version = int(found[0]) if found else 0
        names = [*_RANDOM]
        if version >= _PRESSURE_SINCE:
            names += ["MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"]
        if self._user_manager:
            names += ["MANAGERPID", "MANAGERPIDFDID"] if version >= _MANAGER_SINCE else ["MANAGERPID"]
        elif version >= _USER_SINCE:
            passed_on["USER"] = "root"
        runtime = passed_on.get("XDG_RUNTIME_DIR", "") if self._user_manager else "/run"
        return {**passed_on, "NOTIFY_SOCKET": f"{runtime}/systemd/notify", **{name: unknown(name) for name in names}}


def unknown(name: str) -> str:
    """Return the text that stands for the value of a variable that is set, but not known before the start."""
    return f"${{{name}}}"


def _variables(spawn: SpawnSpec) -> dict[str, str]:
    return dict(one.split("=", 1) for one in spawn.environment)


def _login(user: str) -> dict[str, str]:
    if (login := find_login(user)) is None:
        return {}
    values = {"LOGNAME": login.name, "USER": login.name, "HOME": login.home, "SHELL": login.shell}
    return {name: value for name, value in values.items() if value}


def _session() -> dict[str, str]:
    """Return what a user's service manager passes on, as far as that is known without it."""
    own = {name: os.environ[name] for name in ("XDG_RUNTIME_DIR",) if name in os.environ}
    return {**_login(str(os.getuid())), **own}
