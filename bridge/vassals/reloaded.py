"""Starts a vassal so that it takes itself for reloaded, and tells what is different then.

A vassal with ``daemonize`` needs it: without an Emperor, uWSGI would fork, leave its service and lose its socket
(core/utils.c, ``daemonize``); no later option takes ``daemonize`` back. It does so only at a start and not after a
reload (core/logging.c, ``uwsgi_setup_log``; core/init.c, ``uwsgi_daemonize2``). A vassal whose own sockets systemd
holds needs it to find them (:mod:`bridge.vassals.own_sockets`).

So its environment says that it has reloaded, and an option makes it open the log. A reloaded uWSGI does not set the
mode of its socket; the socket unit does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from bridge.diagnostics import printable
from bridge.uwsgi.option_tables import RELOADS
from bridge.uwsgi.options import written
from bridge.uwsgi.socket_options import SHARED

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import SpawnSpec, Vassal
    from bridge.uwsgi.options import Config, Option

DAEMONIZE = ("daemonize", "daemonize2")
AS_RELOADED = f"{RELOADS}=-1"
"""uWSGI adds one to it, so its count of reloads is that of a start (core/init.c, ``uwsgi_setup_reload``)."""
_FIRST = 3
"""The first descriptor behind stdin, stdout and stderr. What systemd hands over begins here (sd_listen_fds(3))."""
_INHERITED = SHARED | {"zerg", "zerg-node"}
"""Sockets that a reloaded uWSGI does not bind, but expects to inherit (core/socket.c; ``uwsgi_start``)."""


def find_daemonize(config: Config) -> Option | None:
    """Return the ``daemonize`` option of a config, even in a condition that only uWSGI can decide."""
    return config.last(*DAEMONIZE) or next((option for option in config.unread if option.key in DAEMONIZE), None)


def as_reloaded(spawn: SpawnSpec, config: Config, *, sockets: int = 0) -> SpawnSpec:
    """Return the spawn specification by which a vassal takes itself for reloaded.

    ``sockets`` is how many systemd hands over. The next descriptor is uWSGI's connection to systemd's notify socket,
    the first that it opens (core/notify.c). A reloaded uWSGI would close it as unknown (core/setup_utils.c).
    """
    words = ["--log-reopen", "--safe-fd", str(_FIRST + sockets)]
    if not spawn.user and config.last("uid", "gid"):
        # At a real reload another user than root opens the log; under an Emperor, the vassal dies of that.
        words.append("--logfile-chown")
    return replace(spawn, argv=(*spawn.argv, *words), environment=(*spawn.environment, AS_RELOADED))


def find_lost(config: Config, again: Config, spawn: SpawnSpec, *, sockets: int = 0) -> Option | None:
    """Return an option that has no effect in a uWSGI that assumes a reload; ``again`` is its config then."""
    lost = None if sockets else next((option for option in config.options if option.key in _INHERITED), None)
    if lost is None and spawn.user:
        # uWSGI would run without chroot, as only root can change its root (core/utils.c, ``uwsgi_as_root``).
        lost = config.last("chroot")
    if lost is None:
        pairs = zip_longest((*config.options, *config.unread), (*again.options, *again.unread))
        lost = next((one or other for one, other in pairs if one != other), None)
    return lost


def find_first_start(vassal: Vassal, config: Config, again: Config, spawn: SpawnSpec) -> Diagnostic | None:
    """Return a problem if a vassal with ``daemonize`` would lose the effect of another option."""
    daemonize = find_daemonize(config)
    lost = find_lost(config, again, spawn)
    if daemonize is None or lost is None:
        return None
    return vassal.problem(
        "daemonize-reload",
        f"with {daemonize.key} (line {daemonize.line} of {printable(daemonize.path)}), {written(lost)} "
        f"has no effect: to stay in its service, uWSGI starts as after a reload",
        f"write logto = {printable(daemonize.value)} instead of {daemonize.key}: under an Emperor both do the same",
        at=(lost.path, lost.line),
    )
