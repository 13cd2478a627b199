"""What becomes of ``daemonize``, which an Emperor takes to say only where to log.

Without an Emperor uWSGI would fork, leave its service and lose its socket (core/utils.c, ``daemonize``), and no later
option takes a ``daemonize`` back. But it does so only when it starts, not when it has reloaded (core/logging.c,
``uwsgi_setup_log``; core/init.c, ``uwsgi_daemonize2``). So it is told that it has: and to reopen its log then, which is
all that an Emperor leaves of the option. Who may connect, which a reloaded uWSGI leaves as it is, the socket unit says.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from bridge.diagnostics import printable
from bridge.uwsgi.option_tables import RELOADS
from bridge.uwsgi.socket_options import SHARED

if TYPE_CHECKING:
    from bridge.diagnostics import Diagnostic
    from bridge.model.vassal import SpawnSpec, Vassal
    from bridge.uwsgi.options import Config, Option

DAEMONIZE = ("daemonize", "daemonize2")
AS_RELOADED = f"{RELOADS}=-1"
"""uWSGI adds one: what depends on the number of reloads is done as at a start (core/init.c, ``uwsgi_setup_reload``)."""
_NOTIFICATION = "3"
"""The first descriptor uWSGI opens is the one it tells systemd by that it is ready (core/notify.c); a reloaded uWSGI
would close it as a stranger's (core/setup_utils.c, ``uwsgi_setup_inherited_sockets``)."""
_INHERITED = SHARED | {"zerg", "zerg-node"}
"""Sockets that a reloaded uWSGI expects to have already (core/socket.c; core/uwsgi.c, ``uwsgi_start``)."""


def find_daemonize(config: Config) -> Option | None:
    """Find the option by which uWSGI would leave its service, be it in a condition that only uWSGI can decide."""
    return config.last(*DAEMONIZE) or next((option for option in config.unread if option.key in DAEMONIZE), None)


def in_service(spawn: SpawnSpec, config: Config) -> SpawnSpec:
    """Return how a vassal with ``daemonize`` is started so that it stays in its service."""
    words = ["--log-reopen", "--safe-fd", _NOTIFICATION]
    if not spawn.user and config.last("uid", "gid"):
        # At a real reload it is no longer root that opens the log; under an Emperor that is the vassal's end.
        words.append("--logfile-chown")
    return replace(spawn, argv=(*spawn.argv, *words), environment=(*spawn.environment, AS_RELOADED))


def find_first_start(vassal: Vassal, config: Config, again: Config, spawn: SpawnSpec) -> Diagnostic | None:
    """Find what is lost on a uWSGI that takes itself for reloaded; ``again`` is its config as it would be then."""
    daemonize = find_daemonize(config)
    lost = next((option for option in config.options if option.key in _INHERITED), None)
    if lost is None and spawn.user:
        # uWSGI would go on without, where it could not change its root: core/utils.c, ``uwsgi_as_root``.
        lost = config.last("chroot")
    if lost is None:
        pairs = zip_longest((*config.options, *config.unread), (*again.options, *again.unread))
        lost = next((one or other for one, other in pairs if one != other), None)
    if daemonize is None or lost is None:
        return None
    return vassal.problem(
        "daemonize-reload",
        f"beside {daemonize.key} (line {daemonize.line} of {printable(daemonize.path)}) {lost.key} = "
        f"{printable(lost.value)} has no effect: uWSGI stays in its service only where it takes itself for reloaded",
        f"write logto = {printable(daemonize.value)} in place of {daemonize.key}, which is what an Emperor makes of it",
        path=lost.path,
        line=lost.line,
    )
